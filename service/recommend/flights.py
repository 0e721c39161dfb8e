"""Concurrent misses of one key compute once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

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


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
