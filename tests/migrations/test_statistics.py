"""Columns that no plan asks for are left out by ANALYZE, on whatever partition a row is."""

import asyncio

import asyncpg
from alembic import command
from sqlalchemy import Connection

from service.repositories import migrate, partitions
from service.repositories.calls import write
from service.repositories.database import Database
from service.repositories.revisions import configuration
from tests.migrations.conftest import in_connection, until
from tests.servers import execute, fetch

BEFORE = "0006"
UNASKED = {"impressions": ["propensities", "scores", "sources"], "served_features": ["matrix", "names"]}
LEFT_OUT = """
    select relname, array_agg(attname::text order by attname) filter (where attstattarget = 0)
    from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') group by relname
"""

WAITING_LONG = f"""
    select count(*) from pg_locks where relation = 'served_features_default'::regclass
    and waitstart < clock_timestamp() - interval '{3 * migrate.LOCK_TIMEOUT_MS} ms'
"""
HOLDING_THE_FEED_BACK = """
    select count(*) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_xid is not null
"""


async def bring_to(url: str, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    await in_connection(url, upgrade)


async def make_partitions(url: str, days_ahead: int) -> None:
    database = Database(url)
    await write(database.sessions, lambda session: partitions.ensure(session, days_ahead))
    await database.close()


async def left_out(url: str) -> dict[str, list[str] | None]:
    return {row[0]: row[1] for row in await fetch(url, LEFT_OUT)}


def assert_on_all_partitions(found: dict[str, list[str] | None], n_days: int) -> None:
    parted = {name: columns for name, columns in found.items() if name.startswith(tuple(UNASKED))}
    assert len(parted) == 2 * (2 + n_days)  # the table itself, the default one, and the days
    assert parted == {name: UNASKED["impressions" if name.startswith("impressions") else "served_features"] for name in parted}
    assert {columns is None for name, columns in found.items() if name not in parted} == {True}


async def test_a_fresh_database_leaves_them_out_on_every_partition(database_url: str) -> None:
    await make_partitions(database_url, 1)

    assert_on_all_partitions(await left_out(database_url), 2)


async def test_one_upgraded_leaves_them_out_on_partitions_of_before_and_after(empty_database_url: str) -> None:
    await bring_to(empty_database_url, BEFORE)
    await make_partitions(empty_database_url, 1)
    assert set((await left_out(empty_database_url)).values()) == {None}
    await migrate.upgrade(empty_database_url)
    assert_on_all_partitions(await left_out(empty_database_url), 2)
    await make_partitions(empty_database_url, 2)
    assert_on_all_partitions(await left_out(empty_database_url), 3)


async def test_the_way_back_leaves_all_to_the_default(database_url: str) -> None:
    await make_partitions(database_url, 0)
    await migrate.downgrade(database_url, BEFORE)
    await make_partitions(database_url, 1)

    assert set((await left_out(database_url)).values()) == {None}


async def test_analyze_gathers_nothing_of_them_and_something_of_all_others(database_url: str) -> None:
    await make_partitions(database_url, 0)
    await execute(
        database_url,
        [
            "insert into served_features select now(), gen_random_uuid(), '{a}', '{1,2}', 'x', '{0}' from generate_series(1, 20)",
            "analyze served_features",
        ],
    )
    seen = await fetch(database_url, "select attname from pg_stats where tablename like 'served_features_p%'")

    assert {row[0] for row in seen} == {"computed_at", "pool_id", "candidate_ids", "explorable"}


async def test_slates_are_written_and_the_feed_goes_on_while_a_vacuum_is_waited_for(database_url: str) -> None:
    await migrate.downgrade(database_url, BEFORE)
    vacuum, writer = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await writer.execute("set statement_timeout = '2s'")
    await vacuum.execute("begin; lock table served_features_default in share update exclusive mode")
    migrating = asyncio.create_task(migrate.upgrade(database_url))
    await until(writer, WAITING_LONG)
    await writer.execute("insert into served_features values (now(), gen_random_uuid(), '{a}', '{1}', 'x', '{0}')")
    assert await writer.fetchval(HOLDING_THE_FEED_BACK) == 0
    assert not migrating.done()
    await vacuum.execute("commit")
    assert await migrating == [migrate.head()]
    for connection in (vacuum, writer):
        await connection.close()
