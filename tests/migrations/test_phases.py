"""Which version may run on which schema, and who is asked before anything is taken away."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.errors import MigrationBlocked, MigrationFailed, SchemaOutdated
from service.repositories import migrate
from service.repositories.connections import connect
from service.repositories.locks import MIGRATIONS
from service.repositories.revisions import signature
from tests.migrations.conftest import Versions, until
from tests.next_version import write_revision
from tests.servers import execute, fetch

QUICK_S = 0.3
REFUSED = (
    '\n\ndef upgrade() -> None:\n    op.execute("alter table nowhere add column x int")\n\n\ndef downgrade() -> None:\n    pass\n'
)
DEADLOCKED = """

def upgrade() -> None:
    op.execute("do $$ begin if nextval('attempts') = 1 then raise sqlstate '40P01'; end if; end $$")


def downgrade() -> None:
    pass
"""
NOTHING = "\n\ndef upgrade() -> None:\n    pass\n\n\ndef downgrade() -> None:\n    pass\n"


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection; none of its statements waits longer than two seconds."""
    connection = await asyncpg.connect(database_url, server_settings={"statement_timeout": "2s"})
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def this_version_again(versions: Versions) -> None:
    versions.this()


async def columns(url: str) -> set[str]:
    rows = await fetch(url, "select attname from pg_attribute where attrelid = 'users'::regclass and not attisdropped")
    return {row[0] for row in rows} & {"bio", "about"}


async def test_the_version_before_runs_on_what_was_only_expanded(database_url: str, versions: Versions) -> None:
    versions.next()
    assert await migrate.upgrade(database_url) == [versions.column, versions.values]
    versions.this()
    await migrate.require_current(database_url)
    assert await migrate.upgrade(database_url, contract=True) == [], "nor does its own migration job fail"
    assert await migrate.waiting(database_url) == []


async def test_the_version_before_is_refused_by_name_on_what_was_contracted(database_url: str, versions: Versions) -> None:
    versions.next()
    await migrate.upgrade(database_url, contract=True)
    versions.this()
    said = f"revision {versions.contract}, which is newer .* a version that knows revision {versions.values} can run"
    for refused in (migrate.require_current(database_url), migrate.upgrade(database_url)):
        with pytest.raises(SchemaOutdated, match=said):
            await refused


async def test_an_unknown_revision_without_a_mark_is_refused_as_newer(database_url: str) -> None:
    await execute(database_url, ["update alembic_version set version_num = '9999'", "delete from facts"])
    with pytest.raises(SchemaOutdated, match="9999, which is newer"):
        await migrate.require_current(database_url)


async def test_the_next_version_needs_what_expands_and_can_wait_for_what_contracts(database_url: str, versions: Versions) -> None:
    versions.next()
    with pytest.raises(SchemaOutdated, match=f"needs {versions.values}; run `amity migrate`"):
        await migrate.require_current(database_url)
    await migrate.upgrade(database_url)
    await migrate.require_current(database_url)
    assert await migrate.waiting(database_url) == [versions.contract]
    assert await columns(database_url) == {"bio", "about"}


async def test_an_empty_database_gets_everything(empty_database_url: str, versions: Versions) -> None:
    versions.next()
    assert (await migrate.upgrade(empty_database_url))[-1] == versions.contract
    assert await columns(empty_database_url) == {"about"}


async def test_what_is_needed_after_what_contracts_is_not_reached_in_passing(database_url: str, versions: Versions) -> None:
    after = f"{int(versions.contract) + 1:04}"
    write_revision(versions.folder / "versions", after, versions.contract, NOTHING)
    versions.next()
    with pytest.raises(
        MigrationBlocked, match=f"{versions.contract} takes away .* `amity migrate --contract` .* Nothing was applied"
    ):
        await migrate.upgrade(database_url)
    assert await migrate.current(database_url) == versions.before
    assert (await migrate.upgrade(database_url, contract=True))[-2:] == [versions.contract, after]


async def test_nothing_is_taken_away_while_a_version_is_connected_that_uses_it(database_url: str, versions: Versions) -> None:
    older, name = await connect(database_url), signature()
    versions.next()
    await migrate.upgrade(database_url)
    newer = await connect(database_url)
    with pytest.raises(MigrationBlocked, match=rf"could not go on: {name} \(1 connections\)"):
        await migrate.upgrade(database_url, contract=True)
    await older.close()
    assert await migrate.upgrade(database_url, contract=True) == [versions.contract]
    await newer.close()


async def test_back_again_the_version_before_runs_and_finds_what_was_written_since(database_url: str, versions: Versions) -> None:
    versions.next()
    await migrate.upgrade(database_url, contract=True)
    await execute(database_url, ["insert into users (id, name, about) values (1, 'Ada', 'chess')"])
    assert await migrate.downgrade(database_url, versions.values) == [versions.contract]
    versions.this()
    await migrate.require_current(database_url)
    [row] = await fetch(database_url, "select bio from users")
    assert row["bio"] == "chess"


async def test_nothing_is_undone_while_a_version_is_connected_that_needs_it(database_url: str, versions: Versions) -> None:
    versions.next()
    await migrate.upgrade(database_url)
    newer = await connect(database_url)
    with pytest.raises(MigrationBlocked, match=signature()):
        await migrate.downgrade(database_url, versions.before)
    await newer.close()
    assert await migrate.downgrade(database_url, versions.before) == [versions.values, versions.column]
    assert await columns(database_url) == {"bio"}


async def test_the_way_to_an_unknown_revision_is_unknown(database_url: str, versions: Versions) -> None:
    with pytest.raises(SchemaOutdated, match=f"no way from revision {versions.before} to 9999"):
        await migrate.downgrade(database_url, "9999")


async def test_a_migration_that_waits_for_a_table_lets_others_read_it(
    database_url: str, versions: Versions, other: asyncpg.Connection
) -> None:
    reader = await asyncpg.connect(database_url)
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("select from users")
    versions.next()
    migrating = asyncio.create_task(migrate.upgrade(database_url))
    await until(other, "select count(*) from pg_locks where relation = 'users'::regclass and not granted")
    assert await other.fetchval("select count(*) from users") == 0
    assert not migrating.done()
    await transaction.rollback()
    assert await migrating == [versions.column, versions.values]
    await reader.close()


async def test_a_migration_that_gets_no_lock_says_who_holds_it_and_can_be_run_again(
    database_url: str, versions: Versions
) -> None:
    reader = await asyncpg.connect(database_url, server_settings={"application_name": "a report"})
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("select from users")
    versions.next()
    with pytest.raises(MigrationBlocked, match=f"{versions.column} .* pid {reader.get_server_pid()} \\(a report\\)"):
        await migrate.upgrade(database_url, wait_s=QUICK_S)
    assert await columns(database_url) == {"bio"}
    await transaction.rollback()
    assert await migrate.upgrade(database_url) == [versions.column, versions.values]
    await reader.close()


async def test_of_two_that_migrate_the_second_does_not_wait_for_ever(database_url: str, other: asyncpg.Connection) -> None:
    await other.execute(f"select pg_advisory_lock({MIGRATIONS})")
    with pytest.raises(MigrationBlocked, match="another process has been migrating"):
        await migrate.upgrade(database_url, wait_s=QUICK_S)


async def test_a_version_that_comes_while_a_contraction_waits_is_not_harmed(
    database_url: str, versions: Versions, other: asyncpg.Connection
) -> None:
    versions.next()
    await migrate.upgrade(database_url)
    await other.execute("begin; select from users")
    contracting = asyncio.create_task(migrate.upgrade(database_url, contract=True))
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as watching, watching.acquire() as watcher:
        await until(watcher, "select count(*) from pg_locks where relation = 'users'::regclass and not granted")
    versions.this()
    older, name = await connect(database_url), signature()
    versions.next()
    with pytest.raises(MigrationBlocked, match=name):
        await contracting
    await other.execute("rollback")
    assert await columns(database_url) == {"bio", "about"}
    await older.close()


async def test_what_the_database_refuses_is_told_in_its_own_words(database_url: str, versions: Versions) -> None:
    last = f"{int(versions.contract) + 1:04}"
    write_revision(versions.folder / "versions", last, versions.contract, REFUSED)
    versions.next()
    with pytest.raises(MigrationFailed, match=f'revision {last} was refused: relation "nowhere" does not exist'):
        await migrate.upgrade(database_url, contract=True)
    assert await migrate.current(database_url) == versions.contract


async def test_a_migration_that_gives_way_in_a_deadlock_is_tried_again(database_url: str, versions: Versions) -> None:
    last = f"{int(versions.contract) + 1:04}"
    write_revision(versions.folder / "versions", last, versions.contract, DEADLOCKED)
    await execute(database_url, ["create sequence attempts"])
    versions.next()
    assert (await migrate.upgrade(database_url, contract=True))[-1] == last
