"""Ranked pools in a real Valkey: kept, dropped, damaged, and Redis away in each of its ways."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from service.domain import RecommendationRequest, Relations
from service.fleet.client import Fleet
from service.fleet.leases import Leases
from service.fleet.tokens import ViewerTokens
from service.recommend.once import LEASE_MS
from service.recommend.pool_store import Found, Pools, Wanted
from service.recommend.pools import Lives, Pool, PoolKey, ViewerMarks, encode
from service.resilience import Breaker, Deadline
from tests.fakes import FakeClock, World, person
from tests.proxy import Proxy
from tests.servers import PrivateValkey
from tests.unit.test_pools import some_pool

KEY = PoolKey(1, "digest")
LIVES = Lives(600, 300)
REQUEST = RecommendationRequest(viewer_id=1, limit=5)


class Replica:
    """What one replica has of a Redis."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.tokens = ViewerTokens(fleet, LIVES.token_s)
        self.leases = Leases(fleet)
        self.pools = Pools(fleet, self.tokens, LIVES, 1 << 20)

    async def pool(self) -> Pool:
        """One that suits."""
        read = await self.tokens.read(1, (), Deadline(5))
        assert read is not None
        return some_pool(generations=(read[0].everyone, read[0].generation), created_at_s=0.0)

    async def find(self) -> Found:
        """By a store of its own, which holds nothing."""
        pools, wanted = Pools(self.fleet, self.tokens, LIVES, 1 << 20), Wanted(KEY, "b1")
        look = await pools.look(wanted, Deadline(5), 1.0)
        return await pools.choose(look, wanted, ViewerMarks(5, 6), Deadline(5), 1.0)

    async def standing(self) -> str:
        return (await self.find()).standing


PATIENCE_S, HASTE_S = 5.0, 0.1
"""Time for a command that has to succeed while other tests keep the machine busy, and for one that is to be given up."""


@asynccontextmanager
async def opened(url: str, clock: FakeClock | None = None, timeout_s: float = PATIENCE_S) -> AsyncIterator[Replica]:
    fleet = Fleet.open(url, timeout_s, Breaker("redis", 3, 2.0, (clock or FakeClock()).monotonic))
    yield Replica(fleet)
    await fleet.close()


@asynccontextmanager
async def world_on(url: str, timeout_s: float = PATIENCE_S) -> AsyncIterator[World]:
    """A world whose replicas share a real Redis: `orchestrator` is the last one's."""
    world = World(person(one) for one in range(1, 41))
    async with opened(url, world.clock, timeout_s) as replica:
        world.store, world.tokens, world.leases = replica.fleet, replica.tokens, replica.leases
        world.orchestrator = world.build()
        yield world
        world.door.close()


async def test_a_stored_pool_is_found_by_every_replica(redis_url: str) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        assert await other.standing() == "miss"
        await one.pools.write(KEY, await one.pool())
        found = (await other.find()).pool
    assert found is not None
    assert found.id_array().tolist() == [1, 2, 3]


async def test_a_look_is_one_command(redis_url: str) -> None:
    async with opened(redis_url) as replica:
        await replica.pools.write(KEY, await replica.pool())
        client = redis.Redis.from_url(redis_url)
        client.config_resetstat()
        assert await replica.standing() == "hit"
        calls = {name: stats["calls"] for name, stats in client.info("commandstats").items() if "config" not in name}
        client.close()
    assert calls["cmdstat_mget"] == 1
    assert not {"cmdstat_get", "cmdstat_set"} & set(calls)


async def test_a_pool_lives_for_its_hard_life_and_its_tokens_outlive_it(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    async with opened(redis_url) as replica:
        pool = await replica.pool()
        for name in client.scan_iter("amity:*"):
            client.expire(name, 5)
        await replica.pools.write(KEY, pool)
    lives = {bytes(name): client.ttl(name) for name in client.scan_iter("amity:*")}
    client.close()
    assert 890 <= lives.pop(KEY.pool.encode()) <= 900
    assert len(lives) == 3
    assert all(1850 <= life <= 1860 for life in lives.values())


@pytest.mark.parametrize("viewers", [[1], None, [2, 1]])
async def test_dropped_pools_are_unusable_on_every_replica(redis_url: str, viewers: list[int] | None) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        await one.pools.write(KEY, await one.pool())
        assert await other.tokens.drop_pools(viewers)
        assert (await one.standing(), await other.standing()) == ("unusable", "unusable")


async def test_dropping_the_pools_of_another_viewer_leaves_the_pool(redis_url: str) -> None:
    async with opened(redis_url) as replica:
        await replica.pools.write(KEY, await replica.pool())
        await replica.tokens.drop_pools([2])
        assert await replica.standing() == "hit"


async def test_a_pool_computed_before_a_drop_and_stored_after_it_is_not_used(redis_url: str) -> None:
    async with opened(redis_url) as replica:
        before = await replica.pool()
        await replica.tokens.drop_pools([1])
        await replica.pools.write(KEY, before)
        assert await replica.standing() == "unusable"


@pytest.mark.parametrize("value", [b"", b"garbage", encode(some_pool())[:-1], b"\xff" * 100])
async def test_foreign_or_damaged_bytes_are_no_pool(redis_url: str, value: bytes) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set(KEY.pool, value)
    client.close()
    async with opened(redis_url) as replica:
        found = await replica.find()
    assert found.pool is None
    assert found.standing in ("miss", "unusable")


async def test_tokens_that_somebody_else_wrote_are_tokens(redis_url: str) -> None:
    async with opened(redis_url) as replica:
        await replica.pool()
        client = redis.Redis.from_url(redis_url)
        for name in client.scan_iter("amity:*"):
            client.set(name, b"\xff\xfe")
        client.close()
        assert await replica.standing() == "miss"


async def test_a_key_of_another_type_is_a_miss(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.lpush(KEY.pool, "x")
    client.close()
    async with opened(redis_url) as replica:
        assert await replica.standing() == "miss"


async def test_a_redis_that_hangs_costs_its_timeout_only_a_few_times(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock, HASTE_S) as replica:
        await replica.pools.write(KEY, await replica.pool())
        private_valkey.pause()
        started = time.monotonic()
        standings = [await replica.standing() for _ in range(50)]
        spent_s = time.monotonic() - started
        private_valkey.resume()
        assert set(standings) == {"unavailable"}
        assert spent_s < 50 * 0.1 / 2  # each of the fifty would have cost 0.1 s
        clock.elapsed_s = 3.0
        assert await replica.standing() == "hit"


async def test_a_redis_that_was_killed_is_found_again_when_it_is_back(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock, HASTE_S) as replica:
        await replica.pools.write(KEY, await replica.pool())
        private_valkey.kill()
        assert await replica.standing() == "unavailable"
        assert not await replica.tokens.drop_pools([1])
        private_valkey.start()
        clock.elapsed_s = 3.0
        await replica.pools.write(KEY, await replica.pool())
        assert await replica.standing() == "hit"


async def test_a_network_that_swallows_everything_is_redis_away(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with Proxy(private_valkey.socket) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0", clock, HASTE_S) as replica:
        await replica.pools.write(KEY, await replica.pool())
        proxy.freeze()
        assert await replica.standing() == "unavailable"
        proxy.thaw()
        clock.elapsed_s = 3.0
        await asyncio.sleep(0)
        assert await replica.standing() == "hit"


async def test_requests_are_answered_whatever_becomes_of_redis(private_valkey: PrivateValkey) -> None:
    async with world_on(private_valkey.url, HASTE_S) as world:
        slates = [await world.orchestrator.recommend(REQUEST) for _ in range(2)]
        private_valkey.pause()
        slates += [await world.orchestrator.recommend(REQUEST) for _ in range(5)]
        private_valkey.kill()
        slates += [await world.orchestrator.recommend(REQUEST) for _ in range(2)]
        assert await world.orchestrator.ready(REQUEST) is None
    assert [slate.cached for slate in slates] == [False, True] + [False] * 7
    assert all(slate.total_count == 5 and slate.degraded == () for slate in slates)


async def test_a_flushed_redis_is_a_miss_and_then_serves_again(redis_url: str) -> None:
    async with world_on(redis_url) as world:
        await world.orchestrator.recommend(REQUEST)
        assert await world.orchestrator.ready(REQUEST)
        redis.Redis.from_url(redis_url).flushall()
        assert await world.orchestrator.ready(REQUEST) is None
        slates = [await world.orchestrator.recommend(REQUEST) for _ in range(2)]
    assert [slate.cached for slate in slates] == [False, True]


async def test_a_full_redis_lets_go_of_what_a_write_has_made_stale(private_valkey: PrivateValkey) -> None:
    async with world_on(private_valkey.url) as world:
        await world.orchestrator.recommend(REQUEST)
        assert await world.orchestrator.ready(REQUEST)
        with redis.Redis.from_url(private_valkey.url) as client:
            client.config_set("maxmemory", "1")
        world.database.known_relations = Relations(blocked=frozenset({40}))
        assert await world.tokens.changed([1, 40])
        assert await world.orchestrator.ready(REQUEST) is None
        slate = await world.orchestrator.recommend(REQUEST)
    assert 40 not in [one.id for one in slate.recommendations]


async def test_many_misses_on_three_replicas_compute_once(redis_url: str) -> None:
    async with world_on(redis_url) as world:
        replicas = [world.build() for _ in range(3)]
        world.limiter._max_queued = 1000
        slates = await asyncio.gather(*(replicas[n % 3].recommend(REQUEST) for n in range(300)))
    assert world.sources["explore"].asked == 1
    assert all(slate.total_count == 5 for slate in slates)


async def test_a_dead_owner_holds_nobody_up_once_the_lease_is_over(redis_url: str) -> None:
    async with opened(redis_url) as dead, opened(redis_url) as living:
        assert await dead.leases.take(KEY.lease, "dead", LEASE_MS)
        assert await living.leases.take(KEY.lease, "living", LEASE_MS) is False
        client = redis.Redis.from_url(redis_url)
        assert 0 < client.pttl(KEY.lease) <= LEASE_MS
        client.pexpire(KEY.lease, 1)
        client.close()
        await asyncio.sleep(0.005)
        assert await living.leases.take(KEY.lease, "living", LEASE_MS) is True


async def test_a_stale_pool_is_renewed_once_in_the_fleet(redis_url: str) -> None:
    async with world_on(redis_url) as world:
        one, first = world.orchestrator, world.renewals
        other, second = world.build(), world.renewals
        await one.recommend(REQUEST)
        world.clock.elapsed_s = 700.0
        slates = [await replica.recommend(REQUEST) for replica in (one, other)]
        await asyncio.gather(first.drain(), second.drain())
        slates += [await replica.recommend(REQUEST) for replica in (one, other)]
        assert len(first) + len(second) == 0
    assert [slate.cached for slate in slates] == [True] * 4
    assert world.sources["explore"].asked == 2
