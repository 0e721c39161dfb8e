"""Where a candidate left, on fakes."""

from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import Degradation, Filters, RecommendationRequest, Relations, Status
from service.errors import Unavailable, UnknownUser
from service.recommend.messages import INELIGIBLE
from service.recommend.why import Contribution, WhyReply
from tests.fakes import FakeRanker, FakeSource, World, loaded, person

NEEDS = ("shared_interests", "likes_viewer")


class Explainer(FakeRanker):
    def contributions(self, batch: Any) -> Any:
        return np.column_stack((np.full(len(batch.features), -0.25), batch.column("likes_viewer"))).astype(np.float32)


def crowd(n: int = 40, relations: Relations | None = None, **sources: FakeSource) -> World:
    return World((person(one) for one in range(1, n + 1)), relations, **sources)


async def ask(world: World, candidate_id: int, **changes: Any) -> WhyReply:
    request = RecommendationRequest(**{"viewer_id": 1, "limit": 5, "request_id": "r1", **changes})
    return await world.why.ask(request, candidate_id)


async def test_somebody_shown_has_a_place_a_rank_a_score_and_sources() -> None:
    why = await ask(crowd(), 39)
    assert (why.left_at, why.position, why.slot, why.rank, why.pool_size) == (None, 2, "ranked", 2, 39)
    assert (why.match_score, why.sources, why.algorithm_version, why.bundle_version) == (0.975, ("explore",), "v1", "b1")
    assert why.message == "Shown at position 2 of 5: rank 2 of 39 in the pool."
    assert why.request_id == "r1"


async def test_somebody_too_far_down_leaves_at_the_selection() -> None:
    why = await ask(crowd(), 30)
    assert (why.left_at, why.position, why.rank) == ("selection", None, 11)
    assert why.message == "Rank 11 of 39 in the pool: 5 others are shown."


async def test_an_unknown_candidate_says_so() -> None:
    why = await ask(crowd(), 99)
    assert (why.left_at, why.rule, why.match_score) == ("unknown", None, None)


@pytest.mark.parametrize(
    ("relations", "changes", "rule"),
    [
        (Relations(blocked=frozenset({7})), {}, "blocked"),
        (Relations(passed_by=frozenset({7})), {}, "passed_viewer"),
        (Relations(liked=frozenset({7})), {}, "seen"),
        (Relations(), {"exclude_ids": frozenset({7})}, "excluded"),
        (Relations(), {"filters": Filters(min_age=31)}, "filter_age"),
    ],
)
async def test_a_broken_rule_is_named(relations: Relations, changes: dict[str, Any], rule: str) -> None:
    why = await ask(crowd(relations=relations), 7, **changes)
    assert (why.left_at, why.rule, why.message) == ("eligibility", rule, f"Not eligible: {INELIGIBLE[rule]}.")


async def test_a_pause_and_the_viewer_themselves_are_rules_too() -> None:
    world = crowd()
    await world.change(person(7, status=Status.PAUSED))
    assert [(await ask(world, one)).rule for one in (7, 1)] == ["inactive", "self"]


async def test_somebody_whom_memory_has_not_heard_of_leaves_there() -> None:
    world = crowd()
    await world.change(person(77))
    assert (await ask(world, 77)).left_at == "population"


async def test_somebody_whom_no_source_finds_leaves_at_retrieval_with_the_score_they_would_have() -> None:
    world = crowd(few=FakeSource(lambda people, query: people.search("mutual", None, 10)))
    why = await ask(world, 9)
    assert (why.left_at, why.sources, why.rank) == ("retrieval", (), None)
    assert (why.match_score, why.pool_size) == (0.9, 10)


async def test_somebody_beyond_the_end_of_a_full_pool_is_found_and_left_out() -> None:
    world = crowd(510)
    world.sources = {f"s{i}": FakeSource(finder(i)) for i in range(4)}
    world.build()
    why = await ask(world, 5)
    assert (why.left_at, why.sources, why.source_ranks, why.pool_size) == ("pool", ("s3",), {"s3": 200}, 500)
    assert "full" in why.message


def finder(i: int) -> Any:
    """Of four sources the i-th: a window of 200, overlapping with others' so that all together find a few more than 500."""

    def find(people: Any, query: Any) -> Any:
        found = people.search("mutual", None, 600)
        window = slice(min(103 * i, 306), min(103 * i, 306) + 200)
        return type(found)(found.ids[window], found.scores[window])

    return find


async def test_somebody_found_now_and_not_in_an_older_pool_says_so() -> None:
    world = crowd()
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, limit=5))
    world.memory.people[50] = world.database.people[50] = person(50)
    why = await ask(world, 50)
    assert (why.left_at, why.cached, why.source_ranks) == ("pool", True, {"explore": 1})
    assert why.message == "Found now, and not when the pool was made."


async def test_a_cached_pool_too_short_for_the_question_is_made_anew_as_for_a_request() -> None:
    world = crowd()
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, limit=5))
    world.memory.people[50] = world.database.people[50] = person(50)
    why = await ask(world, 50, limit=100)
    assert (why.left_at, why.cached, why.position) == (None, False, 1)


async def test_sources_that_draw_are_asked_once_more_with_the_lots_of_the_pool() -> None:
    seeds = []

    def draw(people: Any, query: Any) -> Any:
        seeds.append(query.seed)
        return people.search("mutual", None, 10)

    await ask(crowd(drawing=FakeSource(draw)), 9)
    assert (len(seeds), len(set(seeds))) == (2, 1)


async def test_a_cached_pool_is_looked_at_and_nothing_is_stored_or_remembered() -> None:
    world = crowd()
    assert (await ask(world, 39)).cached is False
    assert (world.redis.pools, world.impressions.slates) == ({}, [])
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, limit=5))
    assert (await ask(world, 39)).cached is True
    assert len(world.impressions.slates) == 1


async def test_contributions_are_told_with_their_values_private_ones_too() -> None:
    world = crowd()
    world.rankers["v1"] = msgspec.structs.replace(loaded("v1", Explainer()), required_features=NEEDS)
    why = await ask(world, 39)
    assert why.contributions == (Contribution("likes_viewer", 39.0, 39.0), Contribution("shared_interests", 39.0, -0.25))
    assert (why.explained, why.reasons) == (True, ())


async def test_a_ranker_that_cannot_explain_leaves_the_rest_of_the_answer() -> None:
    why = await ask(crowd(), 39)
    assert (why.explained, why.contributions, why.degraded) == (False, (), ())


async def test_one_that_explains_badly_is_named() -> None:
    class Bad(FakeRanker):
        def contributions(self, batch: Any) -> Any:
            raise ValueError("Alice is 28")

    world = crowd()
    world.rankers["v1"] = loaded("v1", Bad())
    why = await ask(world, 39)
    assert (why.explained, why.degraded) == (False, (Degradation("explain", "exception", None),))
    assert why.position == 2


async def test_an_unknown_viewer_is_refused_and_one_who_cannot_be_known_now_is_put_off() -> None:
    world = crowd()
    with pytest.raises(UnknownUser):
        await ask(world, 2, viewer_id=99)
    world.database.down = True
    with pytest.raises(Unavailable):
        await ask(world, 2, viewer_id=99)
