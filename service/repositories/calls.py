"""How every repository talks to PostgreSQL: a session a call, one retry on a stale connection, errors translated."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from service.errors import DatabaseUnavailable
from service.repositories.failures import DRIVER_ERRORS, is_stale, translated
from service.repositories.readers import Readers

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

LONG_S = 3600.0
"""Bound on one bulk statement, s, where the timeout of ordinary ones is too short."""


class Sessions(async_sessionmaker[AsyncSession]):
    """What repositories are made of: sessions, and the short way for reads of one statement."""

    def __init__(self, bind: AsyncEngine, *, readers: Readers, **options: Any) -> None:
        super().__init__(bind, **options)
        self.readers = readers


async def read(sessions: Sessions, work: Work[T]) -> T:
    """Run reading work in autocommit, which saves the round trips of BEGIN and ROLLBACK: each statement has its snapshot."""
    with translated():
        return await _twice(_read_once, sessions, work)


async def write(sessions: Sessions, work: Work[T]) -> T:
    """Run work in one transaction. A commit whose answer was lost is not tried again: it may have happened."""
    with translated():
        return await _twice(_write_once, sessions, work)


async def driver(session: AsyncSession) -> Any:
    """The asyncpg connection under a session, inside the session's transaction, for COPY."""
    connection = await session.connection()
    await connection.exec_driver_sql("select 1")  # makes SQLAlchemy send its BEGIN, which it puts off until a statement
    return await raw_driver(session)


async def raw_driver(session: AsyncSession) -> Any:
    """The asyncpg connection under a session: outside any transaction while the session has made no statement yet."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def _twice(once: Callable[[Sessions, Work[T]], Awaitable[T]], sessions: Sessions, work: Work[T]) -> T:
    """After a restart of PostgreSQL every pooled connection is dead; SQLAlchemy drops them all at the first one found."""
    try:
        return await once(sessions, work)
    except DRIVER_ERRORS as exc:
        if not is_stale(exc):
            raise
    return await once(sessions, work)


async def _read_once(sessions: Sessions, work: Work[T]) -> T:
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        return await work(session)


async def _write_once(sessions: Sessions, work: Work[T]) -> T:
    async with sessions() as session:
        result = await work(session)
        try:
            await session.commit()
        except DRIVER_ERRORS as exc:
            message = "The connection was lost while committing; whether it was stored is not known"
            raise DatabaseUnavailable(message) from exc
        return result
