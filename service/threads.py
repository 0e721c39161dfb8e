"""The one door to worker threads: bounded, with a deadline, and with the caller's context variables."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from service.errors import StageBusy, StageTimeout
from service.resilience import Deadline
from service.telemetry import THREADS_ABANDONED

T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]


class ThreadDoor:
    """Runs functions in `max_workers` threads, not counting those that hang.

    The threads are daemons of our own, because `ThreadPoolExecutor` joins its threads when the interpreter ends: one plug-in
    that hangs would keep the process from stopping.
    """

    def __init__(self, max_workers: int) -> None:
        self._max_workers = max_workers
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._places: dict[str, _Places] = {}

    async def call(self, key: str, fn: Callable[..., T], *args: Any, deadline: Deadline, at_most: int = 2) -> T:
        """`fn(*args)` in a thread; at most `at_most` calls of one key at once, so that a hung one cannot take all threads.

        Waits for a place and for the result, both within the deadline: StageBusy when no place came free, StageTimeout when
        the function did not end, and at once when all its places are held by calls that hang. A timeout frees the request,
        not the thread: the place stays taken until it ends.
        """
        places = self._places.setdefault(key, _Places(at_most))
        await places.take(deadline)
        future: Future[T] = Future()
        future.add_done_callback(_giving_back(asyncio.get_running_loop(), places))
        self._submit(future, fn, args)
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({waiting}, timeout=deadline.remaining_s())
            if done:
                return waiting.result()
            raise StageTimeout
        finally:
            if not waiting.done():
                if not future.cancel():
                    places.abandoned.add(future)
                    THREADS_ABANDONED.labels(key).inc()
                waiting.cancel()

    def close(self) -> None:
        """Idle threads end; a call that hangs is left to the end of the process."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _submit(self, future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        # Threads that hang are replaced: four plug-ins that hang would else hold all of eight. They are at most two a key.
        hanging = sum(len(places.abandoned) for places in self._places.values())
        while len(self._threads) < self._max_workers + hanging:
            thread = threading.Thread(target=_work, args=(self._jobs,), name=f"amity-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        context = contextvars.copy_context()
        self._jobs.put((future, lambda: context.run(fn, *args)))


class _Places:
    """How many calls of one key may run, and those at work that nobody waits for any more."""

    def __init__(self, at_most: int) -> None:
        self._free = asyncio.Semaphore(at_most)
        self._at_most = at_most
        self.abandoned: set[Future[Any]] = set()

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

    def give_back(self, future: Future[Any]) -> None:
        self.abandoned.discard(future)
        self._free.release()


def _giving_back(loop: asyncio.AbstractEventLoop, places: _Places) -> Callable[[Future[Any]], None]:
    def give_back(future: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has closed: a call outlived the service
            loop.call_soon_threadsafe(places.give_back, future)

    return give_back


def _work(jobs: "queue.SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        future, run = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = run()
        except BaseException as exc:  # noqa: BLE001 - handed to whoever waits for the future
            future.set_exception(_bearable(exc))
        else:
            future.set_result(result)
        del job, future, run


def _bearable(exc: BaseException) -> Exception:
    """What may be raised on the event loop in the place of `exc`: SystemExit and KeyboardInterrupt would end the loop, and the
    service with it, a CancelledError would look like the caller's own, and no future takes a StopIteration."""
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    wrapped = RuntimeError(f"{type(exc).__name__} in a thread")
    wrapped.__cause__ = exc
    return wrapped
