"""The life of a request, on fakes."""

import asyncio
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import Degradation, Filters, RecommendationRequest, Relations, Slate, Status
from service.errors import BadInput, Overloaded, Unavailable, UnknownAlgorithm, UnknownUser
from service.metrics import REGISTRY
from service.recommend.orchestrator import after_reply
from service.recommend.ports import Asking, Trail
from service.resilience import Limiter
from service.telemetry import begin_request
from tests.fakes import FakePeople, FakePopulation, FakeRanker, FakeSource, World, loaded, person

UNFORESEEN = ("amity_unexpected_errors_total", {"door": "request", "type": "ZeroDivisionError"})


def crowd(n: int = 40, relations: Relations | None = None) -> World:
    return World((person(one) for one in range(1, n + 1)), relations)


def ask(**changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": 1, "request_id": "r1", **changes})


def slow_source(seconds: float) -> FakeSource:
    def find(people: Any, query: Any) -> Any:
        time.sleep(seconds)
        return people.search("mutual", None, query.k)

    return FakeSource(find)


def ids(slate: Slate) -> list[int]:
    return [one.id for one in slate.recommendations]


async def test_a_request_brings_the_best_by_score_with_every_field() -> None:
    slate = await crowd().orchestrator.recommend(ask(limit=5))
    assert ids(slate) == [40, 39, 38, 37, 36]
    assert (slate.total_count, slate.algorithm_version, slate.bundle_version, slate.request_id) == (5, "v1", "b1", "r1")
    assert (slate.cached, slate.degraded, slate.message, slate.ordering) == (False, (), None, "score")
    assert slate.recommendations[0].sources == ("explore",)


async def test_the_second_request_is_served_from_the_pool() -> None:
    world = crowd()
    first = await world.orchestrator.recommend(ask())
    second = await world.orchestrator.recommend(ask())
    assert second.cached
    assert ids(second) == ids(first)
    assert world.sources["explore"].asked == 1


async def test_one_pool_serves_every_limit() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(limit=3))
    longer = await world.orchestrator.recommend(ask(limit=20))
    assert (longer.cached, longer.total_count) == (True, 20)


async def test_the_mask_is_a_stage_until_it_is_known_who_is_eligible_and_retrieval_begins_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, people = crowd(), FakePeople(1, range(2, 41))
    recording = begin_request(None, 0)

    def eligible(asking: Asking) -> FakePeople:
        people.prepared_s = time.perf_counter()
        return people

    monkeypatch.setattr(world.memory, "eligible", eligible)
    await world.orchestrator.recommend(ask())
    stages = {stage.name: stage for stage in recording.stages}
    assert stages["mask"].ended_s == stages["retrieval"].started_s == people.prepared_s
    assert stages["mask"].attributes == {"amity.n_eligible": 39}


async def test_without_use_cache_a_pool_is_computed_and_stored() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    afresh = await world.orchestrator.recommend(ask(use_cache=False))
    assert (afresh.cached, world.sources["explore"].asked) == (False, 2)
    world.redis.lose_pools()
    await world.orchestrator.recommend(ask(use_cache=False))
    assert (await world.orchestrator.recommend(ask())).cached


async def test_other_filters_are_another_pool() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    narrower = await world.orchestrator.recommend(ask(filters=Filters(min_age=20)))
    assert not narrower.cached


async def test_a_block_takes_effect_on_a_cached_pool_at_once() -> None:
    world = crowd()
    before = await world.orchestrator.recommend(ask(limit=3))
    await world.relate(Relations(blocked=frozenset({40})), 40)
    after = await world.orchestrator.recommend(ask(limit=3))
    assert ids(before) == [40, 39, 38]
    assert (after.cached, ids(after)) == (True, [39, 38, 37])


async def test_a_person_paused_since_the_pool_was_made_is_replaced_by_the_next() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(limit=3))
    await world.change(person(39, status=Status.PAUSED))
    after = await world.orchestrator.recommend(ask(limit=3))
    assert (after.cached, ids(after)) == (True, [40, 38, 37])


async def test_an_erased_person_is_shown_by_no_pool() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(limit=3))
    await world.erase(40)
    assert 40 not in ids(await world.orchestrator.recommend(ask(limit=3)))


async def test_somebody_new_under_a_reused_id_does_not_inherit_the_score() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(limit=3))
    await world.change(person(40, name="Somebody New", incarnation=2))
    after = await world.orchestrator.recommend(ask(limit=3))
    assert (after.cached, ids(after)) == (True, [39, 38, 37])


async def test_who_was_scored_under_a_reused_id_is_shown_until_it_is_used_again() -> None:
    world = World([*(person(one) for one in range(1, 40)), person(40, incarnation=3)])
    await world.orchestrator.recommend(ask(limit=3))
    assert ids(await world.orchestrator.recommend(ask(limit=3))) == [40, 39, 38]
    await world.change(person(40, incarnation=4))
    assert ids(await world.orchestrator.recommend(ask(limit=3))) == [39, 38, 37]


async def test_a_slate_that_nobody_sees_leaves_neither_impression_nor_pool() -> None:
    world = crowd()
    unseen = await world.orchestrator.recommend(ask(recorded=False))
    assert (unseen.total_count, world.impressions.slates, world.redis.pools) == (20, [], {})
    await world.orchestrator.recommend(ask())
    assert (len(world.impressions.slates), len(world.impressions.features)) == (1, 1)


async def test_a_short_slate_counts_who_is_eligible_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world, asked, eligible = crowd(5), [], FakePopulation.eligible

    def counted(memory: FakePopulation, asking: Asking) -> FakePeople:
        asked.append(asking)
        return eligible(memory, asking)

    monkeypatch.setattr(FakePopulation, "eligible", counted)
    slate = await world.orchestrator.recommend(ask(filters=Filters(min_age=20)))
    # One to retrieve by, one to count; then one without exclude_seen and one without filters, for the message.
    assert (slate.total_count, len(asked)) == (4, 4)


async def test_a_changed_bio_shows_at_once() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask(limit=1))
    await world.change(person(40, bio="new"))
    assert (await world.orchestrator.recommend(ask(limit=1))).recommendations[0].bio == "new"


async def test_people_whom_memory_has_as_they_are_are_not_read() -> None:
    world = crowd()
    world.first.caught_up(world.memory, world.first.now)
    slate = await world.orchestrator.recommend(ask(limit=2))
    assert (ids(slate), "profiles" in world.database.reads) == ([40, 39], False)


async def test_who_changed_is_read_until_memory_knows_of_it() -> None:
    world = crowd()
    world.first.caught_up(world.memory, world.first.now)
    await world.change(person(40, bio="new"))
    slate = await world.orchestrator.recommend(ask(limit=2))
    assert [one.bio for one in slate.recommendations] == ["new", person(39).bio]
    assert world.database.reads.count("profiles") == 1


async def test_where_news_does_not_arrive_people_are_read_whatever_memory_knows() -> None:
    world = crowd()
    world.first.caught_up(world.memory, world.first.now)
    world.news_live = False
    world.database.people[40] = person(40, bio="new")
    slate = await world.orchestrator.recommend(ask(limit=1))
    assert slate.recommendations[0].bio == "new"


async def test_a_block_committed_while_the_pool_was_computed_is_heeded() -> None:
    world = crowd()

    def find_while_blocked(people: Any, query: Any) -> Any:
        asyncio.run(world.relate(Relations(blocked=frozenset({40})), 40))
        return people.search("mutual", None, query.k)

    world.sources["explore"] = FakeSource(find_while_blocked)
    assert 40 not in ids(await world.build().recommend(ask()))


async def test_a_newcomers_like_moves_the_pool() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    await world.relate(Relations(liked=frozenset({7})), 7)
    after = await world.orchestrator.recommend(ask())
    assert not after.cached


async def test_a_like_of_somebody_with_a_long_history_leaves_the_pool() -> None:
    world = crowd(relations=Relations(liked=frozenset(range(2, 12))))
    await world.orchestrator.recommend(ask(limit=5))
    await world.relate(Relations(liked=frozenset(range(2, 13))), 12)
    after = await world.orchestrator.recommend(ask(limit=5))
    assert after.cached
    assert 12 not in ids(after)


async def test_a_changed_preference_of_the_viewer_makes_the_pool_stale() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    await world.change(person(1, seeks_min_age=31))
    after = await world.orchestrator.recommend(ask())
    assert (after.cached, ids(after)) == (False, [])


async def test_refresh_drops_the_pools_of_one_viewer_or_of_all() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    assert await world.orchestrator.refresh([2]) == 1
    assert (await world.orchestrator.recommend(ask())).cached
    await world.orchestrator.refresh([1])
    assert not (await world.orchestrator.recommend(ask())).cached
    assert await world.orchestrator.refresh(None) == 40
    assert not (await world.orchestrator.recommend(ask())).cached


async def test_refresh_says_so_when_redis_did_not_take_it() -> None:
    world = crowd()
    world.redis.away = True
    with pytest.raises(Unavailable):
        await world.orchestrator.refresh([1])


async def test_a_pool_of_which_too_few_are_left_is_computed_again() -> None:
    world = crowd(n=45, relations=Relations(passed=frozenset(range(31, 46))))
    world.sources["explore"] = FakeSource(lambda people, query: people.search("mutual", None, 10))
    orchestrator = world.build()
    await orchestrator.recommend(ask(limit=10))
    seen = Relations(passed=frozenset(range(26, 46)))
    world.memory.known_relations = seen
    await world.relate(seen)
    few = await orchestrator.recommend(ask(limit=5))
    many = await orchestrator.recommend(ask(limit=10))
    assert (few.cached, many.cached, many.total_count) == (True, False, 10)


async def test_excluded_ids_are_replaced_by_people_beyond_the_pool() -> None:
    world = crowd(n=30)
    world.sources["explore"] = FakeSource(lambda people, query: people.search("mutual", None, 10))
    slate = await world.build().recommend(ask(limit=10, exclude_ids=frozenset(range(21, 31))))
    assert sorted(ids(slate)) == list(range(11, 21))


async def test_what_was_computed_for_excluded_ids_is_not_stored() -> None:
    world = crowd(n=30)
    world.sources["explore"] = FakeSource(lambda people, query: people.search("mutual", None, 10))
    orchestrator = world.build()
    await orchestrator.recommend(ask(limit=10, exclude_ids=frozenset(range(21, 31))))
    assert ids(await orchestrator.recommend(ask(limit=10))) == list(range(30, 20, -1))


async def test_concurrent_misses_of_one_key_compute_once() -> None:
    world = crowd()
    world.sources["explore"] = source = slow_source(0.05)
    orchestrator = world.build()
    slates = await asyncio.gather(*(orchestrator.recommend(ask()) for _ in range(5)))
    assert source.asked == 1
    assert len({slate.slate_id for slate in slates}) == 5
    assert len(world.impressions.features) == 1


async def test_an_explicit_algorithm_ranks() -> None:
    slate = await crowd().orchestrator.recommend(ask(algorithm_version="heuristic"))
    assert slate.algorithm_version == "heuristic"


async def test_an_unknown_algorithm_is_refused_naming_those_there_are() -> None:
    with pytest.raises(UnknownAlgorithm) as caught:
        await crowd().orchestrator.recommend(ask(algorithm_version="v9"))
    assert "heuristic" in caught.value.problems[0].message
    assert "v1" in caught.value.problems[0].message


async def test_an_unknown_viewer_is_not_found() -> None:
    with pytest.raises(UnknownUser):
        await crowd().orchestrator.recommend(ask(viewer_id=99))


async def test_max_km_without_a_place_is_refused_by_name() -> None:
    with pytest.raises(BadInput) as caught:
        await crowd().orchestrator.recommend(ask(filters=Filters(max_km=5)))
    assert caught.value.problems[0].field == "max_km"


async def test_without_the_database_memory_serves_and_says_so() -> None:
    world = crowd()
    world.database.down = True
    world.memory.known_relations = Relations(blocked=frozenset({40}))
    slate = await world.orchestrator.recommend(ask(limit=3))
    assert ids(slate) == [39, 38, 37]
    bent = {(one.stage, one.reason, one.fallback) for one in slate.degraded}
    assert bent == {(name, "unavailable", "memory") for name in ("viewer", "relations", "profiles")}


async def test_what_was_computed_without_the_database_is_not_stored() -> None:
    world = crowd()
    world.database.down = True
    await world.orchestrator.recommend(ask())
    assert not world.redis.pools


async def test_a_viewer_whom_neither_database_nor_memory_knows_gets_an_empty_list_with_a_message() -> None:
    world = crowd()
    world.database.down = True
    slate = await world.orchestrator.recommend(ask(viewer_id=99))
    assert (slate.total_count, bool(slate.message)) == (0, True)


async def test_a_database_that_keeps_failing_is_not_asked_each_time() -> None:
    world = crowd()
    world.database.down = True
    for _ in range(5):
        await world.orchestrator.recommend(ask())
    assert len(world.database.reads) <= 4


async def test_without_redis_each_request_is_computed_and_nothing_is_degraded() -> None:
    world = crowd()
    world.redis.away = True
    slates = [await world.orchestrator.recommend(ask(limit=3)) for _ in range(2)]
    assert [(slate.cached, slate.degraded, slate.total_count) for slate in slates] == [(False, (), 3)] * 2


async def test_a_failing_ranker_is_replaced_by_the_heuristic_and_the_pool_is_not_kept() -> None:
    world = crowd()
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan)))
    slate = await world.orchestrator.recommend(ask())
    assert slate.algorithm_version == "heuristic"
    assert slate.degraded == (Degradation("ranking", "nan", "heuristic"),)
    assert not world.redis.pools


async def test_a_failed_source_is_named_and_the_others_serve() -> None:
    world = World((person(one) for one in range(1, 31)), explore=FakeSource(), broken=FakeSource(lambda p, q: 1 / 0))
    slate = await world.orchestrator.recommend(ask())
    assert slate.degraded == (Degradation("source:broken", "exception", None),)
    assert slate.total_count == 20


async def test_when_every_source_fails_chance_serves_eligible_people() -> None:
    world = World((person(one) for one in range(1, 31)), broken=FakeSource(lambda p, q: 1 / 0))
    slate = await world.orchestrator.recommend(ask())
    assert slate.total_count == 20
    assert slate.degraded[-1] == Degradation("retrieval", "no_source", "random")


async def test_what_nobody_foresaw_is_an_empty_list_with_a_message() -> None:
    world = crowd()
    world.memory.eligible = lambda asking: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    slate = await world.orchestrator.recommend(ask())
    assert (slate.total_count, slate.degraded[0].stage, bool(slate.message)) == (0, "request", True)
    assert world.performance.report(60).errors == 1


async def test_a_miss_is_one_look_at_redis_and_only_the_first_is_a_strangers() -> None:
    world = crowd()
    for _ in range(2):
        await world.orchestrator.recommend(ask(use_cache=False))
    assert len(world.redis.looks) == 2
    assert world.redis.strangers == [1]


async def test_what_a_reply_leaves_behind_comes_in_the_next_turn_of_the_loop() -> None:
    done: list[str] = []
    after_reply(lambda: done.append("remembered"))
    assert not done
    await asyncio.sleep(0)
    assert done


async def test_what_fails_after_a_reply_is_counted_and_the_reply_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    world = crowd()
    monkeypatch.setattr(world.impressions, "offer", lambda impression, features: 1 / 0)
    before = REGISTRY.get_sample_value(*UNFORESEEN) or 0
    slate = await world.orchestrator.recommend(ask())
    assert (slate.total_count, slate.degraded) == (20, ())
    assert REGISTRY.get_sample_value(*UNFORESEEN) == before + 1


async def test_a_slate_is_remembered_without_features_that_could_not_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = crowd()
    monkeypatch.setattr("service.recommend.computation.served", lambda *_: 1 / 0)
    before = REGISTRY.get_sample_value(*UNFORESEEN) or 0
    slate = await world.orchestrator.recommend(ask())
    assert [one.slate_id for one in world.impressions.slates] == [slate.slate_id]
    assert world.impressions.features == []
    assert REGISTRY.get_sample_value(*UNFORESEEN) == before + 1


async def test_more_load_than_places_is_refused_at_once() -> None:
    world = crowd()
    world.sources["explore"] = slow_source(0.1)
    world.limiter = Limiter(1, 0, 1.0)
    orchestrator = world.build()
    first = asyncio.create_task(orchestrator.recommend(ask()))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await orchestrator.recommend(ask(algorithm_version="of my own making"))
    assert (await first).total_count == 20
    report = world.performance.report(60)
    assert (report.requests, report.errors, list(report.by_algorithm_version)) == (2, 1, ["v1"])


@pytest.mark.parametrize(
    ("request_", "relations", "words"),
    [
        (ask(filters=Filters(min_age=90)), Relations(), "filters"),
        (ask(), Relations(liked=frozenset(range(2, 41))), "already seen"),
        (ask(exclude_ids=frozenset(range(2, 41))), Relations(), "exclude_ids"),
        (ask(), Relations(blocked=frozenset(range(2, 41))), "Nobody is eligible"),
    ],
)
async def test_an_empty_list_says_why(request_: RecommendationRequest, relations: Relations, words: str) -> None:
    slate = await crowd(relations=relations).orchestrator.recommend(request_)
    assert slate.total_count == 0
    assert words in (slate.message or "")


async def test_a_short_list_says_how_many_there_are_and_why() -> None:
    slate = await crowd(n=4).orchestrator.recommend(ask())
    assert slate.total_count == 3
    assert (slate.message or "").startswith("Only 3 of 20: nobody else")


async def test_each_slate_leaves_one_impression_and_each_pool_its_features_once() -> None:
    world = crowd()
    for _ in range(2):
        slate = await world.orchestrator.recommend(ask(limit=5))
    shown = world.impressions.slates
    assert [one.cached for one in shown] == [False, True]
    assert shown[1].slate_id == slate.slate_id
    assert list(shown[0].candidate_ids) == ids(slate)
    assert len(world.impressions.features) == 1
    assert len(world.impressions.features[0].matrix) == 4 * 39 * len(world.impressions.features[0].names)


async def test_the_figures_count_requests_by_what_ranked_them() -> None:
    world = crowd()
    for name in ("v1", "v1", "heuristic"):
        await world.orchestrator.recommend(ask(algorithm_version=name))
    report = world.performance.report(60)
    assert (report.requests, report.cache_hit_rate) == (3, 0.3333)
    assert report.by_algorithm_version["v1"].requests == 2
    assert {"viewer", "pool", "retrieval", "ranking", "selection"} <= set(report.stages)


async def test_similar_people_leave_out_the_blocked_and_the_paused() -> None:
    world = crowd(n=6, relations=Relations(blocked=frozenset({3})))
    world.database.people[4] = person(4, status=Status.PAUSED)
    found = await world.orchestrator.similar(1, 20, Trail(), "r2")
    assert sorted(one.id for one in found.similar) == [2, 5, 6]
    assert all(0 <= one.similarity <= 1 for one in found.similar)
    assert (found.total_count, found.request_id) == (3, "r2")


async def test_similar_for_an_unknown_person_is_not_found() -> None:
    with pytest.raises(UnknownUser):
        await crowd().orchestrator.similar(99, 20, Trail())


def test_the_reply_encodes_to_the_fields_of_the_interface() -> None:
    slate = asyncio.run(crowd().orchestrator.recommend(ask()))
    body = msgspec.json.decode(msgspec.json.encode(slate))
    assert set(body) == {
        "recommendations", "total_count", "algorithm_version", "bundle_version", "experiment", "ordering",
        "generation_time_ms", "cached", "degraded", "message", "slate_id", "request_id",
    }  # fmt: skip
    assert set(body["recommendations"][0]) == {
        "id", "name", "age", "gender", "location", "bio", "interests", "match_score", "slot", "sources", "created_at",
        "last_active_at",
    }  # fmt: skip
