"""Features by hand on small people, and laws on any."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from service.domain import Profile
from service.features.assemble import Floats, assemble
from service.features.definitions import FEATURES
from service.population.build import StandingPairs, build
from service.population.standing import LIKED, MESSAGED, PASSED
from service.population.tastes import Tastes
from tests.population_people import NOW, person, tastes

NAMES = tuple(FEATURES)


def features(viewer: Profile, candidates: list[Profile], names: tuple[str, ...], **known: Any) -> Floats:
    population = build([viewer, *candidates], known.get("pairs"), known.get("tastes"))
    ids = np.array([one.id for one in candidates])
    columns = population.candidate_columns(ids, known.get("liked_by", ()))
    return assemble(population.viewer_view(viewer, NOW.timestamp()), columns, names)


def one(viewer: dict[str, Any], candidate: dict[str, Any], name: str) -> float:
    return float(features(person(1, **viewer), [person(2, **candidate)], (name,))[0, 0])


@pytest.mark.parametrize(
    ("name", "viewer", "candidate", "expected"),
    [
        ("shared_interests", {"interests": ("a", "B", "c")}, {"interests": ("b", "C", "d")}, 2),
        ("interest_jaccard", {"interests": ("a", "B", "c")}, {"interests": ("b", "C", "d")}, 0.5),
        ("interest_jaccard", {}, {}, 0),
        ("age_gap_years", {"age": 30}, {"age": 24}, 6),
        ("age_difference_years", {"age": 30}, {"age": 24}, -6),
        ("age_fit", {"seeks_min_age": 20, "seeks_max_age": 40}, {"age": 30}, 1),
        ("age_fit", {"seeks_min_age": 30, "seeks_max_age": 30}, {"age": 30}, 1),
        ("age_fit", {"seeks_min_age": 20, "seeks_max_age": 39}, {"age": 90}, 0),
        ("viewer_age_fit", {"age": 30}, {"seeks_min_age": 20, "seeks_max_age": 39}, 0.95),
        ("distance_km", {"latitude": 0, "longitude": 0}, {"latitude": 0, "longitude": 180}, 20015.1),
        ("same_location", {"location": "Paris"}, {"location": "PARIS"}, 1),
        ("same_location", {"location": "Paris"}, {"location": "Rome"}, 0),
        ("viewer_completeness", {"age": 30, "bio": "x", "gender": "y"}, {}, 0.5),
        ("candidate_completeness", {}, {"location": "z"}, 1 / 6),
        ("candidate_days_since_active", {}, {"last_active_at": NOW - timedelta(hours=36)}, 1.5),
        ("candidate_account_age_days", {}, {"created_at": NOW - timedelta(days=3)}, 3),
        ("candidate_account_age_days", {}, {"created_at": NOW + timedelta(days=3)}, 0),
    ],
)
def test_feature_is_what_its_definition_says(
    name: str, viewer: dict[str, Any], candidate: dict[str, Any], expected: float
) -> None:
    assert one(viewer, candidate, name) == pytest.approx(expected, rel=1e-5)


def test_unknown_becomes_the_default_of_the_definition() -> None:
    row = features(person(1), [person(2)], NAMES)[0]
    known = {"viewer_completeness", "candidate_completeness", "candidate_account_age_days"}
    for name, value in zip(NAMES, row, strict=True):
        if name not in known:
            np.testing.assert_equal(value, np.float32(FEATURES[name].default), err_msg=name)


def test_counts_come_from_what_stands() -> None:
    pairs = StandingPairs(np.array([1, 2, 2, 3]), np.array([2, 1, 3, 2]), np.array([LIKED, LIKED, PASSED, LIKED], np.int8))
    names = (
        "candidate_log_likes_received",
        "candidate_log_likes_given",
        "candidate_like_rate_given",
        "viewer_like_rate_received",
    )
    row = features(person(1), [person(2), person(3)], names, pairs=pairs)[0]
    np.testing.assert_allclose(row, [np.log(3), np.log(2), 2 / 4, 2 / 3], rtol=1e-6)


def test_messages_count_as_likes_where_no_opinion_stands() -> None:
    actors, targets = np.array([1, 3, 3, 2, 2]), np.array([2, 2, 2, 1, 1])
    pairs = StandingPairs(actors, targets, np.array([MESSAGED, MESSAGED, MESSAGED, MESSAGED, PASSED], np.int8))
    names = ("candidate_log_likes_received", "candidate_like_rate_given", "viewer_like_rate_given", "likes_viewer")
    row = features(person(1), [person(2), person(3)], names, pairs=pairs)[0]
    np.testing.assert_allclose(row, [np.log(3), 1 / 3, 2 / 3, 0], rtol=1e-6)


def test_likes_viewer_is_what_the_caller_says_stood_then() -> None:
    pairs = StandingPairs(np.array([2, 3]), np.array([1, 1]), np.array([LIKED, LIKED], np.int8))
    matrix = features(person(1), [person(2), person(3)], ("likes_viewer",), pairs=pairs, liked_by=(3,))
    assert matrix[:, 0].tolist() == [0, 1]


def test_affinities_are_products_of_the_two_directions() -> None:
    people = [person(1, bio="a"), person(2, bio="b")]
    known = tastes(people)
    items = known.spaces["mutual"].gather(np.array([0, 1]))
    forward, backward = known.p(items)[0] @ known.q(items)[1], known.p(items)[1] @ known.q(items)[0]
    names = ("forward_affinity", "backward_affinity", "mutual_affinity")
    row = features(people[0], [people[1]], names, tastes=known)[0]
    likes = [1 / (1 + np.exp(-float(value))) for value in (forward, backward)]
    np.testing.assert_allclose(row, [forward, backward, 2 / (1 / likes[0] + 1 / likes[1])], rtol=1e-5)


def test_absurd_affinities_stay_probabilities() -> None:
    people = [person(1), person(2)]
    absurd = np.array([[1e18] * 4 + [-1e18] * 4, [1e18] * 4 + [1e18] * 4], np.float32)
    known = Tastes.of(absurd, np.ones((2, 8), np.float32), None)
    value = features(people[0], [people[1]], ("mutual_affinity",), tastes=known)[0, 0]
    assert 0 <= value <= 1


def test_columns_are_those_asked_for_in_their_order() -> None:
    viewer, candidates = person(1, age=30), [person(2, age=20), person(3, age=50)]
    everything = features(viewer, candidates, NAMES)
    asked = NAMES[::-3]
    found = features(viewer, candidates, asked)
    np.testing.assert_array_equal(found, everything[:, [NAMES.index(name) for name in asked]])
    assert found.flags.c_contiguous
    assert found.dtype == np.float32


def test_each_candidate_is_computed_alone() -> None:
    rng = np.random.default_rng(4)
    words = [f"w{index}" for index in range(9)]
    people = [
        person(1 + i, age=int(18 + i), interests=tuple(rng.choice(words, i % 5).tolist()), latitude=1.0 * i, longitude=2.0)
        for i in range(30)
    ]
    together = features(people[0], people[1:], NAMES)
    alone = np.concatenate([features(people[0], [candidate], NAMES) for candidate in people[1:]])
    np.testing.assert_array_equal(together, alone)


def test_no_candidates_give_an_empty_matrix() -> None:
    assert features(person(1), [], NAMES).shape == (0, len(NAMES))


def test_unknown_feature_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no feature named charm"):
        features(person(1), [person(2)], ("distance_km", "charm"))
