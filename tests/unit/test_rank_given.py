"""The caller's candidates, on fakes."""

from typing import Any

import numpy as np
import pytest

from service.domain import Degradation, Relations, Status
from service.errors import Overloaded, Unavailable, UnknownAlgorithm, UnknownUser
from service.recommend.rank_given import Given, RankedCandidates
from service.resilience import Limiter
from tests.fakes import FakeRanker, World, loaded, person


def crowd(relations: Relations | None = None, **changed: Any) -> World:
    """People 1 to 20; `p3=dict(age=50)` changes the third."""
    return World((person(one, **changed.get(f"p{one}", {})) for one in range(1, 21)), relations)


async def rank(world: World, *candidate_ids: int, **changes: Any) -> RankedCandidates:
    return await world.rank_given.rank(Given(**{"viewer_id": 1, "candidate_ids": candidate_ids, **changes}))


def ineligible(answer: RankedCandidates) -> dict[int, str]:
    return {one.id: one.reason for one in answer.ineligible}


async def test_candidates_are_ranked_by_score_each_once() -> None:
    answer = await rank(crowd(), 3, 9, 3, 5, request_id="r1")
    assert [one.id for one in answer.ranked] == [9, 5, 3]
    assert [one.match_score for one in answer.ranked] == [0.9, 0.8333, 0.75]
    assert (answer.total_count, answer.algorithm_version, answer.bundle_version, answer.request_id) == (3, "v1", "b1", "r1")
    assert (answer.ineligible, answer.degraded) == ((), ())


async def test_who_may_not_be_ranked_is_listed_with_the_reason() -> None:
    world = crowd(p1={"seeks_max_age": 40}, p4={"age": 41})
    answer = await rank(world, 99, 1, 4, 5)
    assert ineligible(answer) == {99: "unknown", 1: "self", 4: "not_sought"}
    assert [one.id for one in answer.ranked] == [5]


@pytest.mark.parametrize(
    ("relations", "candidate"),
    [
        (Relations(blocked=frozenset({4})), {}),
        (Relations(passed_by=frozenset({4})), {}),
        (Relations(), {"status": Status.PAUSED}),
        (Relations(), {"status": Status.BANNED}),
        (Relations(), {"seeks_min_age": 60}),
    ],
)
async def test_a_block_cannot_be_told_from_other_reasons_that_are_the_candidates(relations: Relations, candidate: Any) -> None:
    assert ineligible(await rank(crowd(relations, p4=candidate), 4)) == {4: "not_available"}


async def test_whether_somebody_unsought_has_blocked_the_viewer_makes_no_difference() -> None:
    sought: dict[str, Any] = {"p1": {"seeks_max_age": 40}, "p4": {"age": 41}}
    plain, blocked = crowd(**sought), crowd(Relations(blocked=frozenset({4})), **sought)
    assert ineligible(await rank(plain, 4)) == ineligible(await rank(blocked, 4)) == {4: "not_sought"}


async def test_whom_the_viewer_has_liked_or_passed_is_ranked_when_asked_for() -> None:
    seen = Relations(liked=frozenset({4}), passed=frozenset({5}))
    assert [one.id for one in (await rank(crowd(seen), 4, 5)).ranked] == [5, 4]


async def test_a_named_ranker_ranks_and_an_unknown_one_is_refused() -> None:
    assert (await rank(crowd(), 2, algorithm_version="heuristic")).algorithm_version == "heuristic"
    with pytest.raises(UnknownAlgorithm):
        await rank(crowd(), 2, algorithm_version="v9")


async def test_a_ranker_that_fails_is_replaced_by_the_fallback() -> None:
    world = crowd()
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan, np.float32)))
    answer = await rank(world, 2, 3)
    assert (answer.algorithm_version, answer.degraded) == ("heuristic", (Degradation("ranking", "nan", "heuristic"),))
    assert [one.id for one in answer.ranked] == [3, 2]


async def test_where_nothing_can_rank_candidates_keep_the_callers_order() -> None:
    world = crowd()
    world.rankers = {name: loaded(name, None) for name in world.rankers}
    answer = await rank(world, 7, 2, 9)
    assert [(one.id, one.match_score) for one in answer.ranked] == [(7, 0), (2, 0), (9, 0)]
    assert answer.algorithm_version == "retrieval_order"


async def test_nobody_eligible_is_an_empty_ranking_and_no_failure() -> None:
    answer = await rank(crowd(), 1, 99)
    assert (answer.ranked, answer.total_count, answer.degraded) == ((), 0, ())


async def test_with_the_database_away_memory_answers_and_says_so() -> None:
    world = crowd()
    world.database.down = True
    answer = await rank(world, 2, 3)
    assert [one.id for one in answer.ranked] == [3, 2]
    assert {bent.stage for bent in answer.degraded} == {"viewer", "relations", "profiles"}


async def test_an_unknown_viewer_is_refused_and_one_who_cannot_be_known_now_is_put_off() -> None:
    world = crowd()
    with pytest.raises(UnknownUser):
        await rank(world, 2, viewer_id=99)
    world.database.down = True
    with pytest.raises(Unavailable):
        await rank(world, 2, viewer_id=99)


async def test_a_block_counts_in_the_next_ranking() -> None:
    world = crowd()
    assert (await rank(world, 2)).total_count == 1
    await world.relate(Relations(blocked=frozenset({2})), 2)
    assert ineligible(await rank(world, 2)) == {2: "not_available"}


async def test_beyond_capacity_it_is_refused_at_once() -> None:
    world = crowd()
    world.limiter = Limiter(1, 0, 1.0)
    world.build()
    async with world.limiter:
        with pytest.raises(Overloaded):
            await rank(world, 2)


async def test_nothing_is_remembered_as_shown() -> None:
    world = crowd()
    await rank(world, 2, 3)
    assert (world.impressions.slates, world.redis.pools) == ([], {})
