"""The connections of a process to PostgreSQL."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from service.repositories.calls import Sessions
from service.repositories.connections import PromptConnection, connect, dsn, explained
from service.repositories.failures import DRIVER_ERRORS
from service.repositories.readers import Readers

__all__ = ["Database", "connect"]


class Database:
    """At most `pool_size` connections, but two at least, opened as needed. Making one connects to nothing.

    Half of them are kept for the short reads of requests, so that neither these nor writes and bulk reads can starve the other.
    """

    def __init__(self, url: str, pool_size: int = 10, timeout_s: float | None = 10.0) -> None:
        """`timeout_s` bounds connecting, waiting for a free connection, and each statement. Raises BadSetting for a bad URL."""
        self.url = dsn(url)
        self._timeout_s = timeout_s
        self._leaving: set[asyncio.Task[None]] = set()
        n_readers = max(pool_size // 2, 1)
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=max(pool_size - n_readers, 1),
            max_overflow=0,
            pool_timeout=timeout_s or 3600.0,
        )
        self._readers = Readers(self._connect, n_readers, timeout_s)
        self.sessions = Sessions(self._engine, class_=AsyncSession, expire_on_commit=False, readers=self._readers)

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    async def ping(self) -> None:
        """Ask the server for an answer; raises DatabaseUnavailable whose one line says where and why, without the password."""
        try:
            async with self._engine.connect() as connection:
                await connection.exec_driver_sql("select 1")
        except DRIVER_ERRORS as exc:
            raise explained(self.url, exc) from exc

    async def close(self) -> None:
        self._readers.close()
        await self._engine.dispose()
        await asyncio.gather(*self._leaving)

    async def _connect(self) -> PromptConnection:
        connection = await connect(self.url, self._timeout_s)
        connection.leaving = self._leaving
        return connection
