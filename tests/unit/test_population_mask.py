"""The mask for everyone at once decides as the rule for one pair does, base and overlay alike."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Filters, Profile, RecommendationRequest, Relations
from service.population.build import build
from service.recommend.eligibility import ineligible_reason
from tests.population_people import NOW, asking, crowds, filters, person

laws = settings(max_examples=300, deadline=None, database=None)


def reasons(people: list[Profile], relations: Relations, request: RecommendationRequest) -> dict[int, str | None]:
    return {one.id: ineligible_reason(people[0], one, relations, request, NOW) for one in people}


def agree(found: set[int], expected: dict[int, str | None]) -> None:
    assert found == {person_id for person_id, reason in expected.items() if reason is None}, expected


@laws
@given(people=crowds(), filters=filters, n_late=st.integers(0, 6))
def test_mask_is_the_rule_for_one_pair(people: list[Profile], filters: Filters, n_late: int) -> None:
    population = build(people[n_late:])
    population.apply_profiles(people[:n_late])
    mask = population.mask(people[0], filters, NOW.timestamp())
    expected = reasons(people, Relations(), RecommendationRequest(viewer_id=1, filters=filters))
    agree(set(population.columns["id"][mask].tolist()), expected)


@laws
@given(before=crowds(), after=crowds(), filters=filters)
def test_changed_people_are_judged_by_what_they_are_now(before: list[Profile], after: list[Profile], filters: Filters) -> None:
    population = build(before)
    population.apply_profiles(after)
    mask = population.mask(after[0], filters, NOW.timestamp())
    expected = reasons(after, Relations(), RecommendationRequest(viewer_id=1, filters=filters))
    agree(set(population.columns["id"][mask].tolist()), expected)


groups = st.frozensets(st.integers(1, 6), max_size=3)


@laws
@given(people=crowds(), relations=st.builds(Relations, *[groups] * 5), seen=st.booleans(), out=groups)
def test_view_leaves_out_what_relations_forbid(
    people: list[Profile], relations: Relations, seen: bool, out: frozenset[int]
) -> None:
    view = build(people).eligible(asking(people[0], relations, exclude_seen=seen, without=out))
    request = RecommendationRequest(viewer_id=1, exclude_seen=seen, exclude_ids=out)
    agree(set(view.eligible_ids().tolist()), reasons(people, relations, request))
    assert view.n_eligible == len(view.eligible_ids())


@pytest.mark.parametrize("km", [0.5, 25.0, 20_000.0])
def test_distance_limit_is_met_to_the_metre(km: float) -> None:
    from service.features.geography import distance_km

    here, there = person(1, latitude=0.0, longitude=0.0), person(2, latitude=0.0, longitude=km / 111.19508023353292)
    assert distance_km(0, 0, 0, there.longitude or 0) == pytest.approx(km, abs=1e-6)
    population = build([here, there])
    within = [population.mask(here, Filters(max_km=km + step), 0.0).any() for step in (-0.001, 0.001)]
    assert within == [False, True]


def test_nobody_is_within_kilometres_of_an_unknown_place() -> None:
    population = build([person(1), person(2, latitude=1.0, longitude=1.0)])
    assert not population.mask(person(1), Filters(max_km=20_000.0), 0.0).any()


def test_gender_that_nobody_has_yet_is_accepted_by_those_who_seek_anyone_only() -> None:
    population = build([person(2), person(3, seeks_genders=("man",))])
    assert population.eligible(asking(person(1, gender="new"))).eligible_ids().tolist() == [2]


def test_words_of_newcomers_are_found_by_filters() -> None:
    population = build([person(1)])
    population.apply_profiles([person(2, gender="Zx", location="Ulm", interests=("Knots",))])
    wanted: list[dict[str, Any]] = [{"genders": ("zx",)}, {"locations": ("ulm",)}, {"interests": ("knots", "other")}]
    for given_filter in wanted:
        assert population.eligible(asking(person(1), filters=Filters(**given_filter))).eligible_ids().tolist() == [2]


def test_last_active_exactly_at_the_limit_still_counts() -> None:
    population = build([person(2, last_active_at=NOW - timedelta(days=3))])
    found = [population.mask(person(1), Filters(active_within_days=days), NOW.timestamp()).sum() for days in (2, 3)]
    assert found == [0, 1]
