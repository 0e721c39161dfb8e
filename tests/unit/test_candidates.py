"""The five sources on a real population, with vectors and without."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from amity_rankers.contract import CandidateSource, SourceQuery

from service.candidates.admirers import Admirers
from service.candidates.explore import Explore
from service.candidates.mutual_taste import MutualTaste
from service.candidates.newcomers import Newcomers
from service.candidates.similar_people import SimilarPeople
from service.domain import Relations
from service.population.build import build
from service.population.view import PeopleView
from tests.population_people import NOW, asking, person, tastes

N = 60


def view(vectors: bool = True, relations: Relations = Relations()) -> PeopleView:  # noqa: B008 - frozen
    """Person i joined i days ago; odd ones share the viewer's words."""
    people = [
        person(one, bio="tea go" if one % 2 else f"x{one}", created_at=NOW - timedelta(days=one)) for one in range(1, N + 1)
    ]
    return build(people, tastes=tastes(people) if vectors else None).eligible(asking(people[0], relations))


def query(k: int, seed: int = 0) -> SourceQuery:
    return SourceQuery(k, NOW.timestamp(), seed)


def test_mutual_taste_finds_the_largest_sums_of_both_directions() -> None:
    people = view()
    ids = people.eligible_ids()
    both = people.features(ids, ("forward_affinity", "backward_affinity")).sum(axis=1)
    assert MutualTaste().find(people, query(5)).ids.tolist() == ids[np.argsort(-both)[:5]].tolist()


def test_similar_people_finds_those_who_say_the_same() -> None:
    assert (SimilarPeople().find(view(), query(20)).ids % 2 == 1).all()


@pytest.mark.parametrize("source", [MutualTaste(), SimilarPeople()])
def test_sources_that_need_vectors_find_nobody_without(source: CandidateSource) -> None:
    assert len(source.find(view(vectors=False), query(5)).ids) == 0


@pytest.mark.parametrize("vectors", [True, False])
def test_admirers_are_all_who_wait(vectors: bool) -> None:
    people = view(vectors, Relations(liked_by=frozenset({5, 9, 7}), liked=frozenset({9})))
    assert Admirers().find(people, query(9)).ids.tolist() == [5, 7]


def test_more_admirers_than_asked_for_take_turns() -> None:
    people = view(relations=Relations(liked_by=frozenset(range(2, 12))))
    drawn = Counter(one for seed in range(50) for one in Admirers().find(people, query(3, seed)).ids.tolist())
    assert set(drawn) == set(range(2, 12))


@pytest.mark.parametrize("vectors", [True, False])
def test_newcomers_come_newest_first_and_not_after_a_month(vectors: bool) -> None:
    assert Newcomers().find(view(vectors), query(3)).ids.tolist() == [2, 3, 4]
    everyone = Newcomers().find(view(vectors), query(N))
    assert everyone.ids.tolist() == list(range(2, 31))
    assert everyone.scores[-1] == pytest.approx(0, abs=1e-6)


def test_newcomers_of_one_moment_take_turns() -> None:
    people = build([person(one) for one in range(1, 30)]).eligible(asking(person(1)))
    drawn = {one for seed in range(40) for one in Newcomers().find(people, query(3, seed)).ids.tolist()}
    assert drawn == set(range(2, 30))


def test_explore_draws_everyone_equally_often() -> None:
    people = view(vectors=False)
    drawn = Counter(one for seed in range(400) for one in Explore().find(people, query(10, seed)).ids.tolist())
    expected = 400 * 10 / people.n_eligible
    assert set(drawn) == set(people.eligible_ids().tolist())
    # Five standard deviations of a binomial count: once in a million people.
    assert max(abs(count - expected) for count in drawn.values()) < 5 * np.sqrt(expected)


def test_explore_scores_are_the_propensity_of_the_draw() -> None:
    found = Explore().find(view(), query(10))
    np.testing.assert_allclose(found.scores, 10 / (N - 1), rtol=1e-6)
    assert len(set(found.ids.tolist())) == 10
    assert (Explore().find(view(), query(500)).scores == 1).all()


def test_one_seed_draws_the_same_people_in_whatever_order_replicas_heard_of_them() -> None:
    people = [person(one) for one in range(1, N + 1)]
    replicas = build(people[30:]), build(people[30:])
    replicas[0].apply_profiles(people[:30])
    replicas[1].apply_profiles(people[29::-1])
    for source in (Explore(), Newcomers()):
        found = [source.find(each.eligible(asking(people[0])), query(9, seed=3)).ids.tolist() for each in replicas]
        assert found[0] == found[1]


def test_everybody_is_drawn_as_often_whether_of_the_bundle_or_new() -> None:
    people = [person(one) for one in range(1, 61)]
    population = build(people[:40])
    population.apply_profiles(people[40:])
    asks = population.eligible(asking(people[0]))
    times = np.bincount(np.concatenate([asks.draw(10, seed) for seed in range(2000)]), minlength=61)[2:]
    assert times.sum() == 20_000
    assert abs(times - 20_000 / 59).max() < 5 * np.sqrt(20_000 / 59)


def test_newcomers_of_one_moment_take_turns_when_they_are_thousands() -> None:
    population = build([person(one) for one in range(1, 12_002)])
    asks = population.eligible(asking(person(1)))
    found = [asks.newest(50, 0.0, seed)[0] for seed in range(40)]
    assert {len(set(ids.tolist())) for ids in found} == {50}
    assert len(set(np.concatenate(found).tolist())) > 1_500


@pytest.mark.parametrize("source", [MutualTaste(), SimilarPeople(), Admirers(), Newcomers(), Explore()])
def test_nobody_eligible_is_nobody_found(source: CandidateSource) -> None:
    people = build([person(1)], tastes=tastes([person(1)])).eligible(asking(person(1)))
    assert len(source.find(people, query(10)).ids) == 0
