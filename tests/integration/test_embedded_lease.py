"""Who starts the private servers, who stops them, and what they promise."""

import os
import shutil
from pathlib import Path

import asyncpg
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.embedded.lease import EmbeddedServers, Options, join
from service.embedded.places import Home, socket_folder
from service.errors import EmbeddedServerError
from tests.embedded import User, eventually, everything_stopped, no_socket_left

TEST = Options(durable=False)


async def started_at(database_url: str) -> object:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval("SELECT pg_postmaster_start_time()")
    finally:
        await connection.close()


async def test_the_urls_serve_asyncpg_sqlalchemy_and_redis(home: Path) -> None:
    with EmbeddedServers(home, TEST) as servers:
        assert await started_at(servers.database_url)
        engine = create_async_engine(servers.database_url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.connect() as connection:
            row = (await connection.execute(text("SELECT current_database(), current_user"))).one()
        await engine.dispose()
        assert tuple(row) == ("amity", "amity")
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()


async def test_four_processes_that_start_at_once_share_one_pair(home: Path) -> None:
    users = [User(home) for _ in range(4)]
    urls = [user.urls() for user in users]
    starts = {await started_at(database_url) for database_url, _ in urls}
    for user in users:
        user.leave()
    assert len(starts) == 1
    assert everything_stopped(home)


def test_the_pair_stays_while_anybody_uses_it(home: Path) -> None:
    with User(home) as first, User(home) as second:
        first.urls()
        _, redis_url = second.urls()
        first.leave()
        with redis.Redis.from_url(redis_url) as client:
            assert client.ping()


def test_the_last_to_leave_returns_when_both_servers_have_stopped(home: Path) -> None:
    with EmbeddedServers(home, TEST):
        assert not everything_stopped(home)
    assert everything_stopped(home)
    assert no_socket_left(home)


def test_a_lease_can_be_released_twice(home: Path) -> None:
    lease = join(home, TEST)
    lease.release()
    lease.release()


async def test_data_outlives_a_restart_and_redis_does_not(home: Path) -> None:
    with EmbeddedServers(home, TEST) as servers, redis.Redis.from_url(servers.redis_url) as client:
        connection = await asyncpg.connect(servers.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
        await connection.close()
        client.set("forgotten", 1)
    with EmbeddedServers(home, TEST) as servers, redis.Redis.from_url(servers.redis_url) as client:
        connection = await asyncpg.connect(servers.database_url)
        assert await connection.fetchval("SELECT value FROM kept") == 42
        await connection.close()
        assert client.dbsize() == 0


async def test_a_users_data_is_synced_to_disk_and_nothing_listens_on_tcp(home: Path) -> None:
    with EmbeddedServers(home) as servers, redis.Redis.from_url(servers.redis_url) as client:
        connection = await asyncpg.connect(servers.database_url)
        shown = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "listen_addresses", "server_encoding")]
        await connection.close()
        assert shown == ["on", "", "UTF8"]
        assert client.config_get("port", "maxmemory-policy") == {"port": "0", "maxmemory-policy": "allkeys-lru"}


def test_an_ephemeral_home_is_removed_with_the_last_user(home: Path) -> None:
    with EmbeddedServers(home, Options(durable=False, ephemeral=True)):
        assert home.exists()
    assert eventually(lambda: not home.exists())


def removed(home: Path) -> bool:
    """PostgreSQL may add a file to a folder that is being emptied, so that once is not always enough."""
    shutil.rmtree(home, ignore_errors=True)
    return not home.exists()


def test_a_home_removed_under_its_users_stops_the_servers_and_can_begin_anew(home: Path) -> None:
    with User(home) as abandoned:
        abandoned.urls()
        assert eventually(lambda: removed(home))
        abandoned.kill()
        with EmbeddedServers(home, TEST) as servers, redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()


def test_a_failed_start_says_why_in_one_line_and_shows_the_log(home: Path) -> None:
    with EmbeddedServers(home, TEST):
        ...
    (Home(home).data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError) as raised:
        join(home, TEST)
    first, *tail = raised.value.message.splitlines()
    assert first == f"the private postgres of {home} ended while starting"
    assert "initialized by PostgreSQL version 17" in "".join(tail)
    assert eventually(lambda: everything_stopped(home))


def test_a_pid_file_that_names_a_stranger_does_not_stand_in_the_way(home: Path) -> None:
    with EmbeddedServers(home, TEST):
        ...
    (Home(home).data / "postmaster.pid").write_text(f"{os.getpid()}\n{home}\n")
    with EmbeddedServers(home, TEST) as servers, redis.Redis.from_url(servers.redis_url) as client:
        assert client.ping()


def test_a_socket_folder_of_somebody_else_is_refused_and_left_alone(home: Path) -> None:
    home.mkdir()
    folder = socket_folder(home)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(EmbeddedServerError, match="not a private folder of ours"):
        join(home, TEST)
    folder.rmdir()


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(EmbeddedServerError, match="cannot be joined"):
        join(occupied, TEST)


def test_progress_is_reported_while_servers_start(home: Path) -> None:
    lines: list[str] = []
    with EmbeddedServers(home, TEST, lines.append):
        assert lines[0] == f"creating a PostgreSQL database in {home / 'postgres-18'}"
        assert lines[-1].startswith("private PostgreSQL and Valkey started in ")
