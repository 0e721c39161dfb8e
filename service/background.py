"""What runs beside the requests for as long as the service does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from service.metrics import UNEXPECTED_ERRORS

_LOG = structlog.get_logger("amity.background")

RESTART_S = 1.0


class Background:
    """Keeps references to tasks, which the event loop holds weakly, and starts anew what nobody foresaw to end: a replica whose
    change feed died would serve staler and staler answers, and look healthy."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run()` again and again until `stop`."""
        self._tasks.append(asyncio.create_task(_forever(name, run), name=f"amity-{name}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):  # what was just asked for
                await task
        self._tasks.clear()


async def _forever(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception as exc:  # noqa: BLE001 - counted and logged by type; a task has no caller to tell
            UNEXPECTED_ERRORS.labels(name, type(exc).__name__).inc()
            _LOG.error("background task failed", task=name, error_type=type(exc).__name__)
        await asyncio.sleep(RESTART_S)
