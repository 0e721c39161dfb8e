"""Tastes follow what was said since the bundle: the viewer's at the next question, a newcomer's in the overlay soon after."""

import numpy as np

from service.domain import Kind, Relations
from service.population.build import StandingPairs, build
from service.population.foldin import FoldIn, Weights
from service.population.population import Population
from service.population.standing import LIKED
from service.population.tastes import Floats, Tastes
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


def items(people: Population, ids: list[int]) -> Floats:
    assert people.tastes is not None
    return people.tastes.spaces["mutual"].gather(people.rows(np.array(ids)))


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


def test_taste_is_the_step_from_what_the_profile_tells_over_likes_and_passes() -> None:
    people, viewer = population(), person(99, bio="word3")
    assert people.tastes is not None
    assert people.tastes.fold_in is not None
    p, q = encoder().cold_vectors(encoder().encode(viewer))
    said = Relations(liked=frozenset({1, 2}), passed=frozenset({4}), liked_by=frozenset({5}), passed_by=frozenset({6, 9}))
    folded = people.tastes.fold_in.p(items(people, [1, 2])[:, :4], items(people, [4])[:, :4], p)
    liked = people.tastes.fold_in.q(items(people, [5])[:, 4:], items(people, [6, 9])[:, 4:], q)
    np.testing.assert_allclose(asked(people, 99, said), np.concatenate((folded, liked)), atol=1e-5)


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


def told(people: Population, pairs: list[tuple[int, int]], kind: Kind = Kind.LIKE) -> None:
    actors, targets = np.array(pairs).T
    people.apply_interactions(actors, targets, np.full(len(pairs), CODES[kind], np.int8))


def with_newcomers() -> Population:
    """People 21 to 26, who are still to be folded in, and 3, who has changed the profile; 26 is silent, 25 heard of by name."""
    people = population(StandingPairs(np.array([3]), np.array([4]), np.array([LIKED], np.int8)))
    people.apply_profiles([person(one, bio=f"word{one % 5}") for one in range(21, 27)])
    people.apply_profiles([person(3, bio="another")])
    told(people, [(21, 1), (21, 2), (22, 5), (3, 9), (6, 23), (7, 23), (8, 3), (24, 20), (25, 1234)])
    told(people, [(21, 4), (22, 6), (9, 21), (3, 11)], Kind.PASS)
    return people


def test_people_folded_in_together_become_what_one_by_one_they_become() -> None:
    ids = [21, 22, 23, 24, 25, 26, 3]
    together, alone = with_newcomers(), with_newcomers()
    before = items(alone, ids)
    assert not together.fold_in(100)
    while alone.fold_in(1):
        pass
    assert np.abs(items(together, ids) - items(alone, ids)).max() < 1e-5
    assert (np.abs(items(together, ids) - before).max(axis=1) > 1e-3).tolist() == [True, True, True, True, False, False, True]


def test_who_has_waited_longest_is_folded_in_first() -> None:
    people = population()
    people.apply_profiles([person(one, bio="word3") for one in (90, 40, 70, 50, 60)])
    told(people, [(50, 1), (40, 2), (60, 3), (90, 4), (70, 5)])
    learnt = []
    for more in (True, True, False):
        before = items(people, [90, 40, 70, 50, 60])
        assert people.fold_in(2) is more
        learnt.append((items(people, [90, 40, 70, 50, 60]) != before).any(axis=1).tolist())
    assert [[one for one, is_new in zip((90, 40, 70, 50, 60), turn, strict=True) if is_new] for turn in learnt] == [
        [90, 40],
        [70, 50],
        [60],
    ]


def test_who_is_erased_while_waiting_holds_up_nobody() -> None:
    people = population()
    people.apply_profiles([person(98, bio="word3"), person(99, bio="word3")])
    told(people, [(98, 1), (99, 1)])
    people.erase([98])
    before = items(people, [99])
    assert not people.fold_in(1)
    assert (items(people, [99]) != before).any()


def test_somebody_new_under_an_erased_id_starts_from_their_own_profile() -> None:
    people = population()
    newcomer = person(2, bio="word9", incarnation=2)
    people.apply_profiles([newcomer])
    p, q = encoder().cold_vectors(encoder().encode(newcomer))
    assert asked(people, 2, Relations()) == [*p.tolist(), *q.tolist()]
