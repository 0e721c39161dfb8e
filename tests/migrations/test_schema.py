"""Migrating: the declared schema, once, by one process at a time, and back."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from service.errors import SchemaOutdated
from service.repositories import migrate
from service.repositories.partitions import PARTED
from service.repositories.revisions import configuration, history
from service.repositories.tables import metadata
from tests.migrations.conftest import in_connection

# All that a table is to PostgreSQL, in its own words. Partitions left out: they come and go.
DESCRIPTION = """
    select 'column', relname, attname, format_type(atttypid, atttypmod), attnotnull::text, attidentity::text,
        pg_get_expr(adbin, adrelid)
    from pg_class join pg_attribute on attrelid = pg_class.oid left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition and attnum > 0
    union all
    select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(pg_constraint.oid), null, null, null
    from pg_constraint join pg_class on pg_class.oid = conrelid
    where connamespace = 'public'::regnamespace and not relispartition and contype <> 't'
    union all
    select 'index', tablename, indexname, indexdef, null, null, null from pg_indexes join pg_class on relname = indexname
    where schemaname = 'public' and not relispartition
    union all
    select 'partitioned', partrelid::regclass::text, pg_get_partkeydef(partrelid), null, null, null, null
    from pg_partitioned_table
    order by 1, 2, 3
"""


async def describe(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(DESCRIPTION)
    await connection.close()
    return [tuple(row) for row in rows if row[1] != "alembic_version"]


async def relations(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select relname from pg_class where relnamespace = 'public'::regnamespace")
    functions = await connection.fetch("select proname from pg_proc where pronamespace = 'public'::regnamespace")
    await connection.close()
    return sorted(row[0] for row in [*rows, *functions] if not row[0].startswith("alembic_version"))


async def test_autogenerate_finds_no_difference(database_url: str) -> None:
    def differences(connection: Connection) -> Any:
        partitions = {f"{parted.table}_default" for parted in PARTED}
        options: dict[str, Any] = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, type_, _: type_ != "table" or name not in partitions,
        }
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await in_connection(database_url, differences) == []


async def test_migrated_schema_is_the_declared_one_to_the_letter(database_url: str, empty_database_url: str) -> None:
    await in_connection(empty_database_url, metadata.create_all)

    assert await describe(database_url) == await describe(empty_database_url)


async def test_two_processes_migrating_at_once_apply_it_once(empty_database_url: str) -> None:
    program = "import asyncio, sys; from service.repositories import migrate; print(asyncio.run(migrate.upgrade(sys.argv[1])))"
    starts = (
        asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_database_url, stdout=asyncio.subprocess.PIPE)
        for _ in range(2)
    )
    processes = await asyncio.gather(*starts)
    printed = [(await process.communicate())[0].decode().strip() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(printed) == [str([revision.name for revision in history().revisions]), "[]"]


async def test_an_empty_database_is_outdated_until_migrated(empty_database_url: str) -> None:
    with pytest.raises(SchemaOutdated, match="amity migrate"):
        await migrate.require_current(empty_database_url)

    assert (await migrate.upgrade(empty_database_url))[-1] == migrate.head()
    await migrate.require_current(empty_database_url)


async def test_the_version_before_writes_slates_on_the_expanded_schema(database_url: str) -> None:
    """It names its columns, so that those it does not know are left out."""
    connection = await asyncpg.connect(database_url)
    columns = "served_at slate_id request_id viewer_id algorithm_version pool_id candidate_ids scores propensities exploration"
    values = (datetime.now(UTC), uuid4(), "r", 1, "v1", uuid4(), [2], [0.5], [1.0], [False], "[]", False, False)
    known = [*columns.split(), "sources", "cached", "degraded"]
    await connection.copy_records_to_table("impressions", records=[values], columns=known)
    [row] = await connection.fetch("select teams, generation_ms from impressions")
    await connection.close()
    assert tuple(row) == (None, None)


async def test_downgrade_leaves_nothing_and_the_way_up_is_open_again(database_url: str) -> None:
    def downgrade(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    await in_connection(database_url, downgrade)

    assert await relations(database_url) == []
    assert (await migrate.upgrade(database_url))[-1] == migrate.head()
