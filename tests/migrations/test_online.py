"""Indexes that are built while others write."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.repositories import migrate
from tests.migrations.conftest import Versions, until
from tests.next_version import write_revision
from tests.servers import execute, fetch

SLATE = (
    "insert into impressions (served_at, slate_id, request_id, viewer_id, algorithm_version, pool_id, candidate_ids, scores, "
    "propensities, exploration, sources, cached, degraded) "
    "values (now(), gen_random_uuid(), 'r', 1, 'v1', gen_random_uuid(), '{2}', '{0.5}', '{1}', '{f}', '[]', false, false)"
)
INDEX = """
from service.repositories.online import create_index


def upgrade() -> None:
    create_index("by_cached", "impressions", "(cached) where cached")
    create_index("people_by_age", "users", "(age)")


def downgrade() -> None:
    op.drop_index("people_by_age")
    op.drop_index("by_cached")
"""


@pytest.fixture
def indexed(versions: Versions) -> str:
    """The name of the one revision that the next version has, which makes two indexes."""
    for file in (versions.folder / "versions").glob("*_next.py"):
        file.unlink()
    write_revision(versions.folder / "versions", versions.column, versions.before, INDEX)
    versions.next()
    return versions.column


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """None of its statements waits longer than two seconds."""
    connection = await asyncpg.connect(database_url, server_settings={"statement_timeout": "2s"})
    yield connection
    await connection.close()


async def states(url: str) -> dict[str, bool]:
    rows = await fetch(url, "select indexrelid::regclass::text, indisvalid from pg_index")
    return {row[0]: row[1] for row in rows if "by_cached" in row[0] or row[0] == "people_by_age"}


async def test_writers_go_on_while_an_index_waits_for_a_long_transaction(
    database_url: str, indexed: str, writer: asyncpg.Connection
) -> None:
    long = await asyncpg.connect(database_url)
    transaction = long.transaction()
    await transaction.start()
    await long.execute("insert into users (id, name) values (1, 'Ada')")
    migrating = asyncio.create_task(migrate.upgrade(database_url))
    await until(writer, "select count(*) from pg_stat_progress_create_index where relid = 'users'::regclass")
    await writer.execute("insert into users (id, name) values (2, 'Bob')")
    await writer.execute(SLATE)
    await transaction.commit()
    assert await migrating == [indexed]
    assert await states(database_url) == {"by_cached": True, "impressions_default_by_cached": True, "people_by_age": True}
    await long.close()


async def test_slates_are_written_while_an_index_of_partitions_waits_for_its_turn(
    database_url: str, indexed: str, writer: asyncpg.Connection
) -> None:
    long = await asyncpg.connect(database_url)
    transaction = long.transaction()
    await transaction.start()
    await long.execute(SLATE)
    migrating = asyncio.create_task(migrate.upgrade(database_url))
    await until(writer, "select count(*) from pg_locks where relation = 'impressions'::regclass and not granted")
    await writer.execute(SLATE)
    assert not migrating.done()
    await transaction.commit()
    assert await migrating == [indexed]
    assert set((await states(database_url)).values()) == {True}
    await long.close()


async def test_an_index_that_was_half_built_is_built_anew(database_url: str, indexed: str) -> None:
    await execute(
        database_url,
        [
            "create index by_cached on only impressions (cached) where cached",
            "create index people_by_age on users (age)",
            "update pg_index set indisvalid = false where indexrelid = 'people_by_age'::regclass",
        ],
    )
    assert set((await states(database_url)).values()) == {False}
    assert await migrate.upgrade(database_url) == [indexed]
    assert await states(database_url) == {"by_cached": True, "impressions_default_by_cached": True, "people_by_age": True}


async def test_a_partition_made_since_has_the_index(database_url: str, indexed: str) -> None:
    await migrate.upgrade(database_url)
    day = "create table impressions_day partition of impressions for values from ('2020-01-01') to ('2020-01-02')"
    await execute(database_url, [day])
    made = "select indexdef, indisvalid from pg_indexes join pg_index on indexrelid = indexname::regclass where tablename = "
    assert [row[1] for row in await fetch(database_url, f"{made} 'impressions_day'") if "(cached)" in row[0]] == [True]


async def test_a_day_that_is_dropped_while_another_is_indexed_does_not_matter(
    database_url: str, indexed: str, writer: asyncpg.Connection
) -> None:
    days = [
        f"create table impressions_p200{n} partition of impressions for values from ('200{n}-01-01') to ('200{n}-01-02')"
        for n in (1, 2)
    ]
    await execute(database_url, days)
    long = await asyncpg.connect(database_url)
    transaction = long.transaction()
    await transaction.start()
    await long.execute("lock table impressions_p2001 in row exclusive mode")
    migrating = asyncio.create_task(migrate.upgrade(database_url))
    await until(writer, "select count(*) from pg_stat_progress_create_index where relid = 'impressions_p2001'::regclass")
    await writer.execute("drop table impressions_p2002")
    await transaction.commit()
    assert await migrating == [indexed]
    await long.close()
