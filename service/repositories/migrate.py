"""The schema's version: bring the database to it, or say that it is not there."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from service.errors import SchemaOutdated
from service.repositories.connections import connect, dsn, explained
from service.repositories.failures import DRIVER_ERRORS
from service.repositories.locks import MIGRATIONS


async def upgrade(url: str) -> list[str]:
    """Bring the schema to the head in one transaction; the revisions that were applied, oldest first.

    Several processes may do so at once: an advisory lock lets one work, and the others find nothing left to do. Raises
    DatabaseUnavailable or BadSetting in one line when the database cannot be used, SchemaOutdated when it is newer than we.
    """
    applied: list[str] = await _with_connection(url, _upgrade)
    return applied


async def current(url: str) -> str | None:
    """The revision that the database is at; None when it was never migrated."""
    revision: str | None = await _with_connection(url, _current)
    return revision


def head() -> str:
    """The revision that this version of the program needs."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    if revision is None:
        raise SchemaOutdated("this installation holds no migrations")
    return revision


async def require_current(url: str) -> None:
    """Raise SchemaOutdated unless the database is at the head; DatabaseUnavailable or BadSetting as `upgrade`."""
    found, needed = await current(url), head()
    if found == needed:
        return
    if found is None:
        raise SchemaOutdated("the database has no Amity schema; run `amity migrate`")
    _refuse_newer(found)
    raise SchemaOutdated(f"the database is at revision {found}, this version needs {needed}; run `amity migrate`")


def configuration() -> Config:
    """Alembic's configuration, without a file: the migrations lie in the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    folder = installed if installed.is_dir() else package.parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def _with_connection(url: str, work: Any) -> Any:
    async def open_connection() -> Any:
        # No bound on statements: a migration may take long, and waits for its turn. Connecting is bounded by asyncpg's 60 s.
        return await connect(url, None)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=open_connection, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except DRIVER_ERRORS as exc:
        raise explained(dsn(url), exc) from exc
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    applied: list[str] = []

    def note(*, step: MigrationInfo, **_: Any) -> None:
        applied.append(str(step.up_revision_id))

    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS})
    found = _current(connection)
    if found is not None:
        _refuse_newer(found)
    config = configuration()
    config.attributes.update(connection=connection, on_version_apply=note)
    command.upgrade(config, "head")
    return applied


def _refuse_newer(found: str) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    if found not in known:
        raise SchemaOutdated(f"the database is at revision {found}, which is newer than this version of Amity")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
