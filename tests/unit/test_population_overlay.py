"""People who join, change, go and come back, on top of a base that does not change."""

from datetime import timedelta

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Kind, Profile, Status
from service.population import bits
from service.population.build import StandingPairs, build
from service.population.columns import COUNTS
from service.population.directory import Directory
from service.population.population import Population
from service.population.standing import LIKED
from service.repositories.columns import CODES
from tests.population_people import NOW, asking, encoder, person, profiles, tastes


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


def counts(population: Population, ids: list[int]) -> list[list[int]]:
    return [population.columns.take(name, population.rows(np.array(ids))).tolist() for name in COUNTS]


rebirths = st.sampled_from([1, 1, 1, 2])
batches = st.lists(st.integers(1, 6).flatmap(lambda one: st.builds(msgspec.structs.replace, profiles(one), incarnation=rebirths)))


@settings(max_examples=150, deadline=None, database=None)
@given(before=batches, together=batches)
def test_many_at_once_become_what_one_by_one_they_become(before: list[Profile], together: list[Profile]) -> None:
    likes = StandingPairs(np.array([1, 2, 5, 2]), np.array([2, 3, 1, 6]), np.full(4, LIKED, np.int8))
    at_once, alone = (build([person(one) for one in (1, 2, 3)], likes, tastes([person(one) for one in (1, 2, 3)])) for _ in "ab")
    for population in (at_once, alone):
        population.apply_interactions(np.array([5]), np.array([2]), np.full(1, CODES[Kind.LIKE], np.int8))
        population.apply_profiles(before)
    at_once.apply_profiles(together)
    for profile in {profile.id: profile for profile in together}.values():
        alone.apply_profiles([profile])
    ids = sorted(alone.ids().tolist())
    assert sorted(at_once.ids().tolist()) == ids
    assert [at_once.profile(one) for one in ids] == [alone.profile(one) for one in ids]
    assert counts(at_once, ids) == counts(alone, ids)
    for vector_of in (mutual, content):  # to rounding: on some processors BLAS sums two rows in another order than one
        found, expected = ([vector_of(population, one) for one in ids] for population in (at_once, alone))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert at_once.n_overlay == alone.n_overlay


def test_who_was_only_active_again_keeps_the_row() -> None:
    population = with_vectors()
    seen = [
        person(one, bio=f"word{one} other", last_active_at=when) for one, when in ((2, NOW), (3, None), (4, NOW - timedelta(1)))
    ]
    population.apply_profiles(seen)
    assert population.n_overlay == 0
    assert [population.profile(one) for one in (2, 3, 4)] == seen


def test_rows_of_thousands_are_those_of_each() -> None:
    directory = Directory(np.arange(0, 9_000, 3), np.arange(3_000)[::-1])
    directory.put(np.array([7, 9_003, 6, 9]), np.array([3_000, 3_001, 3_002, 3_003]))
    directory.put(np.array([7, 12]), np.array([3_004, 3_005]))
    for gone in (9, 15):
        directory.forget(gone)
    ids = np.random.default_rng(0).permutation(9_010)
    rows = {one: row if row >= 0 else None for one, row in zip(ids.tolist(), directory.rows(ids).tolist(), strict=True)}
    assert rows == {one: directory.row(one) for one in range(9_010)}
    known = (6, 7, 9, 12, 15, 18, 8_997, 9_003, 8)
    assert [rows[one] for one in known] == [3_002, 3_004, None, 3_005, None, 2_993, 0, 3_001, None]
    some = [directory.rows(np.array(known[:n])).tolist() for n in range(len(known) + 1)]
    assert some[-1] == [3_002, 3_004, -1, 3_005, -1, 2_993, 0, 3_001, -1]
    assert some == [some[-1][:n] for n in range(len(known) + 1)]
    assert directory.n_people == len(directory.ids()) == 3_000


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


def test_a_thousand_edits_of_one_person_leave_no_trail_of_old_interests() -> None:
    population = with_vectors()
    for number in range(1000):
        population.apply_profiles([person(2, bio=f"b{number}", interests=(f"i{number % 7}", "all"))])
    codes, starts, lengths = population.columns.interests_of(population.rows(np.array([2])))
    assert codes[starts[0] : starts[0] + lengths[0]].tolist() == sorted(population.words.interests.codes(("all", "i5")).tolist())
    assert len(population.columns._said[1]) < 200
