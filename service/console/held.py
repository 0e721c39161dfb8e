"""Holds what is dear to make for a short while, and lets everybody who asks meanwhile wait for the same making of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from service.recommend.performance import PerformanceReport
from service.resilience import Clock

T = TypeVar("T")

_MOST = 16
"""Of different keys."""


class _Making(NamedTuple, Generic[T]):
    task: "asyncio.Task[T]"
    began_s: float


class Held(Generic[T]):
    """By key. Who asks leaves without ending the making, for others may be waiting for it, too."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._makings: dict[str, _Making[T]] = {}

    async def get(self, key: str, for_s: float, make: Callable[[], Awaitable[T]]) -> T:
        """What was made of this key no longer than `for_s` ago, or is being made; else made now. What fails is not held."""
        found = self._makings.get(key)
        if found is None or (found.task.done() and not self._stands(found, for_s)):
            found = _Making(asyncio.ensure_future(_awaited(make)), self._clock())
            found.task.add_done_callback(_heed)
            self._makings.pop(key, None)
            self._makings[key] = found
            self._make_room()
        return await asyncio.shield(found.task)

    def _stands(self, making: _Making[T], for_s: float) -> bool:
        failed = making.task.cancelled() or making.task.exception() is not None
        return not failed and self._clock() - making.began_s < for_s

    def _make_room(self) -> None:
        """The oldest go; what is still being made goes on for those who wait for it."""
        while len(self._makings) > _MOST:
            del self._makings[next(iter(self._makings))]

    async def close(self) -> None:
        """Ends what is still being made."""
        tasks = [making.task for making in self._makings.values() if not making.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ReportSheet(NamedTuple):
    """A report as the page shows it, and until when it tells."""

    until: datetime
    sections: str


@dataclass(frozen=True, slots=True, eq=False)
class ConsoleHeld:
    """What the pages of one replica hold: reports of the fleet's performance, and of experiments as markup."""

    performance: Held[PerformanceReport] = field(default_factory=Held)
    reports: Held[ReportSheet] = field(default_factory=Held)

    async def close(self) -> None:
        """Ends what is still being made."""
        await self.performance.close()
        await self.reports.close()


def _heed(task: "asyncio.Task[Any]") -> None:
    """Everybody who waited may have left by the time it fails: then asyncio would say that nobody heard of it."""
    if not task.cancelled():
        task.exception()


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
