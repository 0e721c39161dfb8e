"""The short way to PostgreSQL for what every recommendation request reads.

Measured, one core: a read of relations takes 0.29 ms of the event loop through an AsyncSession and 0.06 ms here; a request
makes two. Everything else goes through sessions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.repositories.connections import PromptConnection
from service.repositories.failures import DRIVER_ERRORS, is_stale, translated


class Readers:
    """At most `size` connections, each for one statement at a time in autocommit; the last used is used first."""

    def __init__(self, open_connection: Callable[[], Awaitable[PromptConnection]], size: int, timeout_s: float | None) -> None:
        self._open_connection = open_connection
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(size)
        self._idle: list[PromptConnection] = []

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        """The rows of a query with parameters $1, $2 and so on. Raises DatabaseUnavailable.

        Tried once more when the connection was lost: it stood idle through a restart of PostgreSQL, and so did the others.
        """
        with translated():
            try:
                return await self._fetch(query, arguments)
            except DRIVER_ERRORS as exc:
                if not is_stale(exc):
                    raise
                self._leave_idle()
            return await self._fetch(query, arguments)

    def close(self) -> None:
        """Say goodbye to all that are idle, side by side: a server that hangs costs the bound of one. None must be at work."""
        self._leave_idle()

    async def _fetch(self, query: str, arguments: tuple[Any, ...]) -> Sequence[Any]:
        if self._idle and not self._places.locked():  # the driver bounds the statement, and nothing else is waited for
            async with self._places:
                return await self._ask(self._idle.pop(), query, arguments)
        async with asyncio.timeout(self._timeout_s), self._places:
            return await self._ask(self._idle.pop() if self._idle else await self._open_connection(), query, arguments)

    async def _ask(self, connection: PromptConnection, query: str, arguments: tuple[Any, ...]) -> Sequence[Any]:
        try:
            rows: Sequence[Any] = await connection.fetch(query, *arguments)
        except BaseException:
            connection.leave()  # a cancelled statement may still be at work there
            raise
        self._idle.append(connection)
        return rows

    def _leave_idle(self) -> None:
        while self._idle:
            self._idle.pop().leave()
