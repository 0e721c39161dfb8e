"""Whatever a pool holds, nobody is shown who may not be."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Filters, Profile, RecommendationRequest, Relations, Status
from service.recommend.eligibility import ineligible_reason
from service.recommend.fragments import Fragment, fragment_of
from service.recommend.pools import Pool
from service.recommend.slates import Shown, Viewing, fill
from service.recommend.viewers import ViewerState
from tests.fakes import NOW, FakeSource, World, person

GENDERS = [None, "a", "b"]
few = st.frozensets(st.integers(1, 30), max_size=12)
relations_ = st.builds(Relations, liked=few, passed=few, liked_by=few, passed_by=few, blocked=few)
attributes = st.fixed_dictionaries(
    {
        "age": st.sampled_from([None, 20, 30, 40]),
        "gender": st.sampled_from(GENDERS),
        "status": st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.PAUSED, Status.BANNED]),
        "seeks_genders": st.sampled_from([(), ("a",), ("b",)]),
        "seeks_min_age": st.sampled_from([None, 25]),
        "seeks_max_age": st.sampled_from([None, 35]),
    }
)
people_ = st.lists(attributes, min_size=30, max_size=30).map(
    lambda drawn: [person(i, **values) for i, values in enumerate(drawn, 1)]
)
filters_ = st.builds(Filters, min_age=st.sampled_from([None, 25]), genders=st.sampled_from([(), ("a",)]))


def pool_of(ids: Sequence[int]) -> Pool:
    n = len(ids)
    return Pool(
        pool_id=UUID(int=7),
        algorithm_version="v1",
        bundle_version=None,
        source_names=("explore",),
        ids=np.array(ids, "<i8").tobytes(),
        scores=np.linspace(1, 0, n, dtype="<f4").tobytes(),
        found_by=np.ones(n, "<u8").tobytes(),
        viewer_digest=0,
        opinions=0,
        generations=("", ""),
        created_at_s=0.0,
    )


def shown_from(pool: Pool, viewing: Viewing, people: dict[int, Profile], share: float) -> list[Shown]:
    async def read(ids: Sequence[int]) -> dict[int, Fragment]:
        return {one: fragment_of(people[one]) for one in ids if one in people}

    return asyncio.run(fill(pool, viewing, share, read))


@given(people_, relations_, filters_, few, st.booleans(), few, st.integers(1, 20), st.sampled_from([0.0, 0.3]))
@settings(max_examples=150, deadline=None)
def test_from_a_stale_pool_exactly_the_eligible_who_still_exist_are_shown(
    people: list[Profile], relations: Relations, filters: Filters, excluded: frozenset[int], exclude_seen: bool,
    erased: frozenset[int], limit: int, share: float,
) -> None:  # fmt: skip
    viewer, now = people[0], {one.id: one for one in people if one.id not in erased}
    request = RecommendationRequest(viewer_id=1, limit=limit, filters=filters, exclude_ids=excluded, exclude_seen=exclude_seen)
    shown = shown_from(pool_of(range(30, 0, -1)), Viewing(request, ViewerState.of(viewer, relations), NOW), now, share)
    fine = {one for one in now if ineligible_reason(viewer, now[one], relations, request, NOW) is None}
    ids = [one.person.id for one in shown]
    assert set(ids) <= fine
    assert len(ids) == len(set(ids)) == min(limit, len(fine))


@given(people_, relations_, relations_, st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_no_answer_shows_anyone_ineligible_though_everything_in_memory_is_stale(
    people: list[Profile], remembered: Relations, relations: Relations, limit: int
) -> None:
    async def answers() -> list[int]:
        world = World((person(one.id) for one in people), remembered)
        world.database.people = {one.id: one for one in people}
        world.database.known_relations = relations
        request = RecommendationRequest(viewer_id=1, limit=limit)
        twice = [await world.orchestrator.recommend(request) for _ in range(2)]
        world.door.close()
        return [one.id for slate in twice for one in slate.recommendations]

    request = RecommendationRequest(viewer_id=1, limit=limit)
    for one in asyncio.run(answers()):
        assert ineligible_reason(people[0], people[one - 1], relations, request, NOW) is None


async def test_ids_that_a_source_invents_do_not_leak() -> None:
    def find(people: Any, query: Any) -> Any:
        found = people.search("mutual", None, 3)
        return type(found)(np.array([1, 999, 2, 3]), found.scores)

    world = World([person(1), person(2), person(3, status=Status.PAUSED)], explore=FakeSource(find))
    slate = await world.orchestrator.recommend(RecommendationRequest(viewer_id=1))
    assert [one.id for one in slate.recommendations] == [2]


def test_a_slate_from_which_nobody_drops_out_is_one_read_of_its_people() -> None:
    reads: list[int] = []

    async def read(ids: Sequence[int]) -> dict[int, Fragment]:
        reads.append(len(ids))
        return {one: fragment_of(person(one)) for one in ids}

    viewing = Viewing(RecommendationRequest(viewer_id=1000, limit=20), ViewerState.of(person(1000), Relations()), NOW)
    assert len(asyncio.run(fill(pool_of(range(1, 501)), viewing, 0.1, read))) == 20
    assert reads == [20]


def test_a_pool_nobody_of_which_may_be_shown_costs_few_reads() -> None:
    reads = 0

    async def read(ids: Sequence[int]) -> dict[int, Fragment]:
        nonlocal reads
        reads += 1
        return {}

    request = RecommendationRequest(viewer_id=1000, limit=20)
    viewing = Viewing(request, ViewerState.of(person(1000), Relations()), NOW)
    assert asyncio.run(fill(pool_of(range(1, 501)), viewing, 0.1, read)) == []
    assert reads <= 7
