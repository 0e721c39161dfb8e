"""Answers that are there already: served from one look at Redis, for as long as all that they were made of stands."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from service.domain import ExperimentArm, Filters, RecommendationRequest, Relations, Status
from service.domain_experiments import Arm, Experiment
from service.errors import UnknownAlgorithm
from service.experiments.routing import Router
from service.metrics import REGISTRY
from service.recommend import orchestrator
from tests.fakes import NOW, FakeSource, World, person


def crowd(n: int = 40) -> World:
    """Everybody has a history that is long enough for pools to outlast a like."""
    return World((person(one) for one in range(1, n + 1)), Relations(liked=frozenset(range(2, 14))))


def ask(**changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": 1, "request_id": "r1", "limit": 5, **changes})


async def warm(world: World, request: RecommendationRequest) -> None:
    for _ in range(2):
        await world.orchestrator.recommend(request)


async def test_the_first_request_is_not_ready_and_those_after_it_are() -> None:
    world = crowd()
    assert await world.orchestrator.ready(ask()) is None
    await world.orchestrator.recommend(ask())
    ready = await world.orchestrator.ready(ask())
    assert ready is not None
    assert (ready.n_shown, ready.algorithm_version) == (5, "v1")


async def test_what_is_ready_is_what_the_long_way_answers_but_for_times_and_ids() -> None:
    world = crowd()
    await warm(world, ask())
    ready = await world.orchestrator.ready(ask(request_id="r2"))
    assert ready is not None
    slate = await world.orchestrator.recommend(ask(request_id="r2"))
    unlike = {"generation_time_ms": ready.generation_time_ms, "slate_id": msgspec.json.decode(ready.body)["slate_id"]}
    expected = msgspec.structs.replace(slate, **{**unlike, "slate_id": UUID(unlike["slate_id"])})
    assert ready.body == msgspec.json.encode(expected)


async def test_a_hit_is_one_look_at_redis_for_tokens_alone_and_none_at_the_database() -> None:
    world = crowd()
    await warm(world, ask())
    world.redis.looks.clear()
    world.database.reads.clear()
    assert await world.orchestrator.ready(ask())
    assert (world.redis.looks, world.database.reads) == ([()], [])


async def test_without_a_held_slate_redis_is_not_even_asked() -> None:
    world = crowd()
    await world.orchestrator.ready(ask())
    assert world.redis.looks == []


async def test_the_words_of_questions_that_are_never_ready_are_not_remembered() -> None:
    world, long = crowd(), Filters(interests=("x" * 100_000,))
    before = orchestrator._held_digest.cache_info().currsize
    await world.orchestrator.recommend(ask(filters=long))
    assert orchestrator._held_digest.cache_info().currsize == before


async def test_a_hit_is_counted_and_remembered_as_any_answer() -> None:
    world = crowd()
    await warm(world, ask())
    labels = {"algorithm_version": "v1", "cached": "true", "degraded": "false"}
    before = REGISTRY.get_sample_value("amity_recommendations_total", labels) or 0
    await world.orchestrator.ready(ask())
    assert REGISTRY.get_sample_value("amity_recommendations_total", labels) == before + 1
    report = world.performance.report(60)
    assert (report.requests, report.cache_hit_rate) == (3, 0.6667)
    assert "pool" in report.stages
    last, shown = world.impressions.slates[-1], world.impressions.slates[-2]
    assert (last.cached, last.people.candidate_ids, last.pool_id) == (True, shown.people.candidate_ids, shown.pool_id)
    assert last.slate_id != shown.slate_id


async def test_every_hit_of_a_slate_remembers_the_same_people() -> None:
    world = crowd()
    await warm(world, ask())
    await world.orchestrator.ready(ask())
    await world.orchestrator.ready(ask())
    assert world.impressions.slates[-1].people is world.impressions.slates[-2].people


Event = Callable[[World], Awaitable[Any] | Any]

ENDING: dict[str, Event] = {
    "a like": lambda world: world.relate(Relations(liked=frozenset(range(2, 15))), 14),
    "a block": lambda world: world.relate(Relations(blocked=frozenset({40})), 40),
    "a pass of the viewer": lambda world: world.relate(Relations(passed_by=frozenset({40})), 40),
    "the viewer's profile": lambda world: world.change(person(1, seeks_min_age=29)),
    "a bio": lambda world: world.change(person(39, bio="new")),
    "a pause": lambda world: world.change(person(39, status=Status.PAUSED)),
    "an erasure": lambda world: world.erase(38),
    "a refresh": lambda world: world.orchestrator.refresh([1]),
    "a refresh of all": lambda world: world.orchestrator.refresh(None),
    "news that lapsed": lambda world: world.first.lost(),
    "news that is not live": lambda world: setattr(world, "news_live", False),
    "Redis away": lambda world: setattr(world.redis, "away", True),
    "time": lambda world: setattr(world.clock, "elapsed_s", 661.0),
    "another bundle": lambda world: setattr(world.memory, "bundle_version", "b2"),
    "the feed": lambda world: world.viewers.drop([1]),
}


@pytest.mark.parametrize("what", ENDING)
async def test_a_slate_is_not_ready_any_more_after(what: str) -> None:
    world = crowd()
    await warm(world, ask())
    assert await world.orchestrator.ready(ask())
    happening = ENDING[what](world)
    if happening is not None:
        await happening
    assert await world.orchestrator.ready(ask()) is None


KEEPING: dict[str, Event] = {
    "a bio of somebody who is not shown": lambda world: world.change(person(20, bio="new")),
    "an erasure of somebody unrelated": lambda world: world.erase(20),
    "a like between others": lambda world: world.redis.changed([30, 31]),
    "a refresh of somebody else": lambda world: world.orchestrator.refresh([2]),
    "the database away": lambda world: setattr(world.database, "down", True),
    "half its life": lambda world: setattr(world.clock, "elapsed_s", 300.0),
}


@pytest.mark.parametrize("what", KEEPING)
async def test_a_slate_is_ready_still_after(what: str) -> None:
    world = crowd()
    await warm(world, ask())
    happening = KEEPING[what](world)
    if happening is not None:
        await happening
    assert await world.orchestrator.ready(ask())


@pytest.mark.parametrize(
    "changes",
    [
        {"exclude_ids": frozenset({40})},
        {"use_cache": False},
        {"recorded": False},
        {"filters": Filters(active_within_days=9000)},
        {"limit": 6},
    ],
)
async def test_only_the_same_question_is_answered(changes: dict[str, Any]) -> None:
    world = crowd()
    await warm(world, ask())
    assert await world.orchestrator.ready(ask(**changes)) is None


async def test_a_ranker_that_is_not_there_is_refused_as_the_long_way_does() -> None:
    world = crowd()
    await warm(world, ask())
    with pytest.raises(UnknownAlgorithm):
        await world.orchestrator.ready(ask(algorithm_version="v9"))


def trial(version: str, **changes: Any) -> Experiment:
    """Everybody is in it, in one or the other arm of one and the same ranker."""
    arms = tuple(Arm(name=name, algorithm_version=version) for name in ("control", "treatment"))
    given: dict[str, Any] = {"name": "trial", "salt": "trial", "traffic": 1.0, "arms": arms, "created_at": NOW, "started_at": NOW}
    return Experiment(**given | {"status": "running", "buckets": ((0, 10_000),)} | changes)


async def test_a_slate_of_another_arm_is_not_ready_and_the_arms_own_is() -> None:
    world = crowd()
    await warm(world, ask())
    world.router = Router("v1", [trial("v1")])
    assert await world.orchestrator.ready(ask()) is None
    await warm(world, ask())
    ready = await world.orchestrator.ready(ask())
    assert ready is not None
    assert msgspec.json.decode(ready.body)["experiment"] == {"name": "trial", "arm": "treatment"}
    assert world.impressions.slates[-1].experiment == ExperimentArm("trial", "treatment")
    world.router = Router("v1")
    assert await world.orchestrator.ready(ask()) is None


async def test_a_look_that_nobody_is_shown_takes_no_held_slate_away() -> None:
    world = crowd()
    world.router = Router("v1", [trial("v1")])
    await warm(world, ask())
    assert await world.orchestrator.ready(ask())
    looked_at = await world.orchestrator.recommend(ask(algorithm_version="v1", recorded=False))
    assert (looked_at.cached, looked_at.experiment) == (True, None)
    assert await world.orchestrator.ready(ask())


async def test_a_slate_that_is_to_be_interleaved_is_not_ready() -> None:
    world = crowd()
    await warm(world, ask())
    world.router = Router("v1", [trial("v1", design="interleaving")])
    assert await world.orchestrator.ready(ask()) is None


@pytest.mark.parametrize(
    "request_",
    [ask(limit=100), ask(exclude_ids=frozenset({40})), ask(filters=Filters(active_within_days=9000))],
    ids=["short", "exclude_ids", "active_within_days"],
)
async def test_what_may_not_last_is_not_held(request_: RecommendationRequest) -> None:
    world = World(person(one, last_active_at=NOW) for one in range(1, 41))
    await warm(world, request_)
    assert await world.orchestrator.ready(request_) is None


async def test_a_slate_that_a_failed_source_had_no_part_in_is_not_held() -> None:
    world = crowd()
    world.sources = {"explore": FakeSource(), "broken": FakeSource(lambda people, query: 1 / 0)}
    world.orchestrator = world.build()
    assert (await world.orchestrator.recommend(ask())).degraded
    assert await world.orchestrator.ready(ask()) is None


async def test_a_slate_from_memory_is_not_held() -> None:
    world = crowd()
    world.database.down = True
    await warm(world, ask())
    world.database.down = False
    assert await world.orchestrator.ready(ask()) is None


async def test_who_is_shown_from_memory_takes_no_slate_away_from_others() -> None:
    world = crowd()
    world.orchestrator = world.build(fragments_bytes=5 * 1500)  # for one slate's people
    await warm(world, ask())
    await world.orchestrator.recommend(ask(viewer_id=2, limit=20))  # of whom only the last few are held now
    world.database.down = True
    assert await world.orchestrator.ready(ask())
    await world.orchestrator.recommend(ask(viewer_id=2, limit=20))
    assert await world.orchestrator.ready(ask())


async def test_without_redis_nothing_is_held() -> None:
    world = crowd()
    world.redis.away = True
    await warm(world, ask())
    world.redis.away = False
    assert await world.orchestrator.ready(ask()) is None


async def test_a_slate_from_before_a_write_that_was_heard_meanwhile_is_not_held() -> None:
    """The request was at work with a state that the feed contradicted before it ended."""
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.first.lost()
    fill, database = world.viewers.state, world.database

    async def state(*given: Any) -> Any:
        found = await fill(*given)
        database.known_relations = Relations(blocked=frozenset({40}))
        world.viewers.drop([1])
        return found

    world.viewers.state = state  # type: ignore[method-assign, assignment]
    await world.orchestrator.recommend(ask())
    assert await world.orchestrator.ready(ask()) is None


async def test_a_slate_whose_people_changed_while_it_was_made_is_not_ready() -> None:
    world = crowd()
    await world.orchestrator.recommend(ask())
    world.first.lost()
    many, database = world.database.many, world.database

    async def read(ids: Any, /) -> Any:
        found = await many(ids)
        database.people[39] = person(39, bio="new")
        world.first.changed([39])
        return found

    world.database.many = read  # type: ignore[method-assign]
    await world.orchestrator.recommend(ask())
    assert await world.orchestrator.ready(ask()) is None


async def test_likes_of_somebody_with_a_long_history_make_the_slate_stale_ten_seconds_after_its_pool_was_made() -> None:
    world = crowd()
    await warm(world, ask())
    await world.relate(Relations(liked=frozenset(range(2, 16))), 15)
    world.clock.elapsed_s = 9.0
    await world.orchestrator.recommend(ask())
    assert await world.orchestrator.ready(ask())
    world.clock.elapsed_s = 11.0
    assert await world.orchestrator.ready(ask()) is None
