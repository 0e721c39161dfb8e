"""The ranker called, checked, and replaced when it fails."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import Floats, Ids, RankingBatch

from service.errors import StageBroken, StageFailed
from service.plugins import LoadedRanker
from service.recommend.ports import EligiblePeople, Trail
from service.recommend.stages import Breakers, enter
from service.resilience import Deadline
from service.telemetry import stage
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

        async def work() -> Ranked:
            if loaded is None or loaded.ranker is None:
                raise StageBroken("nothing to rank with", reason="missing_bundle")
            with stage("features"):
                features = task.people.features(task.ids, loaded.required_features)
            if loaded.inline:
                batch = RankingBatch(task.viewer_id, task.ids, loaded.required_features, features)
                scores = loaded.ranker.score(batch)
            else:  # copies: what a third party writes into its batch, perhaps long after its deadline, must not reach the slate
                batch = RankingBatch(task.viewer_id, task.ids.copy(), loaded.required_features, features.copy())
                scores = await self._door.call(f"ranker:{name}", loaded.ranker.score, batch, deadline=deadline)
            return Ranked(name, checked(scores, len(task.ids)), loaded.required_features, features)

        return await enter("ranking", self._breakers[f"ranker:{name}"], work)


def checked(scores: Floats, n: int) -> Floats:
    """The scores as float32 (n,). Raises StageBroken with the reason when they break the contract."""
    values = np.asarray(scores)
    if values.shape != (n,) or values.dtype.kind not in "fiub":
        raise StageBroken(f"scores of shape {values.shape} and dtype {values.dtype}", reason="wrong_shape")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise StageBroken("scores that are no numbers", reason="nan")
    if n and (values.min() < 0 or values.max() > 1):
        raise StageBroken("scores that are no probabilities", reason="out_of_range")
    return values
