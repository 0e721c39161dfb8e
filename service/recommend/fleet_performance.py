"""The performance of all replicas together: each tells its own figures every second, and any of them adds up what all told.

Seconds are named by the clock of the replica that counted them. One whose clock is ahead by d seconds is counted for d seconds
longer than the window says (up to a minute ahead; beyond that, only once the asking replica's clock has come near), and one
that is behind for d seconds less: each request counts once in whichever window it falls into, none is lost or doubled.
"""

import asyncio

import structlog

from service.errors import RedisUnavailable, Unavailable
from service.fleet.figures import FleetFigures, Put, cover
from service.recommend.performance import Performance, PerformanceReport, report_of
from service.recommend.tallies import Sums, is_ours
from service.resilience import Deadline

PAUSE_S = 0.9
"""Between two flushes; with the flush itself a replica that is killed loses less than a second."""
_AT_ONCE = 100
"""Rows in one flush at most, about 100 kB. More are there only after Redis was away: an hour of it takes 40 s."""
_PROBING = 4
"""Rows in one flush after one that failed."""
_READ_S = 2.0

_LOG = structlog.get_logger("amity.performance")


class FleetPerformance:
    """Flushes one replica's `own` figures, and reports those of the fleet."""

    def __init__(self, own: Performance, figures: FleetFigures) -> None:
        self._own = own
        self._figures = figures
        self._limit = _AT_ONCE
        self._forgotten = False

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.flush()
            await asyncio.sleep(PAUSE_S)

    async def flush(self) -> None:
        """Tell the fleet what is new, and look whether Redis still has the rest. What it did not take stays for the next flush,
        for as long as a window may reach it."""
        rows, put = self._own.take(self._limit), Put()
        try:
            put = await self._figures.put(rows)
        finally:  # cancelled: the last flush, at the end, has to send it
            self._own.put_back([span for span, _ in rows if span not in put.kept])
        self._limit = _AT_ONCE if put.kept or not rows else _PROBING
        if put.forgotten:
            self._own.put_all_back()
            if not self._forgotten:  # one that is full forgets with every flush
                _LOG.info("figures told again, for Redis lost them")
        self._forgotten = put.forgotten

    async def report(self, window_s: int) -> PerformanceReport:
        """The last `window_s` seconds of all replicas: this one's to the moment, the others' as they last told, at most a second
        ago. Raises Unavailable while Redis is away."""
        now_s = self._own.now_s()
        sums, replicas = Sums(), set()
        if rows := self._own.rows(window_s):
            sums.add(rows)  # 1.5 ms for an hour; then the first round trip lets others have their turn
            replicas.add(b"")
        try:
            async for found in self._figures.others(cover(now_s - window_s, now_s), Deadline(_READ_S)):
                sums.add([row for _, row in found])
                replicas.update(replica for replica, row in found if is_ours(row))
        except RedisUnavailable as exc:
            raise Unavailable(
                "Redis, where replicas tell their figures, cannot be reached; scope=replica gives those of the one that answers"
            ) from exc
        return report_of(sums, window_s, "fleet", len(replicas))
