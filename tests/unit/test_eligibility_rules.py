"""Who may be shown to whom, pair by pair."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Filters, Profile, RecommendationRequest, Relations, Status
from service.recommend.eligibility import between_km, hidden_reason, ineligible_reason, left_out
from tests.fakes import NOW, person

PARIS = {"latitude": 48.8566, "longitude": 2.3522}
LYON = {"latitude": 45.7640, "longitude": 4.8357}


def reason(viewer: Profile, candidate: Profile, relations: Relations | None = None, **asked: Any) -> str | None:
    request = RecommendationRequest(**{"viewer_id": viewer.id, **asked})
    return ineligible_reason(viewer, candidate, relations or Relations(), request, NOW)


def test_two_people_without_preferences_are_shown_to_each_other() -> None:
    assert reason(person(1), person(2)) is None


def test_nobody_is_shown_to_oneself() -> None:
    assert reason(person(1), person(1)) == "self"


@pytest.mark.parametrize("status", [Status.PAUSED, Status.BANNED])
def test_only_the_active_are_shown(status: Status) -> None:
    assert reason(person(1), person(2, status=status)) == "inactive"


@pytest.mark.parametrize(
    ("relations", "word"),
    [
        (Relations(blocked=frozenset({2})), "blocked"),
        (Relations(passed_by=frozenset({2})), "passed_viewer"),
        (Relations(liked=frozenset({2})), "seen"),
        (Relations(passed=frozenset({2})), "seen"),
    ],
)
def test_interactions_keep_people_apart(relations: Relations, word: str) -> None:
    assert reason(person(1), person(2), relations) == word


def test_who_likes_the_viewer_is_shown() -> None:
    assert reason(person(1), person(2), Relations(liked_by=frozenset({2}))) is None


def test_those_seen_are_shown_on_request_but_never_the_hidden() -> None:
    seen, passed = Relations(liked=frozenset({2})), Relations(passed_by=frozenset({2}))
    assert reason(person(1), person(2), seen, exclude_seen=False) is None
    assert reason(person(1), person(2), passed, exclude_seen=False) == "passed_viewer"


def test_excluded_ids_are_left_out() -> None:
    assert reason(person(1), person(2), exclude_ids=frozenset({2})) == "excluded"


@pytest.mark.parametrize(
    ("seeker", "other"),
    [
        ({"seeks_genders": ("Female",)}, {"gender": "male"}),
        ({"seeks_min_age": 31}, {"age": 30}),
        ({"seeks_max_age": 29}, {"age": 30}),
        ({"seeks_max_km": 391, **PARIS}, LYON),
    ],
)
def test_each_must_be_what_the_other_seeks(seeker: dict[str, Any], other: dict[str, Any]) -> None:
    assert (reason(person(1, **seeker), person(2, **other)) or "").startswith("viewer_seeks")
    assert (reason(person(1, **other), person(2, **seeker)) or "").startswith("candidate_seeks")


@pytest.mark.parametrize(
    ("seeker", "other"),
    [
        ({"seeks_genders": ("Female",)}, {"gender": "FEMALE"}),
        ({"seeks_min_age": 30, "seeks_max_age": 30}, {"age": 30}),
        ({"seeks_max_km": 393, **PARIS}, LYON),
        ({"seeks_genders": ("female",), "seeks_min_age": 40, "seeks_max_km": 1, **PARIS}, {"age": None}),
    ],
)
def test_what_fits_or_is_unknown_passes_a_preference(seeker: dict[str, Any], other: dict[str, Any]) -> None:
    assert reason(person(1, **seeker), person(2, **other)) is None
    assert reason(person(1, **other), person(2, **seeker)) is None


@pytest.mark.parametrize(
    ("filters", "fitting", "failing"),
    [
        (Filters(min_age=30, max_age=31), {"age": 30}, {"age": 29}),
        (Filters(max_age=31), {"age": 31}, {"age": None}),
        (Filters(genders=("female",)), {"gender": "Female"}, {"gender": "male"}),
        (Filters(genders=("female",)), {"gender": "female"}, {}),
        (Filters(locations=("lyon",)), {"location": "Lyon"}, {"location": "Lyon 2"}),
        (Filters(locations=("lyon",)), {"location": "LYON"}, {}),
        (Filters(interests=("chess", "go")), {"interests": ("Go", "tea")}, {"interests": ("tea",)}),
        (Filters(max_km=400), LYON, {"latitude": 43.3, "longitude": 5.4}),
        (Filters(max_km=400), LYON, {}),
        (Filters(active_within_days=2), {"last_active_at": NOW - timedelta(days=2)}, {}),
        (
            Filters(active_within_days=2),
            {"last_active_at": NOW},
            {"last_active_at": NOW - timedelta(days=2, seconds=1)},
        ),
    ],
)
def test_filters_need_a_known_value_that_fits(filters: Filters, fitting: dict[str, Any], failing: dict[str, Any]) -> None:
    viewer = person(1, **PARIS)
    assert reason(viewer, person(2, **fitting), filters=filters) is None
    assert (reason(viewer, person(2, **failing), filters=filters) or "").startswith("filter_")


def test_distance_is_along_the_great_circle() -> None:
    assert between_km(person(1, **PARIS), person(2, **LYON)) == pytest.approx(391.5, abs=0.5)
    assert between_km(person(1), person(2, **LYON)) is None


few = st.frozensets(st.integers(1, 9))
relations_ = st.builds(Relations, liked=few, passed=few, liked_by=few, passed_by=few, blocked=few)


@given(st.integers(1, 9), relations_, few, st.booleans())
def test_the_set_of_those_left_out_is_that_of_the_rule_for_one(
    candidate_id: int, relations: Relations, excluded: frozenset[int], exclude_seen: bool
) -> None:
    request = RecommendationRequest(viewer_id=5, exclude_ids=excluded, exclude_seen=exclude_seen)
    hidden = hidden_reason(candidate_id, relations, request) is not None
    assert hidden == (candidate_id in left_out(relations, request))
