"""Deadline, bounded wait, breaker and limiter: what keeps one slow part from taking the request, or the replica, with it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from service.errors import CircuitOpen, Overloaded, StageBusy, StageTimeout
from service.metrics import BREAKER_STATE, REFUSED

T = TypeVar("T")

Clock = Callable[[], float]
"""Monotonic seconds."""

_abandoned: set[asyncio.Future[Any]] = set()


class Deadline:
    """A point in time that is handed down; whoever waits, waits no longer than this."""

    __slots__ = ("_clock", "_ends_s", "_total_s")

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._total_s = seconds
        self._ends_s = clock() + seconds

    def remaining_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._ends_s - self._clock())

    def part(self, share: float) -> "Deadline":
        """A share of the whole from now on, and never beyond the whole."""
        return Deadline(min(self._total_s * share, self.remaining_s()), self._clock)

    def at_most(self, seconds: float, at_least: float = 0.0) -> "Deadline":
        """`seconds` from now on, and never beyond this one, but for the `at_least` that it gets in any case."""
        return Deadline(min(seconds, max(at_least, self.remaining_s())), self._clock)


async def bounded(work: Awaitable[T], deadline: Deadline) -> T:
    """The result of `work`, or StageTimeout when the deadline passes first.

    A hard bound: `asyncio.timeout` waits until the cancelled work has cleaned up, and a driver that talks to a black hole
    takes its time for that (asyncpg: 0.5 s where 0.2 s were asked for). Here the work is cancelled and left behind.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=deadline.remaining_s())
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise StageTimeout
    return task.result()


def _abandon(task: asyncio.Future[Any]) -> None:
    _abandoned.add(task)  # the event loop holds tasks weakly
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Future[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as seen: nobody waits for it any more


async def left_behind(seconds: float) -> None:
    """Wait until the work that `bounded` left behind has ended, at most so long: before what it uses is closed."""
    loop = asyncio.get_running_loop()
    if tasks := {task for task in _abandoned if task.get_loop() is loop}:
        await asyncio.wait(tasks, timeout=seconds)


class Breaker:
    """Stops asking a part that failed `failures` times in a row; after `cool_down_s` one probe may try again."""

    def __init__(self, name: str, failures: int = 3, cool_down_s: float = 2.0, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._limit = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._failed = 0
        self._opened_s: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open` (the next call, or the one at work, decides)."""
        if self._opened_s is None:
            return "closed"
        return "half_open" if self._clock() - self._opened_s >= self._cool_down_s else "open"

    @contextmanager
    def guard(self, failure: type[Exception]) -> Iterator[None]:
        """Raises CircuitOpen while open; else counts how the block ends. Only `failure` counts as such, and StageBusy as
        nothing: a part that was not asked, for want of a thread, has neither failed nor answered."""
        self._enter()
        try:
            yield
        except StageBusy:
            self._probing = False
            raise
        except failure:
            self._record_failure()
            raise
        except BaseException as exc:
            self._probing = False
            if isinstance(exc, Exception):
                self._record_success()  # it answered, if only with a refusal
            raise
        else:
            self._record_success()

    def _enter(self) -> None:
        if self._opened_s is None:
            return
        if self._probing or self.state == "open":
            raise CircuitOpen
        self._probing = True

    def _record_success(self) -> None:
        self._failed = 0
        self._probing = False
        if self._opened_s is not None:
            self._opened_s = None
            BREAKER_STATE.labels(self.name).set(0)

    def _record_failure(self) -> None:
        self._failed += 1
        self._probing = False
        if self._failed >= self._limit or self._opened_s is not None:
            self._opened_s = self._clock()
            BREAKER_STATE.labels(self.name).set(1)


class Limiter:
    """`async with limiter:` admits `max_in_flight` at once; `max_queued` more wait, at most `max_wait_s`; others are refused.

    Raises Overloaded at once when the queue is full, so that those admitted keep their latency.
    """

    def __init__(self, max_in_flight: int, max_queued: int, max_wait_s: float) -> None:
        self._places = asyncio.Semaphore(max_in_flight)
        self._max_queued = max_queued
        self._max_wait_s = max_wait_s
        self._queued = 0

    async def __aenter__(self) -> Self:
        if not self._places.locked():
            await self._places.acquire()
            return self
        if self._queued >= self._max_queued:
            REFUSED.labels("queue_full").inc()
            raise Overloaded
        self._queued += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._places.acquire()
        except TimeoutError as exc:
            REFUSED.labels("waited_too_long").inc()
            raise Overloaded from exc
        finally:
            self._queued -= 1
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._places.release()
