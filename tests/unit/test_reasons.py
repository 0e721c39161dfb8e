"""Contributions and facts in words."""

from datetime import timedelta
from typing import Any

import pytest

from service.features.definitions import FEATURES
from service.recommend.reasons import MOST, SILENT, TELLING, Pair, reasons
from tests.fakes import NOW, person

BERLIN, POTSDAM = (52.52, 13.405), (52.4, 13.06)


def pair(candidate: dict[str, Any] | None = None, viewer: dict[str, Any] | None = None, **facts: Any) -> Pair:
    facts.setdefault("values", {})
    return Pair(viewer=person(1, **viewer or {}), candidate=person(400, **candidate or {}), now=NOW, **facts)


def at(place: tuple[float, float]) -> dict[str, float]:
    return {"latitude": place[0], "longitude": place[1]}


def met(**sides: Any) -> Pair:
    """Two people with something in common of nearly every kind."""
    common = {"interests": ("Hiking", "jazz"), "location": "Berlin", **at(BERLIN)}
    candidate = common | {"last_active_at": NOW, "bio": "Here"} | sides.pop("candidate", {})
    return pair(candidate, common | sides.pop("viewer", {}), n_liked_by=30, n_likes=30, n_viewer_likes=30, **sides)


def test_every_feature_is_put_into_words_or_is_silent_on_purpose() -> None:
    assert set(FEATURES) == TELLING | SILENT
    assert not TELLING & SILENT


def test_the_strongest_reasons_come_first_and_there_are_three_at_most() -> None:
    added = {"distance_km": 0.2, "shared_interests": 0.4, "candidate_days_since_active": 0.3, "age_gap_years": 0.1}
    assert reasons(added, met()) == ("shares Hiking and jazz", "active in the last day", "lives less than 1 km away")


def test_what_counts_against_somebody_is_never_told() -> None:
    assert reasons(dict.fromkeys(FEATURES, -1.0), met()) == ()


def test_what_hardly_counts_is_no_reason() -> None:
    assert reasons({"shared_interests": 0.04, "distance_km": 0.06}, met()) == ("lives less than 1 km away",)


def test_features_of_one_theme_count_together() -> None:
    added = {"shared_interests": 2.0, "interest_jaccard": -1.9, "distance_km": 0.2}
    assert reasons(added, met()) == ("lives less than 1 km away", "shares Hiking and jazz")


def test_a_feature_that_counts_against_somebody_does_not_speak_for_its_theme() -> None:
    place_unknown = {"latitude": None, "longitude": None}
    assert reasons({"distance_km": 0.5, "same_location": -0.1}, met(candidate=place_unknown)) == ()


@pytest.mark.parametrize("name", sorted(SILENT))
def test_private_acts_and_what_people_seek_are_never_told(name: str) -> None:
    assert reasons({name: 9.0}, met()) == ()


@pytest.mark.parametrize("name", sorted(TELLING))
def test_no_reason_is_invented_for_people_of_whom_nothing_is_known(name: str) -> None:
    unknown: dict[str, Any] = {"age": None, "created_at": NOW - timedelta(days=900)}
    assert reasons({name: 9.0}, pair(unknown, unknown)) == ()


@pytest.mark.parametrize("name", sorted(TELLING))
def test_every_telling_feature_has_its_words(name: str) -> None:
    values = {"mutual_affinity": 0.9, "content_similarity": 0.9}
    told = met(values=values, candidate={"created_at": NOW}, viewer={"seeks_min_age": 20, "seeks_max_age": 40})
    assert len(reasons({name: 9.0}, told)) == 1


def test_a_reason_whose_facts_do_not_hold_leaves_its_place_to_the_next() -> None:
    added = {"shared_interests": 3.0, "candidate_days_since_active": 2.0, "distance_km": 1.0, "age_gap_years": 0.5}
    told = reasons(added, met(candidate={"interests": ("chess",)}))
    assert told == ("active in the last day", "lives less than 1 km away", "is about your age")
    assert len(told) == MOST


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (("JAZZ",), "shares JAZZ"),
        (("jazz", "chess", "hiking", "Jazz"), "shares jazz and hiking"),
        (("tea", "jazz", "hiking"), "shares tea, jazz and 1 more interest"),
        (("tea", "jazz", "hiking", "l" * 90), "shares tea, jazz and 2 more interests"),
        (("l" * 90,), None),
        (("chess",), None),
    ],
)
def test_shared_interests_are_named_as_the_candidate_writes_them(theirs: tuple[str, ...], said: str | None) -> None:
    two = pair({"interests": theirs}, {"interests": ("Hiking", "jazz", "tea", "L" * 90)})
    assert reasons({"shared_interests": 1.0}, two) == ((said,) if said else ())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (POTSDAM, ("lives 25 km away",)),
        ((52.55, 13.42), ("lives 3 km away",)),
        ((51.34, 12.37), ()),
        ((None, None), ()),
    ],
)
def test_distance_is_told_near_by_and_roundly(place: Any, said: tuple[str, ...]) -> None:
    assert reasons({"distance_km": 1.0}, pair(at(place), at(BERLIN))) == said


@pytest.mark.parametrize(
    ("hours", "said"), [(1, ("active in the last day",)), (30, ("active in the last week",)), (170, ()), (None, ())]
)
def test_activity_is_told_while_it_is_recent(hours: int | None, said: tuple[str, ...]) -> None:
    seen = None if hours is None else NOW - timedelta(hours=hours)
    assert reasons({"candidate_days_since_active": 1.0}, pair({"last_active_at": seen})) == said


def test_likes_are_told_of_many_people_only() -> None:
    taste = {"forward_affinity": 1.0}, {"backward_affinity": 1.0}, {"candidate_log_likes_received": 1.0}
    few, many = pair(n_liked_by=4, n_likes=4, n_viewer_likes=4), pair(n_liked_by=20, n_likes=5)
    assert [reasons(added, few) for added in taste] == [(), (), ()]
    assert [reasons(added, many) for added in taste] == [
        ("people like you liked them",), ("liked people like you",), ("liked by many people",)
    ]  # fmt: skip


def test_whom_hardly_anybody_likes_yet_may_resemble_people_the_viewer_liked() -> None:
    assert reasons({"forward_affinity": 1.0}, pair(n_liked_by=1, n_viewer_likes=5)) == ("resembles people you liked",)


@pytest.mark.parametrize(("candidate_age", "said"), [(33, "is about your age"), (38, "is of an age you look for"), (50, None)])
def test_age_is_a_reason_where_it_is_near_or_sought(candidate_age: int, said: str | None) -> None:
    two = pair({"age": candidate_age}, {"age": 30, "seeks_min_age": 20, "seeks_max_age": 40})
    assert reasons({"age_gap_years": 0.5, "age_fit": 0.4}, two) == ((said,) if said else ())
