"""People who join, change, go and come back, on top of a base that does not change."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Status
from service.population import bits
from service.population.build import StandingPairs, build
from service.population.population import Population
from service.population.standing import LIKED
from tests.population_people import asking, encoder, person, profiles, tastes


def with_vectors(n: int = 4) -> Population:
    people = [person(one, bio=f"word{one} other") for one in range(1, n + 1)]
    return build(people, tastes=tastes(people))


def vector(population: Population, space: str, person_id: int) -> list[float]:
    assert population.tastes is not None
    return [float(part) for part in population.tastes.spaces[space].gather(population.rows(np.array([person_id])))[0]]


def mutual(population: Population, person_id: int) -> list[float]:
    return vector(population, "mutual", person_id)


def content(population: Population, person_id: int) -> list[float]:
    return vector(population, "content", person_id)


changes = st.lists(st.integers(1, 6).flatmap(lambda one: st.one_of(profiles(one), st.just(one))), max_size=25)


@settings(max_examples=150, deadline=None, database=None)
@given(changes=changes)
def test_population_is_what_was_put_last_and_not_erased(changes: list[object]) -> None:
    population = build([person(one) for one in (1, 2, 3)])
    expected = {one: person(one) for one in (1, 2, 3)}
    for change in changes:
        if isinstance(change, int):
            population.erase([change])
            expected.pop(change, None)
        else:
            population.apply_profiles([change])  # type: ignore[list-item]
            expected[change.id] = change  # type: ignore[attr-defined, assignment]
    ids = np.arange(0, 9)
    assert {one: population.profile(one) for one in range(9)} == {one: expected.get(one) for one in range(9)}
    assert sorted(population.ids().tolist()) == sorted(expected)
    assert population.n_people == len(expected)
    assert [row if row >= 0 else None for row in population.rows(ids).tolist()] == [population.row(one) for one in range(9)]
    shown = [*population.columns.base("id")[bits.unpack(population.shown, population.columns.n_base)].tolist()]
    shown += population.columns.added("id")[population.columns.added("shown")].tolist()
    assert sorted(shown) == sorted(one for one, profile in expected.items() if profile.status is Status.ACTIVE)


def test_profile_known_already_appends_nothing() -> None:
    population = with_vectors()
    population.apply_profiles([person(2, bio="word2 other")])
    assert population.n_overlay == 0


def test_changing_twice_takes_one_row() -> None:
    population = with_vectors()
    population.apply_profiles([person(2, bio="a"), person(2, bio="b"), person(2, bio="c")])
    assert population.n_overlay == 1


def test_changed_profile_keeps_tastes_and_gets_new_content() -> None:
    population = with_vectors()
    before = mutual(population, 2), content(population, 2)
    population.apply_profiles([person(2, bio="quite another")])
    assert mutual(population, 2) == before[0]
    assert content(population, 2) == encoder().encode(person(2, bio="quite another")).tolist() != before[1]


def test_newcomer_gets_predicted_tastes_and_is_found_at_once() -> None:
    population = with_vectors()
    newcomer = person(9, bio="word2")
    population.apply_profiles([newcomer])
    p, q = encoder().cold_vectors(encoder().encode(newcomer))
    assert mutual(population, 9) == [*q.tolist(), *p.tolist()]
    view = population.eligible(asking(person(1)))
    assert 9 in view.search("mutual", np.ones(8, np.float32), 10).ids


def test_somebody_new_under_an_erased_id_inherits_no_taste() -> None:
    population = with_vectors()
    before = mutual(population, 2)
    population.apply_profiles([person(2, bio="word2 other", incarnation=2)])
    assert mutual(population, 2) != before


def test_somebody_new_under_an_erased_id_inherits_no_relations() -> None:
    like = StandingPairs(np.array([1]), np.array([2]), np.array([LIKED], np.int8))
    population = build([person(1), person(2)], like)
    population.apply_profiles([person(2, incarnation=2)])
    assert population.relations(1).liked == population.relations(2).liked_by == frozenset()


def test_many_newcomers_outgrow_every_reserve() -> None:
    population = with_vectors()
    population.apply_profiles([person(one, interests=(f"i{one}",) * 2) for one in range(5, 3005)])
    assert population.n_people == 3004
    view = population.eligible(asking(person(1)))
    assert len(view.search("content", np.ones(8, np.float32), 5000).ids) == 3003


def test_view_made_before_a_change_still_answers() -> None:
    population = with_vectors()
    view = population.eligible(asking(person(1)))
    population.apply_profiles([person(one) for one in range(100, 3000)])
    population.erase([2])
    assert view.contains(np.array([2, 3, 100])).tolist() == [False, True, False]
    assert sorted(view.search("mutual", np.ones(8, np.float32), 9).ids.tolist()) == [2, 3, 4]
    assert len(view.column("age")) == view.n_eligible == 3


def test_status_change_hides_and_shows_again() -> None:
    population = with_vectors()
    paused = msgspec.structs.replace(person(2, bio="word2 other"), status=Status.PAUSED)
    found = []
    for profile in (paused, msgspec.structs.replace(paused, status=Status.ACTIVE)):
        population.apply_profiles([profile])
        found.append(2 in population.eligible(asking(person(1))).eligible_ids())
    assert found == [False, True]
