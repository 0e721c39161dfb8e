"""kill -9 of anyone: no server stays behind, nothing committed is lost, and who is left has the servers back."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis

from service.embedded import locks
from service.embedded.lease import EmbeddedServers, Lease
from service.embedded.places import Home
from tests.embedded import (
    ROOT,
    User,
    eventually,
    everything_stopped,
    keeper_pid,
    kill,
    kill_keeper,
    no_socket_left,
    postgres_pid,
)
from tests.servers import execute, run_home, run_now

ONE_ROW = ["CREATE TABLE IF NOT EXISTS kept (value int)", "INSERT INTO kept VALUES (42)"]


async def count(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


def answers(database_url: str) -> bool:
    try:
        return run_now(count(database_url)) >= 0
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


def test_servers_stop_when_the_last_user_is_killed(home: Path) -> None:
    with User(home) as user:
        user.urls()
        user.kill()
        assert eventually(lambda: everything_stopped(home))
        assert no_socket_left(home)


def test_servers_die_with_a_killed_keeper_when_nobody_else_is_left(home: Path) -> None:
    with User(home) as user:
        user.urls()
        user.kill()
        kill_keeper(home)
        assert eventually(lambda: everything_stopped(home))


@pytest.mark.parametrize("victim", ["user", "keeper and user", "postgres and keeper and user"])
def test_what_was_committed_survives_a_kill(home: Path, victim: str) -> None:
    with User(home) as user:
        database_url, _ = user.urls()
        run_now(execute(database_url, ONE_ROW))
        if "postgres" in victim:
            kill(postgres_pid(home))
        user.kill()
        if "keeper" in victim:
            kill_keeper(home)
    with EmbeddedServers(home) as servers:
        assert run_now(count(servers.database_url)) == 1


def test_a_user_that_is_left_has_the_servers_back_when_the_keeper_is_killed(home: Path) -> None:
    with User(home) as user:
        database_url, redis_url = user.urls()
        run_now(execute(database_url, ONE_ROW))
        before = kill_keeper(home)
        assert eventually(lambda: not locks.is_free(Home(home).keeper_lock) and keeper_pid(home) != before)
        assert eventually(lambda: answers(database_url))
        with redis.Redis.from_url(redis_url) as client:
            assert client.ping()
        user.leave()


def test_of_several_users_left_one_restarts_the_pair(home: Path) -> None:
    users = [User(home) for _ in range(3)]
    urls = [user.urls() for user in users]
    run_now(execute(urls[0][0], ONE_ROW))
    kill_keeper(home)
    assert eventually(lambda: answers(urls[0][0]))
    for user in users:
        user.leave()
    assert everything_stopped(home)


def test_a_killed_postgres_is_started_again_under_its_users(home: Path) -> None:
    with User(home) as user:
        database_url, _ = user.urls()
        run_now(execute(database_url, ONE_ROW))
        before = postgres_pid(home)
        kill(before)
        assert eventually(lambda: answers(database_url))
        assert postgres_pid(home) != before


async def test_a_query_that_never_looks_up_does_not_outlive_its_killed_postgres(home: Path) -> None:
    with User(home) as user:
        database_url, _ = user.urls()
        connection = await asyncpg.connect(database_url)
        endless = asyncio.ensure_future(connection.execute("SELECT count(*) FROM generate_series(1, 1e12::bigint)"))
        await asyncio.sleep(0.2)
        kill(postgres_pid(home))
        user.kill()
        kill_keeper(home)
        with EmbeddedServers(home) as servers:
            again = await asyncpg.connect(servers.database_url)
            assert await again.fetchval("SELECT 1") == 1
            await again.close()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await endless
        connection.terminate()


def test_a_starter_killed_in_the_middle_leaves_the_next_a_whole_pair(home: Path) -> None:
    with User(home) as starter:
        assert eventually(lambda: (home / "postgres-18.new").exists())
        starter.kill()
    with EmbeddedServers(home) as servers:
        run_now(execute(servers.database_url, ONE_ROW))


def test_a_keeper_killed_in_the_middle_of_creating_leaves_no_half_database(home: Path) -> None:
    with User(home) as starter:
        assert eventually(lambda: (home / "postgres-18.new").exists())
        kill(keeper_pid(home))
        starter.process.wait()
    with EmbeddedServers(home) as servers:
        run_now(execute(servers.database_url, ONE_ROW))


def test_a_killed_test_run_leaves_neither_process_nor_folder(servers: Lease, tmp_path: Path) -> None:
    test = tmp_path / "test_hangs_until_killed.py"
    test.write_text("import time\ndef test_hangs(servers, redis_url):\n    print('hangs', flush=True)\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "pytest", "-s", "-c", "pyproject.toml", "-p", "tests.conftest", str(test)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with subprocess.Popen(command, cwd=ROOT, env=ours, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any("hangs" in line for line in run.stdout)
        (folder,) = run_home().parent.glob(f"amity-test-*-{run.pid}-only")
        run.kill()
    assert eventually(lambda: not folder.exists())
