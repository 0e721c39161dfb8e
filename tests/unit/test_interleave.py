"""Two rankers in one slate, on fakes: `v1` puts high ids first, `v2` low ones."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

from service.domain import ExperimentArm, Filters, RecommendationRequest, Relations, Slate, Status
from service.domain_experiments import Arm, Experiment
from service.errors import BadInput, UnknownUser
from service.experiments.draft import FIRST, SECOND, seed_of, team_draft
from service.experiments.lifecycle import start
from service.experiments.routing import Router
from service.recommend.computation import seed_of as pool_seed
from service.recommend.pools import Pool
from service.recommend.ports import Replaced
from tests.fakes import NOW, FakeRanker, FakeSource, World, loaded, person


def lowest_first(batch: Any) -> Any:
    return (1 / (2 + np.abs(batch.features[:, 0]))).astype(np.float32)


def experiment() -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    given = Experiment(name="trial", salt="s", design="interleaving", traffic=1.0, arms=arms, created_at=NOW)
    return start(given, (), NOW)


def crowd(n: int = 40, relations: Relations | None = None, **sources: FakeSource) -> World:
    world = World((person(one) for one in range(1, n + 1)), relations, **sources)
    world.rankers["v2"] = loaded("v2", FakeRanker(lowest_first))
    world.router = Router("v1", [experiment()])
    return world


def ask(**changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": 1, "request_id": "r1", "limit": 6, **changes})


def ids(slate: Slate) -> list[int]:
    return [one.id for one in slate.recommendations]


def pool_of(world: World, algorithm: str) -> Pool:
    (pool,) = [pool for pool in world.redis.pools.values() if pool.algorithm_version == algorithm]
    return pool


async def test_a_slate_is_the_draft_of_both_pools_and_says_so() -> None:
    world = crowd()
    slate = await world.orchestrator.recommend(ask())
    first, second = pool_of(world, "v1"), pool_of(world, "v2")
    seed = seed_of(first.pool_id, second.pool_id)
    drafted = team_draft(first.id_array().tolist(), second.id_array().tolist(), 6, seed)
    assert tuple(ids(slate)) == drafted.ids
    assert sorted(ids(slate)) == [2, 3, 4, 38, 39, 40]
    assert (slate.algorithm_version, slate.ordering, slate.cached) == ("v1+v2", "interleaved", False)
    assert slate.experiment == ExperimentArm("trial", "interleaved")


async def test_each_position_has_the_score_of_the_ranker_that_brought_the_person() -> None:
    world = crowd()
    slate = await world.orchestrator.recommend(ask(limit=39))
    pools = [pool_of(world, algorithm) for algorithm in ("v1", "v2")]
    scores = [dict(zip(pool.id_array().tolist(), pool.score_array().tolist(), strict=True)) for pool in pools]
    teams = world.impressions.slates[0].teams
    assert teams is not None
    assert {FIRST, SECOND} == set(teams)
    for one, team in zip(slate.recommendations, teams, strict=True):
        assert one.match_score == pytest.approx(scores[team][one.id], abs=1e-4)


async def test_the_impression_keeps_the_team_of_each_position() -> None:
    world = crowd()
    slate = await world.orchestrator.recommend(ask())
    (shown,) = world.impressions.slates
    assert shown.teams == tuple(FIRST if who > 20 else SECOND for who in ids(slate))
    assert shown.candidate_ids == tuple(ids(slate))
    assert (shown.experiment, shown.algorithm_version) == (ExperimentArm("trial", "interleaved"), "v1+v2")
    assert shown.pool_id == pool_of(world, "v1").pool_id
    assert [features.pool_id for features in world.impressions.features] == [shown.pool_id]


async def test_the_next_slate_of_the_same_pools_is_the_same_on_another_replica() -> None:
    world = crowd()
    first = await world.orchestrator.recommend(ask())
    second = await world.build().recommend(ask())
    assert (second.cached, ids(second)) == (True, ids(first))
    assert world.impressions.slates[0].teams == world.impressions.slates[1].teams
    assert world.sources["explore"].asked == 1


async def test_for_two_new_pools_candidates_are_looked_for_once_and_both_draw_alike() -> None:
    world = crowd()
    slate = await world.orchestrator.recommend(ask())
    first, second = pool_of(world, "v1"), pool_of(world, "v2")
    assert (slate.degraded, world.sources["explore"].asked) == ((), 1)
    assert set(first.id_array().tolist()) == set(second.id_array().tolist())
    assert first.pool_id != second.pool_id
    assert (first.lot_seed, pool_seed(first.pool_id)) == (second.lot_seed, pool_seed(second.pool_id))
    assert {first.pool_id.version, second.pool_id.version} == {7}


async def test_candidates_are_looked_for_again_for_a_pool_that_is_made_later() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(algorithm_version="v1"))
    slate = await world.orchestrator.recommend(ask())
    assert (slate.ordering, world.sources["explore"].asked) == ("interleaved", 2)


async def test_a_source_that_fails_for_two_new_pools_is_named_once_and_neither_is_kept() -> None:
    world = crowd(explore=FakeSource(), broken=FakeSource(lambda people, query: 1 / 0))
    slate = await world.orchestrator.recommend(ask())
    assert [bent.stage for bent in slate.degraded] == ["source:broken"]
    assert world.redis.pools == {}


async def test_an_interleaved_slate_is_never_held() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    await world.orchestrator.recommend(ask())
    assert await world.orchestrator.ready(ask()) is None


async def test_pools_are_those_of_requests_that_name_a_ranker() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    named = await world.orchestrator.recommend(ask(algorithm_version="v2"))
    assert (named.cached, named.experiment, ids(named)) == (True, None, [2, 3, 4, 5, 6, 7])
    assert world.impressions.slates[-1].teams is None


async def test_nothing_explores_in_an_interleaved_slate() -> None:
    world = crowd()
    world.rankers["v2"] = loaded("v2", FakeRanker())  # puts people in the order of v1, so that all of both slates counts
    world.exploration_share = 0.5
    slate = await world.build().recommend(ask())
    assert {one.slot for one in slate.recommendations} == {"ranked"}
    assert ids(slate) == [40, 39, 38, 37, 36, 35]


@pytest.mark.parametrize("relations", [Relations(blocked=frozenset({40, 2})), Relations(passed_by=frozenset({40, 2})),
                                       Relations(liked=frozenset({40}), passed=frozenset({2}))])  # fmt: skip
async def test_what_stands_between_people_counts_at_once_on_both_pools(relations: Relations) -> None:
    world = crowd(80, Relations(liked=frozenset(range(50, 70))))
    await world.orchestrator.recommend(ask())
    await world.relate(Relations(liked=frozenset(range(50, 70)) | relations.liked, passed=relations.passed,
                                 blocked=relations.blocked, passed_by=relations.passed_by), 40, 2)  # fmt: skip
    after = await world.orchestrator.recommend(ask(limit=80))
    assert after.cached
    assert not {40, 2} & set(ids(after))
    assert len(ids(after)) == len(set(ids(after))) == 80 - 1 - 20 - 2


async def test_who_is_paused_or_erased_is_replaced_by_the_next_of_the_same_ranker() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    await world.change(person(39, status=Status.PAUSED))
    await world.erase(2)
    after = await world.orchestrator.recommend(ask())
    assert after.cached
    assert sorted(ids(after)) == [3, 4, 5, 37, 38, 40]


async def test_a_block_while_one_pool_is_made_counts_for_the_pool_that_was_there() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(algorithm_version="v1"))
    blocked = Relations(blocked=frozenset({40}))

    def block(batch: Any) -> Any:
        asyncio.get_running_loop().create_task(world.relate(blocked, 40))
        return lowest_first(batch)

    world.rankers["v2"] = loaded("v2", FakeRanker(block))
    slate = await world.orchestrator.recommend(ask(limit=30))
    assert 40 not in ids(slate)


async def test_filters_and_exclusions_hold() -> None:
    world = crowd()
    for who in (38, 4):
        await world.change(person(who, age=19))
    slate = await world.orchestrator.recommend(ask(limit=40, exclude_ids=frozenset({40, 2, 7}), filters=Filters(min_age=20)))
    assert sorted(ids(slate)) == [who for who in range(2, 40) if who not in (2, 4, 7, 38)]


async def test_excluding_all_that_the_pools_hold_brings_others() -> None:
    def some(people: Any, query: Any) -> Any:
        return people.search("mutual", None, 10)

    world = crowd(60, explore=FakeSource(some))
    first = await world.orchestrator.recommend(ask(limit=10))
    second = await world.orchestrator.recommend(ask(limit=10, exclude_ids=frozenset(ids(first))))
    assert len(ids(second)) == 10
    assert not set(ids(first)) & set(ids(second))


async def test_pools_that_ran_empty_are_made_anew() -> None:
    def some(people: Any, query: Any) -> Any:
        return people.search("mutual", None, 10)

    met = frozenset(range(100, 112))
    world = crowd(60, Relations(liked=met), explore=FakeSource(some))
    first = await world.orchestrator.recommend(ask(limit=10))
    await world.relate(Relations(liked=met | set(ids(first))))
    second = await world.orchestrator.recommend(ask(limit=10))
    assert (second.cached, len(ids(second)), second.message) == (False, 10, None)


async def test_one_pool_that_is_short_is_no_reason_to_make_both_anew() -> None:
    sizes = iter((40, 2))

    def fewer_each_time(people: Any, query: Any) -> Any:
        return people.search("mutual", None, next(sizes))

    world = crowd(explore=FakeSource(fewer_each_time))
    await world.orchestrator.recommend(ask(algorithm_version="v1"))
    slate = await world.orchestrator.recommend(ask())
    assert (len(ids(slate)), slate.degraded, world.sources["explore"].asked) == (6, (), 2)
    again = await world.orchestrator.recommend(ask())
    assert (again.cached, ids(again)) == (True, ids(slate))


async def test_a_short_slate_says_why() -> None:
    slate = await crowd(4).orchestrator.recommend(ask())
    assert sorted(ids(slate)) == [2, 3, 4]
    assert slate.message == "Only 3 of 6: nobody else is active and such that each is what the other seeks."


async def test_both_stale_pools_are_renewed() -> None:
    world = crowd()
    before = await world.orchestrator.recommend(ask())
    world.clock.elapsed_s += 900
    stale = await world.orchestrator.recommend(ask())
    assert (stale.cached, ids(stale), len(world.renewals)) == (True, ids(before), 2)
    await world.renewals.drain()
    assert world.sources["explore"].asked == 3
    assert (await world.orchestrator.recommend(ask())).cached
    assert len(world.renewals) == 0


async def test_two_pools_of_the_bundle_before_serve_and_one_of_each_do_not() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.memory.bundle_version = "b2"
    world.replaced = Replaced("b1", time.monotonic())
    both_old = await world.orchestrator.recommend(ask())
    assert (both_old.cached, both_old.bundle_version) == (True, "b1")
    await world.orchestrator.recommend(ask(algorithm_version="v2", use_cache=False))
    mixed = await world.orchestrator.recommend(ask())
    assert (mixed.cached, mixed.bundle_version) == (False, "b2")
    assert pool_of_bundle(world, "v1", "b2") == world.impressions.slates[-1].pool_id


def pool_of_bundle(world: World, algorithm: str, bundle: str) -> Any:
    (pool,) = [one for one in world.redis.pools.values() if (one.algorithm_version, one.bundle_version) == (algorithm, bundle)]
    return pool.pool_id


async def test_with_one_ranker_failing_the_slate_is_served_named_and_not_counted() -> None:
    world = crowd()
    world.rankers["v2"] = loaded("v2", None)
    slate = await world.orchestrator.recommend(ask())
    assert slate.algorithm_version == "v1+heuristic"
    assert [(bent.stage, bent.reason, bent.fallback) for bent in slate.degraded] == [("ranking", "missing_bundle", "heuristic")]
    assert len(ids(slate)) == 6
    (shown,) = world.impressions.slates
    assert (shown.degraded, shown.teams) == (True, None)
    assert shown.experiment == ExperimentArm("trial", "interleaved")


async def test_a_ranker_that_hangs_costs_neither_the_deadline_nor_the_other() -> None:
    over = threading.Event()

    def hang(batch: Any) -> Any:
        over.wait(20)
        return lowest_first(batch)

    world = crowd()
    world.deadline_s = 1.0
    world.rankers["v2"] = loaded("v2", FakeRanker(hang), inline=False)
    slate = await world.build().recommend(ask())
    over.set()
    assert slate.algorithm_version == "v1+heuristic"
    assert [(bent.stage, bent.reason) for bent in slate.degraded] == [("ranking", "timeout")]
    assert world.impressions.slates[0].teams is None


async def test_without_redis_a_slate_is_drafted_and_counts() -> None:
    world = crowd()
    world.redis.away = True
    slate = await world.orchestrator.recommend(ask())
    assert (slate.degraded, sorted(ids(slate))) == ((), [2, 3, 4, 38, 39, 40])
    assert world.impressions.slates[0].teams is not None


async def test_what_nobody_gets_to_see_leaves_no_trace() -> None:
    world = crowd()
    slate = await world.orchestrator.recommend(ask(recorded=False))
    assert (slate.ordering, world.impressions.slates, world.redis.pools) == ("interleaved", [], {})


async def test_nobody_at_all_is_an_empty_slate_of_the_experiment() -> None:
    world = crowd(1)
    slate = await world.orchestrator.recommend(ask())
    (shown,) = world.impressions.slates
    assert (slate.total_count, slate.ordering, shown.teams) == (0, "interleaved", ())


async def test_concurrent_requests_make_each_pool_once() -> None:
    world = crowd()
    slates = await asyncio.gather(*(world.orchestrator.recommend(ask()) for _ in range(5)))
    assert world.sources["explore"].asked == 1
    assert len({tuple(ids(slate)) for slate in slates}) == 1


async def test_wrong_requests_are_refused_as_ever() -> None:
    world = crowd()
    with pytest.raises(UnknownUser):
        await world.orchestrator.recommend(ask(viewer_id=99))
    world.database.people[1] = person(1, latitude=None, longitude=None)
    with pytest.raises(BadInput) as refused:
        await world.orchestrator.recommend(ask(filters=Filters(max_km=5.0)))
    assert [problem.field for problem in refused.value.problems] == ["max_km"]
