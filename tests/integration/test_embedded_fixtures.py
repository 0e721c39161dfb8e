"""The fixtures themselves."""

import asyncpg
import pytest
import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.proxy import Proxy
from tests.servers import PrivatePostgres, PrivateValkey


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_empty_database_of_its_own(empty_database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE mine (turn int)")
    await connection.close()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_begins_with_an_empty_redis(redis_url: str, second_redis_url: str, turn: int) -> None:
    for url in (redis_url, second_redis_url):
        client = redis.Redis.from_url(url)
        assert await client.dbsize() == 0
        await client.set("turn", turn)
        await client.aclose()


async def test_a_killed_valkey_starts_again_at_its_address(private_valkey: PrivateValkey) -> None:
    client = redis.Redis.from_url(private_valkey.url, retry=None)
    assert await client.ping()
    private_valkey.kill()
    with pytest.raises(RedisConnectionError):
        await client.ping()
    private_valkey.start()
    assert await client.ping()
    await client.aclose()


async def test_a_killed_postgres_starts_again_with_what_was_committed(private_postgres: PrivatePostgres) -> None:
    connection = await asyncpg.connect(private_postgres.url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    private_postgres.kill()
    private_postgres.start()
    connection.terminate()
    connection = await asyncpg.connect(private_postgres.url)
    assert await connection.fetchval("SELECT value FROM kept") == 42
    await connection.close()


async def test_a_paused_postgres_answers_when_resumed(private_postgres: PrivatePostgres) -> None:
    connection = await asyncpg.connect(private_postgres.url)
    private_postgres.pause()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.1)
    private_postgres.resume()
    connection.terminate()
    again = await asyncpg.connect(private_postgres.url)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


async def test_the_proxy_forwards_freezes_cuts_and_refuses(private_postgres: PrivatePostgres) -> None:
    async with Proxy(private_postgres.socket) as proxy:
        url = f"postgresql://amity@127.0.0.1:{proxy.port}/amity"
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        proxy.freeze()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=0.1)
        proxy.thaw()
        await proxy.cut()
        connection = await asyncpg.connect(url)
        await proxy.refuse()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1")
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(url)
        await proxy.restore()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
