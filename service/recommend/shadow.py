"""A ranker in the shadow of those that serve: it scores a sample of new pools when their replies have left, nobody sees what it
says, and metrics tell how it differs."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import Floats, RankingBatch
from numpy.typing import NDArray

from service.errors import StageBroken, StageFailed
from service.metrics import SHADOW_CORRELATION, SHADOW_DRIFT, SHADOW_FAILURES, SHADOW_SECONDS
from service.recommend.ports import Trail
from service.recommend.ranking import Ranked, RankingTask, Ranks, checked
from service.recommend.stages import Breakers, enter
from service.resilience import Deadline
from service.threads import ThreadDoor

CAPACITY = 16
"""Pools that wait, with the view of people that they were made from."""
PAUSE_S = 0.05
"""Before each: the reply for which a pool was made leaves within a few ms of it. It also bounds the work to 20 pools a second."""
LONGEST_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A pool as it was ranked."""

    task: RankingTask
    served: Ranked


class Shadow:
    """Holds no viewer up: leaves out what it has no room for, and scores in a thread, one pool at a time, behind a breaker of its
    own."""

    def __init__(self, ranker: str, share: float, door: ThreadDoor, breakers: Breakers, pause_s: float = PAUSE_S) -> None:
        """`ranker` empty: there is none. `share`: how many of the pools it scores, 0 to 1."""
        self.ranker = ranker
        self._share = share if ranker else 0.0
        self._door = door
        self._breakers = breakers
        self._pause_s = pause_s
        self._waiting: asyncio.Queue[Sample] = asyncio.Queue(CAPACITY)

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting.qsize()

    def offer(self, task: RankingTask, served: Ranked) -> None:
        """Take a pool, perhaps; never waits. Not one that it has served itself, and none whose own ranker failed."""
        is_its_own = served.algorithm_version == self.ranker
        if is_its_own or served.algorithm_version != task.algorithm or not len(task.ids) or random.random() >= self._share:
            return
        if self._waiting.full():
            SHADOW_FAILURES.labels(self.ranker, "no_room").inc()
            return
        self._waiting.put_nowait(Sample(task, served))

    async def run(self) -> None:
        """Score one after another, until cancelled."""
        while True:
            sample = await self._waiting.get()
            await asyncio.sleep(self._pause_s)
            await self.score(sample)

    async def drain(self) -> None:
        """Score all that waits."""
        while not self._waiting.empty():
            await self.score(self._waiting.get_nowait())

    async def score(self, sample: Sample) -> None:
        """Score a pool and tell the metrics. Raises nothing."""
        try:
            scores, seconds = await self._scored(sample.task)
        except StageFailed as exc:
            SHADOW_FAILURES.labels(self.ranker, exc.reason).inc()
            return
        SHADOW_SECONDS.labels(self.ranker).observe(seconds)
        against = self.ranker, sample.served.algorithm_version
        SHADOW_DRIFT.labels(*against).observe(float(scores.mean(dtype=np.float64) - sample.served.scores.mean(dtype=np.float64)))
        correlation = rank_correlation(scores, sample.served.scores)
        if correlation is not None:
            SHADOW_CORRELATION.labels(*against).observe(correlation)

    async def _scored(self, task: RankingTask) -> tuple[Floats, float]:
        """The scores, float32 (n,), and the seconds that they took in their thread. Raises StageFailed."""
        loaded = task.rankers.get(self.ranker)
        if loaded is None or loaded.ranker is None:
            raise StageBroken("nothing to rank with", reason="missing_bundle")
        part = f"shadow:{loaded.name}:{loaded.version}"
        score, needs = loaded.ranker.score, loaded.required_features

        async def work() -> tuple[Floats, float]:
            features = task.people.features(task.ids, needs)  # on the event loop, which alone changes what they are made of
            batch = RankingBatch(task.viewer_id, task.ids.copy(), needs, features)
            deadline = Deadline(LONGEST_S)
            scores, seconds = await self._door.call(part, _timed, score, batch, deadline=deadline, at_most=1)
            return checked(scores, len(task.ids)), seconds

        return await enter("shadow", self._breakers[part], work)


class RankingInShadow:
    """Ranks, and shows what was ranked to the shadow."""

    def __init__(self, ranking: Ranks, shadow: Shadow) -> None:
        self._ranking = ranking
        self._shadow = shadow

    async def rank(self, task: RankingTask, deadline: Deadline, trail: Trail) -> Ranked:
        ranked = await self._ranking.rank(task, deadline, trail)
        self._shadow.offer(task, ranked)
        return ranked


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's correlation of two rankings of the same candidates, float32 (n,) each, -1 to 1; equal scores share the mean of
    their ranks. None where all are equal: there is no order to compare."""
    ranks = _ranks(one), _ranks(other)
    spreads = [float(np.sqrt((each**2).sum())) for each in ranks]
    if not all(spreads):
        return None
    return float(np.clip(ranks[0] @ ranks[1] / (spreads[0] * spreads[1]), -1.0, 1.0))


def _ranks(scores: Floats) -> NDArray[np.float64]:
    """Ranks less their mean, float64 (n,)."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[places]
    return np.asarray(ranks - (len(scores) - 1) / 2, np.float64)


def _timed(score: Callable[[RankingBatch], Floats], batch: RankingBatch) -> tuple[Floats, float]:
    started_s = time.perf_counter()
    scores = score(batch)
    return scores, time.perf_counter() - started_s
