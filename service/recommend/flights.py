"""Work that several want is done once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The first caller of a key starts the work, and those who come while it runs wait for the same result.

    The work is a task of its own: a caller who is cancelled, the first one included, takes nobody else down.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result, and whether this caller started the work."""
        flight = self._flights.get(key)
        leads = flight is None
        if flight is None:
            flight = asyncio.create_task(_awaited(work))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight), leads

    def flies(self, key: Hashable) -> bool:
        """Whether work of this key is on its way."""
        return key in self._flights

    def _land(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # marks it as seen, should all who waited have gone


class Shared(Generic[T]):
    """Work that is done once, for all who ask for it while it runs or later; as above, nobody who leaves takes it down."""

    def __init__(self) -> None:
        self._work: asyncio.Task[T] | None = None

    async def get(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._work is None:
            self._work = asyncio.create_task(_awaited(work))
            self._work.add_done_callback(_seen)
        return await asyncio.shield(self._work)


def _seen(done: asyncio.Task[Any]) -> None:
    if not done.cancelled():
        done.exception()


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
