"""Stale pools made anew beside the requests that were served from them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import msgspec

from service.metrics import POOL_RENEWALS
from service.recommend.computation import Computation, Job, Made
from service.recommend.pools import PoolKey
from service.recommend.ports import ImpressionSink
from service.resilience import Clock, Deadline

WORKERS = 2
"""Renewals at once in a replica: after a new bundle every pool of the fleet is stale, and requests come first."""
CAPACITY = 256
"""Pools that wait to be renewed. What finds no room is asked for again by the next request that is served from it."""


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
        self._waiting: asyncio.Queue[Job] = asyncio.Queue(CAPACITY)
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
        self._waiting.put_nowait(job)

    async def run(self) -> None:
        """Renew one after another, until cancelled."""
        while True:
            await self.renew(await self._waiting.get())

    async def drain(self) -> None:
        """Renew all that waits."""
        while not self._waiting.empty():
            await self.renew(self._waiting.get_nowait())

    async def renew(self, job: Job) -> None:
        outcome = "failed"
        try:
            asking = msgspec.structs.replace(job.asking, now_s=self._now().timestamp())
            made = await self._computation.renew(replace(job, asking=asking), Deadline(self._deadline_s, self._monotonic))
            outcome = _outcome(made)
            if made is not None and outcome == "renewed" and made.features is not None:
                self._impressions.offer(None, made.features())
        finally:
            self._asked.discard(job.key)
            POOL_RENEWALS.labels(outcome).inc()


def _outcome(made: Made | None) -> str:
    if made is None or not made.is_new:
        return "elsewhere"
    return "degraded" if made.degraded else "renewed"
