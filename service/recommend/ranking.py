"""The ranker called, checked, and replaced when it fails."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from amity_rankers.contract import Floats, Ids, RankingBatch

from service.errors import StageBroken, StageFailed
from service.plugins import LoadedRanker
from service.recommend.ports import EligiblePeople, Trail
from service.recommend.stages import Breakers, enter
from service.resilience import Deadline
from service.telemetry import stage, tell
from service.threads import ThreadDoor

UNRANKED = "retrieval_order"
"""Stands as the algorithm when the fallback failed as well and candidates keep the order in which they were found."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """`scores`: float32 (n,), in [0, 1], aligned with the candidates. `features`: what they were ranked on, float32
    (n, len(names))."""

    algorithm_version: str
    scores: Floats
    names: tuple[str, ...] = ()
    features: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RankingTask:
    """Whom to rank for whom, with which of the rankers. `ids`: int64 (n,), people of this population."""

    viewer_id: int
    ids: Ids
    people: EligiblePeople
    rankers: Mapping[str, LoadedRanker]
    algorithm: str


class Ranks(Protocol):
    async def rank(self, task: RankingTask, deadline: Deadline, trail: Trail) -> Ranked: ...


class Ranking:
    """Rankers that may hang (all but our own light ones) run in threads, at most two calls of each at once."""

    def __init__(self, door: ThreadDoor, breakers: Breakers, fallback: str, share: float) -> None:
        self._door = door
        self._breakers = breakers
        self._fallback = fallback
        self._share = share

    async def rank(self, task: RankingTask, deadline: Deadline, trail: Trail) -> Ranked:
        """The algorithm's scores, else the fallback's, else zeros in the order of retrieval; what was bent is in the trail."""
        if not len(task.ids):
            return Ranked(task.algorithm, np.zeros(0, np.float32))
        try:
            return await self._attempt(task.algorithm, task, deadline.part(self._share))
        except StageFailed as exc:
            reason = exc.reason
        if task.algorithm != self._fallback:
            with suppress(StageFailed):  # counted by its stage; what is left is the order of retrieval
                ranked = await self._attempt(self._fallback, task, deadline)
                trail.bend("ranking", reason, self._fallback)
                return ranked
        trail.bend("ranking", reason, UNRANKED)
        return Ranked(UNRANKED, np.zeros(len(task.ids), np.float32))

    async def _attempt(self, name: str, task: RankingTask, deadline: Deadline) -> Ranked:
        loaded = task.rankers.get(name)
        if loaded is None or loaded.ranker is None:  # says nothing about how it ranks: its breaker is left alone
            with stage("ranking", {"amity.ranker": name, "amity.n_candidates": len(task.ids)}):
                raise StageBroken("nothing to rank with", reason="missing_bundle")
        score, needs = loaded.ranker.score, loaded.required_features

        async def work() -> Ranked:
            tell({"amity.ranker": name, "amity.ranker.version": loaded.version, "amity.n_candidates": len(task.ids)})
            with stage("features", {"amity.n_features": len(needs)}):
                features = task.people.features(task.ids, needs)
            if loaded.inline:
                scores = score(RankingBatch(task.viewer_id, task.ids, needs, features))
            else:  # copies: what a third party writes into its batch, perhaps long after its deadline, must not reach the slate
                batch = RankingBatch(task.viewer_id, task.ids.copy(), needs, features.copy())
                scores = await self._door.call(loaded.part, score, batch, deadline=deadline)
            return Ranked(name, checked(scores, len(task.ids)), needs, features)

        return await enter("ranking", self._breakers[loaded.part], work)


def checked(scores: Floats, n: int) -> Floats:
    """The scores as float32 (n,). Raises StageBroken with the reason when they break the contract; of floats of another width
    nothing is lost, while integers are classes or ranks, and no probabilities."""
    values = np.asarray(scores)
    if values.shape != (n,):
        raise StageBroken(f"scores of shape {values.shape} for {n} candidates", reason="wrong_shape")
    if values.dtype.kind != "f":
        raise StageBroken(f"scores of dtype {values.dtype}", reason="wrong_dtype")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise StageBroken("scores that are no numbers", reason="nan")
    if n and (values.min() < 0 or values.max() > 1):
        raise StageBroken("scores that are no probabilities", reason="out_of_range")
    return values
