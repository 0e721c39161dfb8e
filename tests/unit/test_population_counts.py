"""The columns of counts say what the memory of relations says, whoever joins, leaves or is read anew."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Kind
from service.population.build import StandingPairs, build
from service.population.columns import COUNTS
from service.population.loader import counts_by_row
from service.population.population import Population
from service.population.standing import BLOCKED, LIKED, PASSED
from tests.population_people import person
from tests.relations_book import PEOPLE, Book, Event, assert_same, batches, columns_of, events, laws

whole_laws = settings(laws, max_examples=30)


def population_of(book: Book) -> Population:
    return build([person(one) for one in PEOPLE], book.pairs())


def told(population: Population, happened: list[Event]) -> None:
    population.apply_interactions(*columns_of(happened))


def assert_counts(population: Population, book: Book, people: Iterable[int] = PEOPLE) -> None:
    """Likes received, passes received, likes given, passes given, as the columns have them."""
    for who in people:
        row = np.array([population.row(who)], np.int64)
        pairs = [(book.counted(opinion), side) for side in (1, 0) for opinion in (LIKED, PASSED)]
        counted = [sum(pair[side] == who for pair in those) for those, side in pairs]
        assert [int(population.columns.take(name, row)[0]) for name in COUNTS] == counted


@whole_laws
@given(before=events, after=batches, gone=st.sampled_from(PEOPLE), later=batches)
def test_columns_of_counts_follow_events_and_erasures(
    before: list[Event], after: list[list[Event]], gone: int, later: list[list[Event]]
) -> None:
    book = Book()
    book.apply(before)
    population = population_of(book)
    for happened in after:
        book.apply(happened)
        told(population, happened)
    assert_counts(population, book)
    population.erase([gone])
    book.forget(gone)
    population.apply_profiles([person(gone, name="somebody new", incarnation=2)])
    assert_counts(population, book)
    for happened in later:
        book.apply(happened)
        told(population, happened)
    assert_counts(population, book)


def test_somebody_not_known_yet_brings_what_was_said_along() -> None:
    population = build([person(1)])
    told(population, [(2, 1, Kind.MESSAGE), (1, 2, Kind.MESSAGE), (3, 1, Kind.BLOCK)])
    population.apply_profiles([person(2), person(3)])
    row = np.array([population.row(2)], np.int64)
    assert [int(population.columns.take(name, row)[0]) for name in COUNTS] == [1, 0, 1, 0]
    assert population.relations(1).blocked == {3}


@pytest.mark.parametrize(("actor", "target"), [(1, 2), (2, 1)])
def test_who_registers_between_the_reading_of_people_and_that_of_interactions_is_known_on_both_sides(
    actor: int, target: int
) -> None:
    pairs = StandingPairs(np.full(2, actor), np.full(2, target), np.array([LIKED, BLOCKED], np.int8))
    population = build([person(1)], pairs)
    population.apply_profiles([person(2)])
    told(population, [(actor, target, Kind.LIKE), (actor, target, Kind.BLOCK)])
    book = Book()
    book.apply([(actor, target, Kind.LIKE), (actor, target, Kind.BLOCK)])
    assert_same(population.memory, book)
    assert_counts(population, book, (1, 2))


@whole_laws
@given(known=batches, read=events, later=batches)
def test_relations_read_anew_take_the_place_of_those_known(
    known: list[list[Event]], read: list[Event], later: list[list[Event]]
) -> None:
    population, book = population_of(Book()), Book()
    for happened in known:
        told(population, happened)
    book.apply(read)
    anew = book.pairs().memory(np.array(PEOPLE))
    population.replace_relations(anew, counts_by_row(anew, population, population.columns.n))
    assert_counts(population, book)
    for happened in later:
        book.apply(happened)
        told(population, happened)
    assert_counts(population, book)
    assert_same(population.memory, book)


def test_who_moved_or_joined_while_relations_were_read_anew_is_counted_all_the_same() -> None:
    book = Book()
    population = population_of(book)
    population.apply_profiles([person(3, name="moved before")])
    book.apply([(1, 2, Kind.LIKE), (3, 2, Kind.MESSAGE), (2, 3, Kind.PASS)])
    anew, n_rows = book.pairs().memory(np.array(PEOPLE)), population.columns.n
    population.apply_profiles([person(2, name="moved meanwhile"), person(9)])
    population.replace_relations(anew, counts_by_row(anew, population, n_rows))
    assert_counts(population, book, (*PEOPLE, 9))
