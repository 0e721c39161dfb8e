"""The schema's version: bring the database to it while replicas serve, or say that it is not there."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from service.errors import MigrationBlocked, MigrationFailed, SchemaOutdated
from service.repositories.connections import PromptConnection, connect, dsn, explained
from service.repositories.failures import DRIVER_ERRORS, driver_error, is_stale, sqlstate
from service.repositories.locks import MIGRATIONS
from service.repositories.revisions import FACT, History, Revision, configuration, history

T = TypeVar("T")

WAIT_S = 300.0
"""How long a migration tries to get a lock, or its turn among several processes that migrate."""
LOCK_TIMEOUT_MS = 100
"""A statement that waits for a table makes all who come after it wait too, readers among them: less than the 150 ms that a read
within a request may take, and then everybody gets a pause."""
_PAUSE_S = 0.5
_IN_THE_WAY = ("55P03", "40P01")
"""No lock within the time, and a deadlock, of which an index that is built concurrently may be the one to give way."""
_FIRST = "0001"
_NAME = re.compile(r"amity (\w+)\.\.(\w+)")

_OLDEST = text("select value ->> 'oldest' from facts where name = :name")
_HAS_FACTS = text("select to_regclass('facts') is not null")
_OTHERS = text(
    "select application_name, count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
    "and (application_name = 'amity' or application_name like 'amity %..%') group by 1 order by 1"
)
_LONGEST = text(
    "select pid, application_name, extract(epoch from clock_timestamp() - xact_start)::int from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null order by xact_start limit 1"
)


class _There(NamedTuple):
    """A version that is connected: the revision it cannot run without, and the last it knows."""

    needs: str
    knows: str

    @classmethod
    def of(cls, name: str) -> "_There":
        """By the name of its connections; versions that gave none are from before there was anything to contract."""
        told = _NAME.fullmatch(name)
        return cls(*told.groups()) if told else cls(_FIRST, _FIRST)


class _Move(NamedTuple):
    """Alembic's command, the revision that the database is at afterwards, and the one that is applied or undone."""

    command: Callable[..., None]
    target: str
    revision: str


async def upgrade(url: str, contract: bool = False, wait_s: float = WAIT_S) -> list[str]:
    """Bring the schema to what this version needs, with `contract` to all that it knows; the revisions applied, oldest first.

    Each revision is a transaction of its own, which gives up within LOCK_TIMEOUT_MS where it gets no lock, and is tried again.
    Several processes may do so at once: one works, and the others find nothing left to do. An empty database gets everything.

    Raises DatabaseUnavailable or BadSetting in one line when the database cannot be used, MigrationBlocked when it cannot be done
    now, SchemaOutdated when it is newer than we and cannot be used by us, MigrationFailed when the database refuses a statement.
    """
    async with _alone(url, wait_s) as connection:
        found, known = await _readable(connection), history()
        applied = []
        for revision in _next(known, found, contract):
            is_harmed = _without(known, revision) if revision.contracts and found is not None else _nobody
            await _patiently(connection, wait_s, _Move(command.upgrade, revision.name, revision.name), is_harmed)
            applied.append(revision.name)
        return applied


async def downgrade(url: str, target: str, wait_s: float = WAIT_S) -> list[str]:
    """Undo what was applied after the revision `target`, newest first; the revisions undone. What is in the columns and tables
    that go is lost. Raises as `upgrade`, and where a version is connected that needs what would go."""
    async with _alone(url, wait_s) as connection:
        found, known = await _current(connection), history()
        if found not in known or target not in known:
            raise SchemaOutdated(f"this version knows no way from revision {found} to {target}")
        assert found is not None
        names = [revision.name for revision in known.revisions]
        undone = names[names.index(target) + 1 : names.index(found) + 1][::-1]

        def is_harmed(there: _There) -> bool:
            return there.needs not in known or known.is_before(target, there.needs)

        for name in undone:
            await _patiently(connection, wait_s, _Move(command.downgrade, names[names.index(name) - 1], name), is_harmed)
        return undone


async def current(url: str) -> str | None:
    """The revision that the database is at; None when it was never migrated."""
    return await _with_connection(url, _current_revision)


def head() -> str:
    """The revision that this version of the program brings an empty database to."""
    return history().head


async def waiting(url: str) -> list[str]:
    """Revisions that contract and were not applied yet: they take away what the version before uses, and nobody needs them."""
    found, known = await current(url), history()
    pending = known.after(found) if found in known else []
    return [revision.name for revision in pending if revision.contracts]


async def require_current(url: str) -> None:
    """Raise SchemaOutdated unless this version can run on the database; DatabaseUnavailable or BadSetting as `upgrade`."""
    found, oldest = await _with_connection(url, _state)
    known = history()
    if found is None:
        raise SchemaOutdated("the database has no Amity schema; run `amity migrate`")
    if found not in known:
        _require_usable(known, found, oldest)
    elif known.is_before(found, known.needed):
        raise SchemaOutdated(f"the database is at revision {found}, this version needs {known.needed}; run `amity migrate`")


def _require_usable(known: History, found: str, oldest: str | None) -> None:
    """A version that does not know where the database is goes by the mark that was left for it."""
    if oldest not in known:
        raise SchemaOutdated(
            f"the database is at revision {found}, which is newer than this version of Amity and has taken away what it uses; "
            f"a version that knows revision {oldest or found} can run on it"
        )


def _next(known: History, found: str | None, contract: bool) -> list[Revision]:
    """The revisions to apply. Raises MigrationBlocked where one that contracts stands before one that is needed."""
    if found is not None and found not in known:
        return []  # newer, and this version can run on it
    pending = known.after(found)
    if contract or found is None:
        return pending
    first = next((place for place, revision in enumerate(pending) if revision.contracts), len(pending))
    if any(not revision.contracts for revision in pending[first:]):
        raise MigrationBlocked(
            f"revision {pending[first].name} takes away what versions use that do not know {pending[first].oldest}, and others "
            "come after it; run `amity migrate --contract` once no such version runs. Nothing was applied"
        )
    return pending[:first]


def _nobody(_there: _There) -> bool:
    return False


def _without(known: History, revision: Revision) -> Callable[[_There], bool]:
    """Whether a version cannot run once the revision is applied. What is unknown here is newer."""
    return lambda there: there.knows in known and known.is_before(there.knows, str(revision.oldest))


async def _require_nobody(connection: AsyncConnection, is_harmed: Callable[[_There], bool]) -> None:
    """Raise MigrationBlocked, naming them, while versions are connected that `is_harmed`."""
    rows = (await connection.execute(_OTHERS)).all()
    await connection.rollback()
    harmed = [f"{name} ({n_connections} connections)" for name, n_connections in rows if is_harmed(_There.of(name))]
    if harmed:
        raise MigrationBlocked(f"versions are connected that could not go on: {', '.join(harmed)}. Stop them first")


async def _patiently(connection: AsyncConnection, wait_s: float, move: _Move, is_harmed: Callable[[_There], bool]) -> None:
    """One revision up or down, tried again while others hold what it has to lock. Who is connected is asked each time: a version
    that comes while we wait would be harmed as well."""
    end = time.monotonic() + wait_s
    config = configuration()
    while True:
        await _require_nobody(connection, is_harmed)
        try:
            await connection.run_sync(lambda sync: move.command(_with(config, sync), move.target))
            await connection.commit()
            return
        except exc.DBAPIError as failed:
            is_in_the_way = sqlstate(failed) in _IN_THE_WAY
            if is_stale(failed) and not is_in_the_way:
                raise  # the connection is lost
            await connection.rollback()
            if not is_in_the_way:
                raise MigrationFailed(_refused(move, failed)) from failed
            if time.monotonic() > end:
                raise MigrationBlocked(await _who_blocks(connection, move, wait_s)) from failed
        await asyncio.sleep(_PAUSE_S)


def _refused(move: _Move, failed: exc.DBAPIError) -> str:
    """In PostgreSQL's words, which are for who wrote the revision; the hints for clients would not be true here."""
    said = (str(driver_error(failed)).splitlines() or [type(failed).__name__])[0]
    return f"revision {move.revision} was refused: {said}. Nothing of it is done but what it does outside of a transaction"


def _with(config: Config, connection: Connection) -> Config:
    config.attributes["connection"] = connection
    return config


async def _who_blocks(connection: AsyncConnection, move: _Move, wait_s: float) -> str:
    row = (await connection.execute(_LONGEST)).first()
    await connection.rollback()
    longest = f"; the longest transaction is of pid {row[0]} ({row[1]}), for {row[2]} s" if row else ""
    return f"for revision {move.revision} a lock was not to be had in {wait_s:.0f} s{longest}. It can be run again"


@asynccontextmanager
async def _alone(url: str, wait_s: float) -> AsyncIterator[AsyncConnection]:
    """A connection whose process alone migrates. By a lock of the session, since a revision may be more than one transaction; it
    is asked for again and again, since a statement that waits would hold up an index that is built concurrently."""
    async with _opened(url) as connection:
        end = time.monotonic() + wait_s
        taken = text("select pg_try_advisory_lock(:key)")
        while not await connection.scalar(taken, {"key": MIGRATIONS}):
            await connection.rollback()
            if time.monotonic() > end:
                raise MigrationBlocked(f"another process has been migrating this database for {wait_s:.0f} s")
            await asyncio.sleep(_PAUSE_S)
        await connection.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT_MS}ms'"))
        await connection.execute(text("set statement_timeout = 0"))  # the role may have one, which is meant for requests
        await connection.commit()
        yield connection


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[AsyncConnection]:
    async def open_connection() -> PromptConnection:
        # No bound on statements: a migration may take long, and waits for its turn. Connecting is bounded by asyncpg's 60 s.
        return await connect(url, None)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=open_connection, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    except DRIVER_ERRORS as failed:
        raise explained(dsn(url), failed) from failed
    finally:
        await engine.dispose()


async def _with_connection(url: str, work: Callable[[Connection], T]) -> T:
    async with _opened(url) as connection:
        return await connection.run_sync(work)


async def _readable(connection: AsyncConnection) -> str | None:
    """The revision that the database is at. Raises SchemaOutdated when this version cannot run on it, however it is migrated."""
    found, oldest = await connection.run_sync(_state)
    await connection.rollback()
    if found is not None and found not in (known := history()):
        _require_usable(known, found, oldest)
    return found


async def _current(connection: AsyncConnection) -> str | None:
    found = await connection.run_sync(_current_revision)
    await connection.rollback()
    return found


def _state(connection: Connection) -> tuple[str | None, str | None]:
    """The revision and the mark of the database; None for what is not there."""
    oldest = connection.scalar(_OLDEST, {"name": FACT}) if connection.scalar(_HAS_FACTS) else None
    return _current_revision(connection), oldest


def _current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
