"""The door of a stage: whatever goes wrong behind it becomes a StageFailed, which the request degrades on instead of failing."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from service.errors import DatabaseUnavailable, StageFailed, StageRaised
from service.metrics import UNEXPECTED_ERRORS
from service.resilience import Breaker
from service.telemetry import stage

T = TypeVar("T")

_log = structlog.get_logger("amity.recommend")


async def enter(name: str, breaker: Breaker, work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work()`, timed as the stage `name`. Raises only StageFailed: what nobody foresaw is counted and becomes
    StageRaised, logged by its type alone, since a plug-in's message may hold what logs must not."""
    with stage(name), breaker.guard(StageFailed):
        try:
            return await work()
        except StageFailed:
            raise
        except DatabaseUnavailable as exc:
            raise StageFailed(str(exc), reason="unavailable") from exc
        except Exception as exc:
            unexpected(name, exc)
            raise StageRaised(type(exc).__name__) from exc


def outcome_of(name: str, work: Callable[[], T]) -> T | StageFailed:
    """The same for work that is in a thread already and whose breaker is the caller's: its result, or what it failed of."""
    try:
        with stage(name):
            return work()
    except StageFailed as exc:
        return exc
    except Exception as exc:  # noqa: BLE001 - the door of a stage
        unexpected(name, exc)
        return StageRaised(type(exc).__name__)


def unexpected(door: str, exc: Exception) -> None:
    """Count and log, by type only, an exception that nobody foresaw."""
    UNEXPECTED_ERRORS.labels(door, type(exc).__name__).inc()
    _log.error("unexpected error", door=door, type=type(exc).__name__)


class Breakers:
    """One breaker a name, made when first asked for."""

    def __init__(self, make: Callable[[str], Breaker] = Breaker) -> None:
        self._make = make
        self._breakers: dict[str, Breaker] = {}

    def __getitem__(self, name: str) -> Breaker:
        if name not in self._breakers:
            self._breakers[name] = self._make(name)
        return self._breakers[name]

    def states(self) -> dict[str, str]:
        """State by name: `closed`, `open` or `half_open`."""
        return {name: breaker.state for name, breaker in self._breakers.items()}
