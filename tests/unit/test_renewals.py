"""Pools made once in the fleet, stale ones renewed beside the requests, and what a new bundle does."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from service.domain import RecommendationRequest, Relations, Slate
from service.metrics import REGISTRY
from service.recommend.once import WAIT_S, Once
from service.recommend.pools import PoolKey
from service.recommend.ports import Replaced
from service.recommend.renewals import CAPACITY
from service.resilience import Deadline
from tests.fakes import FakeRanker, FakeSource, World, loaded, person


def crowd(n: int = 40) -> World:
    return World((person(one) for one in range(1, n + 1)), Relations(liked=frozenset(range(2, 14))))


def ask(viewer_id: int = 1, **changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": viewer_id, "limit": 5, **changes})


def slow(seconds: float) -> FakeSource:
    def find(people: Any, query: Any) -> Any:
        time.sleep(seconds)
        return people.search("mutual", None, query.k)

    return FakeSource(find)


def renewals(outcome: str) -> float:
    return REGISTRY.get_sample_value("amity_pool_renewals_total", {"outcome": outcome}) or 0.0


async def stale(world: World) -> Slate:
    """An answer from a pool past its soft life."""
    await world.orchestrator.recommend(ask())
    world.clock.elapsed_s = 700.0
    return await world.orchestrator.recommend(ask())


async def test_a_stale_pool_serves_and_is_renewed_for_the_next_request() -> None:
    world = crowd()
    assert (await stale(world)).cached
    assert world.sources["explore"].asked == 1
    before = renewals("renewed")
    await world.renewals.drain()
    assert (world.sources["explore"].asked, renewals("renewed")) == (2, before + 1)
    after = await world.orchestrator.recommend(ask())
    assert (after.cached, len(world.renewals)) == (True, 0)


async def test_a_renewal_uses_what_stands_when_it_is_made() -> None:
    world = crowd()
    await stale(world)
    world.clock.elapsed_s = 720.0
    await world.renewals.drain()
    (pool,) = world.redis.pools.values()
    assert pool.created_at_s == world.clock.now().timestamp()


async def test_the_features_of_a_renewed_pool_are_kept_though_nobody_has_seen_it_yet() -> None:
    world = crowd()
    await stale(world)
    await world.renewals.drain()
    (pool,) = world.redis.pools.values()
    assert [features.pool_id for features in world.impressions.features][-1] == pool.pool_id
    assert len(world.impressions.slates) == 2


async def test_a_stale_pool_is_renewed_once_however_many_are_served_from_it() -> None:
    world = crowd()
    await stale(world)
    for limit in (5, 6, 7):
        await world.orchestrator.recommend(ask(limit=limit))
    before = renewals("elsewhere")
    await world.renewals.drain()
    assert (world.sources["explore"].asked, renewals("elsewhere")) == (2, before)


async def test_two_replicas_renew_a_stale_pool_once() -> None:
    world = crowd()
    one = world.orchestrator
    first = world.renewals
    other = world.build()
    second = world.renewals
    await one.recommend(ask())
    world.clock.elapsed_s = 700.0
    await asyncio.gather(one.recommend(ask()), other.recommend(ask()))
    before = renewals("elsewhere")
    await asyncio.gather(first.drain(), second.drain())
    assert (world.sources["explore"].asked, renewals("elsewhere")) == (2, before + 1)


async def test_what_finds_no_room_is_refused_and_asked_for_again() -> None:
    world = crowd()
    world.database.people = {one: person(one) for one in range(1, CAPACITY + 10)}
    for viewer in range(1, CAPACITY + 6):
        await world.orchestrator.recommend(ask(viewer))
    world.clock.elapsed_s = 700.0
    before = renewals("refused")
    for viewer in range(1, CAPACITY + 6):
        assert (await world.orchestrator.recommend(ask(viewer))).cached
    assert (len(world.renewals), renewals("refused")) == (CAPACITY, before + 5)
    await world.renewals.drain()
    await world.orchestrator.recommend(ask(CAPACITY + 5))
    assert len(world.renewals) == 1


async def test_a_degraded_renewal_is_not_kept_and_the_stale_pool_serves_on() -> None:
    world = crowd()
    await stale(world)
    (before,) = world.redis.pools.values()
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan)))
    n_degraded = renewals("degraded")
    await world.renewals.drain()
    (after,) = world.redis.pools.values()
    assert (after.pool_id, renewals("degraded")) == (before.pool_id, n_degraded + 1)
    assert not [name for name in world.redis.values if ":lease:" in name]


async def test_a_renewal_that_nobody_foresaw_to_fail_is_counted_and_asked_for_again() -> None:
    world = crowd()
    await stale(world)
    world.memory.eligible = lambda asking: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    before = renewals("failed")
    with pytest.raises(ZeroDivisionError):
        await world.renewals.drain()
    assert (renewals("failed"), len(world.renewals)) == (before + 1, 0)
    assert not [name for name in world.redis.values if ":lease:" in name]


async def test_a_slate_that_nobody_sees_has_no_pool_renewed() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.clock.elapsed_s = 700.0
    await world.orchestrator.recommend(ask(recorded=False))
    assert len(world.renewals) == 0


async def test_after_a_new_bundle_pools_of_the_one_before_serve_stale_while_they_are_renewed() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.memory.bundle_version, world.replaced = "b2", Replaced("b1", time.monotonic())
    during = await world.orchestrator.recommend(ask())
    assert (during.cached, during.bundle_version, world.sources["explore"].asked) == (True, "b1", 1)
    await world.renewals.drain()
    after = await world.orchestrator.recommend(ask())
    assert (after.cached, after.bundle_version, world.sources["explore"].asked) == (True, "b2", 2)


async def test_long_after_a_new_bundle_the_one_before_is_not_looked_for() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.memory.bundle_version, world.replaced = "b2", Replaced("b1", time.monotonic() - 1201)
    after = await world.orchestrator.recommend(ask())
    assert (after.cached, after.bundle_version) == (False, "b2")


async def test_the_rules_hold_on_the_pool_of_the_bundle_before() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.memory.bundle_version, world.replaced = "b2", Replaced("b1", time.monotonic())
    await world.relate(Relations(liked=frozenset(range(2, 14)), blocked=frozenset({40})), 40)
    during = await world.orchestrator.recommend(ask())
    assert (during.cached, [one.id for one in during.recommendations]) == (True, [39, 38, 37, 36, 35])


async def test_many_misses_on_three_replicas_compute_once() -> None:
    world = crowd()
    world.sources["explore"] = source = slow(0.02)
    replicas = [world.build() for _ in range(3)]
    world.limiter._max_queued = 1000
    slates = await asyncio.gather(*(replicas[n % 3].recommend(ask()) for n in range(60)))
    assert (source.asked, len({one.id for slate in slates for one in slate.recommendations})) == (1, 5)
    assert len(world.impressions.features) == 1


async def test_nobody_waits_for_another_longer_than_allowed() -> None:
    world, key = crowd(), PoolKey(1, "digest")
    world.redis.values[key.lease] = b"somebody who died"

    async def sleep(seconds: float) -> None:
        world.clock.elapsed_s += seconds

    waiting = Once(world.redis, world.pools, sleep).awaited(key, lambda pool: True, Deadline(2.0, world.clock.monotonic))
    assert await waiting is None
    assert world.clock.elapsed_s == pytest.approx(WAIT_S)


async def test_a_pool_that_came_while_a_busy_machine_overslept_is_taken() -> None:
    world, key = crowd(), PoolKey(1, "digest")
    await world.orchestrator.recommend(ask())
    made = next(value for name, value in world.redis.values.items() if ":pool:" in name)
    world.redis.values[key.lease] = b"somebody at work"

    async def oversleep(seconds: float) -> None:
        world.clock.elapsed_s += 2 * WAIT_S
        world.redis.values[key.pool] = made

    waiting = Once(world.redis, world.pools, oversleep).awaited(key, lambda pool: True, Deadline(2.0, world.clock.monotonic))
    assert await waiting is not None


async def test_nobody_waits_for_a_lease_that_was_given_up_without_a_pool() -> None:
    world, key = crowd(), PoolKey(1, "digest")
    world.redis.values[key.lease] = b"somebody whose pool is degraded"

    async def sleep(seconds: float) -> None:
        world.clock.elapsed_s += seconds
        world.redis.values.pop(key.lease, None)

    waiting = Once(world.redis, world.pools, sleep).awaited(key, lambda pool: True, Deadline(2.0, world.clock.monotonic))
    assert await waiting is None
    assert world.clock.elapsed_s < WAIT_S / 2


async def test_who_has_waited_in_vain_computes_and_stores() -> None:
    world = crowd()
    contend, dead = world.redis.contend, b"somebody who died"

    async def taken(key: str, *given: Any) -> Any:
        world.redis.values[key] = dead
        return await contend(key, *given)

    world.redis.contend = taken  # type: ignore[method-assign, assignment]
    slate = await world.orchestrator.recommend(ask())
    assert (slate.total_count, len(world.redis.pools), dead in world.redis.values.values()) == (5, 1, True)


async def test_who_waits_for_a_computation_that_was_degraded_begins_as_soon_as_it_is_given_up() -> None:
    world = crowd()
    world.sources["explore"] = source = slow(0.02)
    one = world.build()
    world.rankers = dict(world.rankers)
    other = world.build()
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan)))
    slates = await asyncio.gather(one.recommend(ask()), other.recommend(ask()))
    assert source.asked == 2
    assert all(slate.degraded for slate in slates)
    assert not [name for name in world.redis.values if ":lease:" in name]


async def test_a_computation_that_fails_gives_up_its_lease() -> None:
    world = crowd()
    world.memory.eligible = lambda asking: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    await world.orchestrator.recommend(ask())
    assert not [name for name in world.redis.values if ":lease:" in name]


async def test_whoever_gets_the_lease_after_the_pool_was_stored_takes_it() -> None:
    world = crowd()
    one, other = world.orchestrator, world.build()
    contend = world.redis.contend
    contending: list[str] = []

    async def late(key: str, *given: Any) -> Any:
        contending.append(key)
        if len(contending) == 1:
            await one.recommend(ask())
        return await contend(key, *given)

    world.redis.contend = late  # type: ignore[method-assign, assignment]
    slate = await other.recommend(ask())
    assert (slate.total_count, world.sources["explore"].asked) == (5, 1)


async def test_a_pool_that_left_too_few_is_not_taken_for_the_one_that_is_to_replace_it() -> None:
    world = World([person(one) for one in range(1, 46)], Relations(liked=frozenset(range(2, 14))))
    world.sources["explore"] = source = FakeSource(lambda people, query: people.search("mutual", None, 10))
    orchestrator = world.build()
    await orchestrator.recommend(ask(limit=10))
    seen = Relations(liked=frozenset(range(2, 14)), passed=frozenset(range(38, 46)))
    world.memory.known_relations = seen
    await world.relate(seen)
    again = await orchestrator.recommend(ask(limit=10))
    assert (again.total_count, again.cached, source.asked) == (10, False, 2)
