"""What callers see of a database that is away: DatabaseUnavailable, and nothing of the driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import AmityError, BadInput, DatabaseUnavailable, SchemaOutdated
from service.repositories import migrate
from service.repositories.calls import read, write
from service.repositories.database import Database
from service.repositories.users import Users
from tests.servers import PrivatePostgres

Call = Callable[[Database], Awaitable[object]]


async def get_somebody(database: Database) -> object:
    return await Users(database.sessions).get(1)


async def erase_somebody(database: Database) -> object:
    return await Users(database.sessions).erase(1)


async def terminate_others(database: Database) -> None:
    """Cut every other connection of this database, as a restart or an administrator does."""
    others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

    async def work(session: AsyncSession) -> None:
        await session.execute(text(f"select pg_terminate_backend(pid) {others}"))

    await read(database.sessions, work)


@pytest.fixture
async def private(private_postgres: PrivatePostgres) -> AsyncIterator[Database]:
    """Of a server that the test may kill."""
    await migrate.upgrade(private_postgres.url)
    opened = Database(private_postgres.url, timeout_s=1.0)
    yield opened
    await opened.close()


@pytest.mark.parametrize("call", [get_somebody, erase_somebody])
async def test_the_first_call_after_a_restart_succeeds(private: Database, private_postgres: PrivatePostgres, call: Call) -> None:
    await asyncio.gather(*(call(private) for _ in range(4)))
    private_postgres.stop()
    private_postgres.start()

    assert not await call(private)


@pytest.mark.parametrize("call", [get_somebody, erase_somebody])
async def test_a_killed_server_is_unavailable(private: Database, private_postgres: PrivatePostgres, call: Call) -> None:
    await call(private)
    private_postgres.kill()

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await call(private)


@pytest.mark.parametrize("call", [get_somebody, erase_somebody])
async def test_a_frozen_server_is_unavailable_and_serves_when_it_thaws(
    private: Database, private_postgres: PrivatePostgres, call: Call
) -> None:
    await call(private)
    private_postgres.pause()
    with pytest.raises(DatabaseUnavailable):
        await call(private)
    private_postgres.resume()

    assert not await call(private)


async def test_a_connection_that_left_a_read_unanswered_is_not_used_again(
    private: Database, private_postgres: PrivatePostgres
) -> None:
    who = "select pg_backend_pid()"
    hung = await private.sessions.readers.fetch(who)
    private_postgres.pause()
    with pytest.raises(DatabaseUnavailable):
        await private.sessions.readers.fetch(who)
    private_postgres.resume()

    assert await private.sessions.readers.fetch(who) != hung


@pytest.mark.parametrize("work", [get_somebody, erase_somebody])
async def test_a_deadline_is_not_held_up_by_a_frozen_server(
    private: Database, private_postgres: PrivatePostgres, work: Call
) -> None:
    patient = Database(private_postgres.url, timeout_s=60.0)
    await work(patient)
    private_postgres.pause()
    call = asyncio.ensure_future(work(patient))
    await asyncio.sleep(0.05)
    call.cancel()
    done, _ = await asyncio.wait({call}, timeout=0.8)
    private_postgres.resume()

    assert done == {call}
    await patient.close()


async def sleep_in_a_session(database: Database) -> object:
    async def sleep(session: AsyncSession) -> None:
        await session.execute(text("select pg_sleep(60)"))

    return await read(database.sessions, sleep)


async def sleep_in_a_reader(database: Database) -> object:
    return await database.sessions.readers.fetch("select pg_sleep(60)")


@pytest.mark.parametrize("sleep", [sleep_in_a_session, sleep_in_a_reader])
async def test_the_statement_of_a_cancelled_call_is_stopped(database: Database, sleep: Call) -> None:
    async def sleeping(session: AsyncSession) -> int:
        active = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"
        return int(await session.scalar(text(active)) or 0)

    async def until(n_sleeping: int) -> None:
        while await read(database.sessions, sleeping) != n_sleeping:  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)

    call = asyncio.ensure_future(sleep(database))
    await until(1)
    call.cancel()
    await until(0)

    assert (await asyncio.wait({call}))[0]


async def test_a_wrong_password_is_said_without_the_password(private: Database, private_postgres: PrivatePostgres) -> None:
    admin = Database(private_postgres.url)
    async with admin.sessions() as session:
        place = await session.scalar(text("select current_setting('hba_file')"))
        await session.execute(text(f"copy (select 'local all all scram-sha-256') to '{place}'"))
        await session.execute(text("select pg_reload_conf()"))
    await admin.close()
    wrong = Database(private_postgres.url.replace("@", ":secret@"))
    with pytest.raises(DatabaseUnavailable, match="the password is wrong") as raised:
        await wrong.ping()
    await wrong.close()

    assert "secret" not in raised.value.message


async def test_terminated_connections_are_replaced_within_the_call(database: Database, database_url: str) -> None:
    await asyncio.gather(*(get_somebody(database) for _ in range(4)))
    other = Database(database_url)
    await terminate_others(other)
    await other.close()

    assert await get_somebody(database) is None


async def test_a_transaction_cut_while_it_runs_is_done_again_whole(database: Database, database_url: str) -> None:
    other = Database(database_url)
    attempts = 0

    async def work(session: AsyncSession) -> int:
        nonlocal attempts
        attempts += 1
        await session.execute(text("insert into facts values ('cut', '1')"))
        if attempts == 1:
            await terminate_others(other)
        return int(await session.scalar(text("select count(*) from facts where name = 'cut'")) or 0)

    assert await write(database.sessions, work) == 1
    assert attempts == 2
    await other.close()


async def test_a_commit_whose_answer_was_lost_is_not_done_again(database: Database, database_url: str) -> None:
    other = Database(database_url)
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text("insert into facts values ('cut', '1')"))
        await terminate_others(other)

    with pytest.raises(DatabaseUnavailable, match="not known"):
        await write(database.sessions, work)
    assert attempts == 1
    await other.close()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select * from no_such_table", SchemaOutdated),
        ("select no_such_column from users", SchemaOutdated),
        ("insert into users (id, name) values (1, null)", BadInput),
        ("insert into users (id, name, age) values (1, 'A', 17)", BadInput),
        ("select 1 / 0", BadInput),
        ("set local statement_timeout = 1; select pg_sleep(5)", DatabaseUnavailable),
        ("set transaction read only; delete from users", DatabaseUnavailable),
        ("selekt", AmityError),
    ],
)
async def test_no_complaint_of_the_server_is_unmapped(database: Database, statement: str, expected: type[AmityError]) -> None:
    async def work(session: AsyncSession) -> None:
        for part in statement.split(";"):
            await session.execute(text(part))

    with pytest.raises(expected) as raised:
        await write(database.sessions, work)
    assert raised.value.__cause__ is not None


async def test_a_pool_without_a_free_connection_is_unavailable(database_url: str) -> None:
    database = Database(database_url, pool_size=1, timeout_s=0.2)
    async with database.sessions() as session:
        await session.execute(text("select 1"))
        with pytest.raises(DatabaseUnavailable):
            await erase_somebody(database)
        assert await get_somebody(database) is None
    await database.close()


async def test_readers_open_no_more_connections_than_their_half(database_url: str) -> None:
    database = Database(database_url, pool_size=4)
    await asyncio.gather(*(get_somebody(database) for _ in range(20)))

    async def connections(session: AsyncSession) -> int:
        others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        return int(await session.scalar(text(f"select count(*) {others}")) or 0)

    assert await read(database.sessions, connections) == 2
    await database.close()


async def test_a_read_that_waits_too_long_for_its_turn_is_unavailable(database_url: str) -> None:
    database = Database(database_url, pool_size=2, timeout_s=0.2)
    readers = database.sessions.readers
    long = asyncio.ensure_future(readers.fetch("select pg_sleep(60)"))
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await get_somebody(database)
    with pytest.raises(DatabaseUnavailable):
        await long

    assert await get_somebody(database) is None
    await database.close()


async def test_a_reader_s_statement_is_prepared_once_however_long_it_lives(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = "select prepare_time from pg_prepared_statements where statement like 'select prepare_time%'"
    first = await database.sessions.readers.fetch(prepared)
    loop = asyncio.get_running_loop()
    real_s = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_s() + 3600)  # an hour has gone by, and what was due in it is done
    await asyncio.sleep(0.001)

    assert await database.sessions.readers.fetch(prepared) == first


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("/test_", "/absent_"), "there is no such database"),
        (lambda url: url.replace("host=", "host=/nowhere"), "No such file"),
        (lambda _: "postgresql://amity:secret@127.0.0.1:1/amity", "Connect call failed"),
        (lambda _: "postgresql://amity:secret@no-such-host.invalid/amity", "not known"),
    ],
)
async def test_ping_says_where_and_why_in_one_line(database_url: str, change: Callable[[str], str], reason: str) -> None:
    database = Database(change(database_url))
    with pytest.raises(DatabaseUnavailable) as raised:
        await database.ping()
    await database.close()

    assert reason in raised.value.message
    assert "\n" not in raised.value.message
    assert "secret" not in raised.value.message
