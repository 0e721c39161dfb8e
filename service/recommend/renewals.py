"""Stale pools made anew beside the requests that were served from them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec

from service.logs import lines_of_work
from service.metrics import POOL_RENEWALS
from service.recommend.computation import Computation, Job, Made
from service.recommend.pools import PoolKey
from service.recommend.ports import ImpressionSink
from service.resilience import Clock, Deadline
from service.telemetry import Recording, Trace, hand_in, traced, work_for

WORKERS = 2
"""Renewals at once in a replica: after a new bundle every pool of the fleet is stale, and requests come first."""
CAPACITY = 256
"""Pools that wait to be renewed. What finds no room is asked for again by the next request that is served from it."""


Outcome = Literal["renewed", "elsewhere", "degraded", "failed"]


class Renewals:
    """A bounded queue. A lease in Redis sees to it that one replica renews a pool."""

    def __init__(
        self,
        computation: Computation,
        impressions: ImpressionSink,
        deadline_s: float,
        now: Callable[[], datetime],
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._computation = computation
        self._impressions = impressions
        self._deadline_s = deadline_s
        self._now = now
        self._monotonic = monotonic
        self._waiting: asyncio.Queue[tuple[Job, Recording | None]] = asyncio.Queue(CAPACITY)
        self._asked: set[PoolKey] = set()

    def __len__(self) -> int:
        """How many wait or are at work."""
        return len(self._asked)

    def offer(self, job: Job) -> None:
        """Have a pool made anew, soon; never waits."""
        if job.key in self._asked:
            return
        if self._waiting.full():
            POOL_RENEWALS.labels("refused").inc()
            return
        self._asked.add(job.key)
        self._waiting.put_nowait((job, traced()))

    async def run(self) -> None:
        """Renew one after another, until cancelled."""
        while True:
            await self.renew(*await self._waiting.get())

    async def drain(self) -> None:
        """Renew all that waits."""
        while not self._waiting.empty():
            await self.renew(*self._waiting.get_nowait())

    async def renew(self, job: Job, asked_by: Recording | None = None) -> None:
        """`asked_by`: the request whose pool it is, where that one is traced."""
        outcome: Outcome = "failed"
        made = None
        with work_for(asked_by) as recording, lines_of_work(recording):
            try:
                asking = msgspec.structs.replace(job.asking, now_s=self._now().timestamp())
                made = await self._computation.renew(replace(job, asking=asking), Deadline(self._deadline_s, self._monotonic))
                outcome = _outcome(made)
                if made is not None and outcome == "renewed" and made.features is not None:
                    self._impressions.offer(None, made.features())
            finally:
                self._asked.discard(job.key)
                POOL_RENEWALS.labels(outcome).inc()
                if outcome in ("failed", "degraded"):
                    recording.want(outcome)
                if recording.why is not None:
                    hand_in(_trace(recording, asked_by, job, made, outcome))


def _outcome(made: Made | None) -> Outcome:
    if made is None or not made.is_new:
        return "elsewhere"
    return "degraded" if made.degraded else "renewed"


def _trace(recording: Recording, asked_by: Recording | None, job: Job, made: Made | None, outcome: Outcome) -> Trace:
    bundle_version = job.models.population.bundle_version
    told: dict[str, str | int | None] = {
        "amity.viewer_id": job.key.viewer_id,
        "amity.renewal.outcome": outcome,
        "amity.traced_because": recording.why,
    }
    if made is not None:
        told["amity.algorithm_version"] = made.pool.algorithm_version
    if bundle_version is not None:
        told["amity.bundle_version"] = bundle_version
    return Trace(
        recording=recording,
        name="amity.renewal",
        ended_s=time.perf_counter(),
        ended_ns=time.time_ns(),
        has_failed=outcome == "failed",
        attributes=told,
        degraded=() if made is None else made.degraded,
        asked_by=asked_by,
    )
