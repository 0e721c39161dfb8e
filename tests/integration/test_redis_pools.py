"""Ranked pools in a real Valkey: kept, dropped, damaged, and Redis away in each of its ways."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import redis

from service.domain import RecommendationRequest
from service.recommend.pools import Pool, PoolKey, RedisPools, encode, redis_client
from service.resilience import Breaker, Deadline
from tests.fakes import FakeClock, World, person
from tests.proxy import Proxy
from tests.servers import PrivateValkey

KEY = PoolKey(1, "digest")


@asynccontextmanager
async def opened(url: str, clock: FakeClock | None = None, ttl_s: int = 600) -> AsyncIterator[RedisPools]:
    breaker = Breaker("redis", 3, 2.0, (clock or FakeClock()).monotonic)
    pools = RedisPools(redis_client(url, 0.1), ttl_s, 0.1, breaker)
    yield pools
    await pools.close()


def pool(generations: tuple[str, str] = ("", ""), n: int = 3) -> Pool:
    return Pool(
        pool_id=UUID(int=1),
        algorithm_version="v1",
        bundle_version="b1",
        source_names=("explore",),
        ids=np.arange(1, n + 1, dtype="<i8").tobytes(),
        scores=np.linspace(1, 0, n, dtype="<f4").tobytes(),
        found_by=np.ones(n, "<u8").tobytes(),
        viewer_digest=5,
        generations=generations,
        created_at_s=1.5,
    )


async def found(pools: RedisPools) -> Pool | None:
    return (await pools.read(KEY, Deadline(5))).pool


async def test_a_stored_pool_is_found_by_every_replica(redis_url: str) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        assert await found(other) is None
        await one.write(KEY, pool())
        assert (await other.read(KEY, Deadline(5))).generations == ("", "")
        assert (await found(other) or pool(n=1)).id_array().tolist() == [1, 2, 3]


async def test_a_look_is_one_command(redis_url: str) -> None:
    async with opened(redis_url) as pools:
        await found(pools)
    with redis.Redis.from_url(redis_url) as client:
        calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    assert calls["cmdstat_mget"] == 1
    assert "cmdstat_get" not in calls


async def test_a_pool_lives_for_its_time_give_or_take_a_tenth(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    lives = set()
    async with opened(redis_url) as pools:
        for _ in range(20):
            await pools.write(KEY, pool())
            lives.add(client.ttl(KEY.pool))
    client.close()
    assert all(538 <= life <= 660 for life in lives)
    assert len(lives) > 5


@pytest.mark.parametrize("viewers", [[1], None, [2, 1]])
async def test_invalidation_drops_the_pools_of_the_viewer_on_every_replica(redis_url: str, viewers: Any) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        await one.write(KEY, pool())
        assert await other.invalidate(viewers)
        assert await found(one) is None


async def test_invalidation_of_another_viewer_leaves_the_pool(redis_url: str) -> None:
    async with opened(redis_url) as pools:
        await pools.write(KEY, pool())
        await pools.invalidate([2])
        assert await found(pools) is not None


async def test_a_pool_computed_before_an_invalidation_and_stored_after_it_is_not_used(redis_url: str) -> None:
    async with opened(redis_url) as pools:
        before = (await pools.read_generations(KEY, Deadline(5))).generations
        assert before is not None
        await pools.invalidate([1])
        await pools.write(KEY, pool(before))
        assert await found(pools) is None


async def test_a_generation_outlives_the_pools_that_bear_an_older_one(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    async with opened(redis_url) as pools:
        await pools.invalidate(None)
    assert client.ttl("amity:gen:all") > 660
    client.close()


@pytest.mark.parametrize("value", [b"", b"garbage", encode(pool())[:-1], b"\xff" * 100])
async def test_foreign_or_damaged_bytes_are_a_miss(redis_url: str, value: bytes) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set(KEY.pool, value)
    client.set("amity:gen:1", b"\xff\xfe")
    client.close()
    async with opened(redis_url) as pools:
        looked = await pools.read(KEY, Deadline(5))
    assert looked.pool is None
    assert looked.generations is not None


async def test_a_key_of_another_type_is_a_miss(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.lpush(KEY.pool, "x")
    client.close()
    async with opened(redis_url) as pools:
        assert await found(pools) is None


async def test_a_redis_that_hangs_costs_its_timeout_only_a_few_times(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock) as pools:
        await pools.write(KEY, pool())
        private_valkey.pause()
        started = time.monotonic()
        looks = [await pools.read(KEY, Deadline(5)) for _ in range(50)]
        spent_s = time.monotonic() - started
        private_valkey.resume()
        assert all(look.generations is None for look in looks)
        assert spent_s < 50 * 0.1 / 2  # each of the fifty would have cost 0.1 s
        clock.elapsed_s = 3.0
        assert await found(pools) is not None


async def test_a_redis_that_was_killed_is_found_again_when_it_is_back(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock) as pools:
        await pools.write(KEY, pool())
        private_valkey.kill()
        assert (await pools.read(KEY, Deadline(5))).generations is None
        assert not await pools.invalidate([1])
        private_valkey.start()
        clock.elapsed_s = 3.0
        await pools.write(KEY, pool())
        assert await found(pools) is not None


async def test_a_network_that_swallows_everything_is_a_miss(private_valkey: PrivateValkey) -> None:
    async with Proxy(private_valkey.socket) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as pools:
        await pools.write(KEY, pool())
        proxy.freeze()
        assert (await pools.read(KEY, Deadline(5))).generations is None
        proxy.thaw()
        await asyncio.sleep(0)
        assert await found(pools) is not None


async def test_requests_are_answered_whatever_becomes_of_redis(private_valkey: PrivateValkey) -> None:
    world = World(person(one) for one in range(1, 41))
    request = RecommendationRequest(viewer_id=1, limit=5)
    async with opened(private_valkey.url, world.clock) as pools:
        world.pools = pools  # type: ignore[assignment]
        orchestrator = world.build()
        slates = [await orchestrator.recommend(request) for _ in range(2)]
        private_valkey.pause()
        slates += [await orchestrator.recommend(request) for _ in range(5)]
        private_valkey.kill()
        slates += [await orchestrator.recommend(request) for _ in range(2)]
    assert [slate.cached for slate in slates] == [False, True] + [False] * 7
    assert all(slate.total_count == 5 and slate.degraded == () for slate in slates)


async def test_a_flushed_redis_is_a_miss_and_then_serves_again(redis_url: str) -> None:
    world = World(person(one) for one in range(1, 41))
    request = RecommendationRequest(viewer_id=1, limit=5)
    async with opened(redis_url, world.clock) as pools:
        world.pools = pools  # type: ignore[assignment]
        orchestrator = world.build()
        await orchestrator.recommend(request)
        redis.Redis.from_url(redis_url).flushall()
        slates = [await orchestrator.recommend(request) for _ in range(2)]
    assert [slate.cached for slate in slates] == [False, True]
