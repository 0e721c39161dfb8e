"""The one door to worker threads: bounded, with a deadline, and with the caller's context variables."""

import asyncio
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from service.errors import StageBusy, StageTimeout
from service.metrics import THREADS_ABANDONED
from service.resilience import Deadline

T = TypeVar("T")


class ThreadDoor:
    """Runs functions in `max_workers` threads, not counting those that hang.

    The threads are daemons of our own, because `ThreadPoolExecutor` joins its threads when the interpreter ends: one plug-in
    that hangs would keep the process from stopping. A call and its way back take 25 µs of one core; by `concurrent.futures` and
    `asyncio.wait`, which wake the event loop twice, they took 50.
    """

    def __init__(self, max_workers: int, n_cores: int | None = None) -> None:
        """`n_cores`: how many threads can be at work at once; None: as many as this process may use."""
        self._max_workers = max_workers
        self.n_cores = len(os.sched_getaffinity(0)) if n_cores is None else n_cores
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._places: dict[str, _Places] = {}

    async def call(self, key: str, fn: Callable[..., T], *args: Any, deadline: Deadline, at_most: int = 2) -> T:
        """`fn(*args)` in a thread; at most `at_most` calls of one key at once, so that a hung one cannot take all threads.

        Waits for a place, a thread and the result, all within the deadline: StageBusy when no place or thread came free,
        StageTimeout when the function did not end, and at once when all its places are held by calls that hang. A timeout frees
        the request, not the thread: the place stays taken until it ends.
        """
        places = self._places.get(key) or self._places.setdefault(key, _Places(key, at_most))
        await places.take(deadline)
        call = _Call(places, partial(contextvars.copy_context().run, fn, *args))
        timer = call.loop.call_later(deadline.remaining_s(), call.expire)
        try:
            self._submit(call)  # raises RuntimeError where the system has no more threads: then the place is free again
            result: T = await call.answer
            return result
        finally:
            timer.cancel()
            call.leave()

    def hangs(self, key: str) -> bool:
        """Whether a call of this key is still at work though nobody waits for it any more."""
        places = self._places.get(key)
        return places is not None and bool(places.abandoned)

    def close(self) -> None:
        """Idle threads end; a call that hangs is left to the end of the process."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads.clear()

    def _submit(self, call: "_Call") -> None:
        # Threads that hang are replaced: four plug-ins that hang would else hold all of eight. They are at most two a key.
        hanging = sum(len(places.abandoned) for places in self._places.values())
        while len(self._threads) < self._max_workers + hanging:
            thread = threading.Thread(target=_work, args=(self._calls,), name=f"amity-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._calls.put(call)


class _Call:
    """One call on its way to a thread and back. All but `begin`, `run` and `end` belong to the event loop."""

    __slots__ = ("_begun", "_over", "_places", "answer", "loop", "run")

    def __init__(self, places: "_Places", run: Callable[[], Any]) -> None:
        self.run = run
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self.loop.create_future()
        self._places = places
        self._begun = threading.Lock()
        self._over = False

    def begin(self) -> bool:
        """True for whoever asks first: the thread that will run it, or the caller who will not wait for a thread."""
        return self._begun.acquire(blocking=False)

    def end(self, result: Any, error: Exception | None) -> None:
        """The thread is done with it."""
        with suppress(RuntimeError):  # the loop has closed: a call outlived the service
            self.loop.call_soon_threadsafe(self._end, result, error)

    def expire(self) -> None:
        """The deadline has passed: the function's failure only where a thread has begun it."""
        if not self.answer.done():
            self.answer.set_exception(StageTimeout() if self._begun.locked() else StageBusy())

    def leave(self) -> None:
        """Nobody waits any more. A call that no thread has begun never runs."""
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # marks it as seen, also when the caller was cancelled in the same turn
        if self._over:
            return
        if self.begin():
            self._over = True
            self._places.give_back(self)
        else:
            self._places.abandon(self)

    def _end(self, result: Any, error: Exception | None) -> None:
        self._over = True
        self._places.give_back(self)
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class _Places:
    """How many calls of one key may run, and those at work that nobody waits for any more."""

    def __init__(self, key: str, at_most: int) -> None:
        self._key = key
        self._free = asyncio.Semaphore(at_most)
        self._at_most = at_most
        self.abandoned: set[_Call] = set()

    async def take(self, deadline: Deadline) -> None:
        """Raises StageBusy when no place came free in time; at once StageTimeout, which is the function's own failure, when all
        are held by calls that hang."""
        if not self._free.locked():
            await self._free.acquire()
            return
        if len(self.abandoned) >= self._at_most:
            raise StageTimeout
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                await self._free.acquire()
        except TimeoutError as exc:
            raise StageBusy from exc

    def abandon(self, call: _Call) -> None:
        self.abandoned.add(call)
        THREADS_ABANDONED.labels(self._key).inc()

    def give_back(self, call: _Call) -> None:
        self.abandoned.discard(call)
        self._free.release()


def _work(calls: "queue.SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        if call.begin():
            call.end(*_outcome(call.run))
        del call


def _outcome(run: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return run(), None
    except BaseException as exc:  # noqa: BLE001 - handed to whoever waits for the answer
        return None, _bearable(exc)


def _bearable(exc: BaseException) -> Exception:
    """What may be raised on the event loop in the place of `exc`: SystemExit and KeyboardInterrupt would end the loop, and the
    service with it, a CancelledError would look like the caller's own, and no future takes a StopIteration."""
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    wrapped = RuntimeError(f"{type(exc).__name__} in a thread")
    wrapped.__cause__ = exc
    return wrapped
