"""What scores are made of, asked of the rankers that made them; for those who are shown, in words."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np
from amity_rankers.contract import Floats, RankingBatch

from service.domain import Profile
from service.errors import StageBroken, StageFailed
from service.plugins import LoadedRanker
from service.recommend.ports import Asking, EligiblePeople, Models, Population, Trail
from service.recommend.reasons import Pair, reasons
from service.recommend.stages import Breakers, enter
from service.resilience import Deadline
from service.threads import ThreadDoor

T = TypeVar("T")

FACTS = ("mutual_affinity", "content_similarity", "candidate_log_likes_received", "candidate_log_likes_given")
"""Features that reasons look at besides those that a ranker requires."""
_PRIVATE = "likes_viewer"

Contributing = Callable[[RankingBatch], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Breakdown:
    """What one candidate's score is made of, both by the name of the feature: what it is, NaN where that is unknown (`FACTS`
    too), and what it adds to the log-odds of the score, against an average candidate."""

    values: Mapping[str, float]
    contributions: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Told:
    """The reasons of each of those shown, strongest first. `explained` False: they are empty for somebody because the ranker
    cannot tell, or could not be asked."""

    explained: bool
    reasons: tuple[tuple[str, ...], ...]


def contributing(loaded: LoadedRanker | None) -> Contributing | None:
    """The method of a ranker that tells what its scores are made of; None for one that has none, or is not there."""
    method = None if loaded is None else getattr(loaded.ranker, "contributions", None)
    return method if callable(method) else None


class Explaining:
    """Asks rankers as `Ranking` does: those that may hang in threads, each with a breaker of its own, so that one that explains
    badly goes on ranking."""

    def __init__(self, door: ThreadDoor, breakers: Breakers, share: float) -> None:
        """`share`: the part of a request's deadline that explaining may take."""
        self._door = door
        self._breakers = breakers
        self._share = share

    async def tell(
        self, asking: Asking, models: Models, shown: Sequence[tuple[str, Profile]], deadline: Deadline, trail: Trail
    ) -> Told:
        """Reasons for people who are shown, each with the name of the ranker that scored them. Features are as they are now; a
        pool made a while ago was scored on those of then. A ranker that fails is named in the trail."""
        deadline = deadline.part(self._share)
        told: dict[int, tuple[str, ...]] = {}
        for name in dict.fromkeys(name for name, _ in shown):
            loaded = models.rankers.get(name)
            if loaded is None or contributing(loaded) is None:
                continue
            group = [candidate for ranked_by, candidate in shown if ranked_by == name]
            try:
                told |= await self._enter(loaded, partial(self._in_words, loaded, asking, models.population, group, deadline))
            except StageFailed as exc:
                trail.bend("explain", exc.reason, None)
        return Told(
            explained=all(candidate.id in told for _, candidate in shown),
            reasons=tuple(told.get(candidate.id, ()) for _, candidate in shown),
        )

    async def ask(self, loaded: LoadedRanker, people: EligiblePeople, candidate: Profile, deadline: Deadline) -> Breakdown:
        """What one candidate's score is made of, private acts included. Raises StageFailed."""
        (breakdown,) = await self._enter(loaded, partial(self._breakdowns, loaded, people, [candidate], deadline, private=True))
        return breakdown

    async def _enter(self, loaded: LoadedRanker, work: Callable[[], Awaitable[T]]) -> T:
        return await enter("explain", self._breakers[_part(loaded)], work)

    async def _in_words(
        self, loaded: LoadedRanker, asking: Asking, memory: Population, group: Sequence[Profile], deadline: Deadline
    ) -> dict[int, tuple[str, ...]]:
        breakdowns = await self._breakdowns(loaded, memory.eligible(asking), group, deadline, private=False)
        return {who.id: in_words(breakdown, asking, who) for who, breakdown in zip(group, breakdowns, strict=True)}

    async def _breakdowns(
        self, loaded: LoadedRanker, people: EligiblePeople, candidates: Sequence[Profile], deadline: Deadline, private: bool
    ) -> list[Breakdown]:
        """Unless `private`, as if no candidate had liked the viewer: what is made of the answer must not tell who has."""
        method = contributing(loaded)
        if method is None:
            raise StageBroken(f"{loaded.name} cannot explain", reason="unexplained")
        batch, facts = _batch(loaded, people, candidates, private)
        if loaded.inline:
            amounts = method(batch)
        else:
            amounts = await self._door.call(_part(loaded), method, batch, deadline=deadline)
        return _made(batch.names, facts, checked(amounts, len(candidates), len(batch.names)))


def checked(amounts: Floats, n: int, n_features: int) -> Floats:
    """Contributions as float32 (n, n_features). Raises StageBroken with the reason when they break the contract."""
    values = np.asarray(amounts)
    if values.shape != (n, n_features):
        raise StageBroken(f"contributions of shape {values.shape}", reason="wrong_shape")
    if values.dtype.kind != "f":
        raise StageBroken(f"contributions of dtype {values.dtype}", reason="wrong_dtype")
    if not np.isfinite(values).all():
        raise StageBroken("contributions that are no numbers", reason="nan")
    return values


def in_words(breakdown: Breakdown, asking: Asking, candidate: Profile) -> tuple[str, ...]:
    """The reasons for one candidate. Counts of likes are without those between the two."""
    relations = asking.relations
    pair = Pair(
        viewer=asking.viewer,
        candidate=candidate,
        now=datetime.fromtimestamp(asking.now_s, UTC),
        values=breakdown.values,
        n_liked_by=_count(breakdown.values["candidate_log_likes_received"]) - (candidate.id in relations.liked),
        n_likes=_count(breakdown.values["candidate_log_likes_given"]) - (candidate.id in relations.liked_by),
        n_viewer_likes=len(relations.liked) - (candidate.id in relations.liked),
    )
    return reasons(breakdown.contributions, pair)


def _batch(
    loaded: LoadedRanker, people: EligiblePeople, candidates: Sequence[Profile], private: bool
) -> tuple[RankingBatch, Floats]:
    """What the ranker is asked about, and the features that it and reasons need, float32 (n, k)."""
    ids = np.array([candidate.id for candidate in candidates], np.int64)
    needs = loaded.required_features
    facts = people.features(ids, _with_facts(needs))
    features = facts[:, : len(needs)].copy()  # the ranker may write into it
    if not private and _PRIVATE in needs:
        features[:, needs.index(_PRIVATE)] = 0.0
    return RankingBatch(people.viewer_id, ids, needs, features), facts


def _made(names: tuple[str, ...], facts: Floats, amounts: Floats) -> list[Breakdown]:
    columns = _with_facts(names)
    return [
        Breakdown(dict(zip(columns, values, strict=True)), dict(zip(names, adds, strict=True)))
        for values, adds in zip(facts.tolist(), amounts.tolist(), strict=True)
    ]


def _with_facts(names: tuple[str, ...]) -> tuple[str, ...]:
    return names + tuple(name for name in FACTS if name not in names)


def _count(log_count: float) -> int:
    """The count of which a feature holds log(1 + n)."""
    return round(math.expm1(log_count))


def _part(loaded: LoadedRanker) -> str:
    """What the breaker, threads and metrics of explaining are named after."""
    return f"explain:{loaded.name}:{loaded.version}"
