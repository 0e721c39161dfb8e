"""Alembic's environment. `service.repositories.migrate` hands over its connection; the `alembic` command, for those who
write migrations, opens one to AMITY_DATABASE_URL."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection

from service import settings
from service.repositories.database import Database
from service.repositories.revisions import mark
from service.repositories.tables import metadata


def is_ours(_object: object, name: str | None, type_: str, _reflected: bool, _compare_to: object) -> bool:
    """Whether autogenerate looks at it: partitions are made and dropped while serving."""
    return not (type_ == "table" and name is not None and name.startswith(("impressions_", "served_features_")))


def note(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]) -> None:
    """With each step, who may run on the database from then on; nobody once nothing is left of it."""
    for head in heads:
        assert ctx.connection is not None
        mark(ctx.connection, head)


def run(connection: Connection) -> None:
    """Apply the migrations, each in a transaction of its own: locks are held for one, not for all."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=is_ours,
        compare_server_default=True,
        on_version_apply=note,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    database = Database(settings.load().database_url, pool_size=1, timeout_s=None)
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await database.close()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_alone())
else:
    run(given)
