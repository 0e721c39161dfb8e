"""Tastes follow what was said since the bundle: the viewer's at the next question, a newcomer's in the overlay soon after."""

import numpy as np

from service.domain import Kind, Relations
from service.population.build import StandingPairs, build
from service.population.foldin import FoldIn, Weights
from service.population.population import Population
from service.population.standing import LIKED
from service.population.tastes import Tastes
from service.repositories.columns import CODES
from tests.population_people import asking, encoder, person

PEOPLE = [person(one, bio=f"word{one} other") for one in range(1, 21)]


def population(pairs: StandingPairs | None = None) -> Population:
    mutual = np.random.default_rng(0).standard_normal((len(PEOPLE), 8)).astype(np.float32)
    fold_in = FoldIn.of(mutual[:, 4:], mutual[:, :4], Weights(1.0, 20.0, 6.0))
    return build(PEOPLE, pairs, Tastes.of(mutual, encoder().encode_many(PEOPLE), encoder(), fold_in))


def asked(people: Population, viewer_id: int, relations: Relations) -> list[float]:
    viewer = people.profile(viewer_id) or person(viewer_id, bio="word3")
    vector = people.eligible(asking(viewer, relations)).viewer_vector("mutual")
    assert vector is not None
    return [float(part) for part in vector]


def affinity(people: Population, vector: list[float], other: int) -> float:
    assert people.tastes is not None
    item = people.tastes.spaces["mutual"].gather(people.rows(np.array([other])))[0]
    return float(np.array(vector[:4]) @ people.tastes.q(item))


def test_first_like_draws_a_newcomer_towards_whom_they_like() -> None:
    people = population()
    before, after = (asked(people, 99, Relations(liked=liked)) for liked in (frozenset(), frozenset({7})))
    assert affinity(people, after, 7) > affinity(people, before, 7)
    assert after[4:] == before[4:]


def test_being_liked_changes_how_somebody_is_liked_and_not_what_they_like() -> None:
    people = population()
    before, after = (asked(people, 99, Relations(liked_by=by)) for by in (frozenset(), frozenset({7})))
    assert after[:4] == before[:4]
    assert after[4:] != before[4:]


def test_what_the_bundle_learnt_from_counts_no_second_time() -> None:
    learnt = StandingPairs(np.array([1, 1]), np.array([2, 3]), np.full(2, LIKED, np.int8))
    people = population(learnt)
    assert people.tastes is not None
    trained = people.tastes.query(people.tastes.spaces["mutual"].gather(people.rows(np.array([1])))[0])
    assert asked(people, 1, Relations(liked=frozenset({2, 3}))) == trained.tolist()
    assert asked(people, 1, Relations(liked=frozenset({2, 3, 9}))) != trained.tolist()


def test_likes_of_people_without_vectors_teach_nothing() -> None:
    people = population()
    assert asked(people, 99, Relations(liked=frozenset({1234}))) == asked(people, 99, Relations())


def test_overlay_learns_what_the_feed_brings() -> None:
    people = population()
    people.apply_profiles([person(99, bio="word3")])
    assert not people.fold_in(10)
    before = asked(people, 5, Relations())
    likes = np.array([5, 6]), np.array([99, 99]), np.full(2, CODES[Kind.LIKE], np.int8)
    unmoved = affinity(people, before, 99)
    people.apply_interactions(*likes)
    assert not people.fold_in(10)
    assert affinity(people, before, 99) > unmoved


def test_somebody_new_under_an_erased_id_starts_from_their_own_profile() -> None:
    people = population()
    newcomer = person(2, bio="word9", incarnation=2)
    people.apply_profiles([newcomer])
    p, q = encoder().cold_vectors(encoder().encode(newcomer))
    assert asked(people, 2, Relations()) == [*p.tolist(), *q.tolist()]
