"""The memory of relations follows events, forgets the erased on both sides, and never a block."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Kind, Relations
from service.population.build import StandingPairs, build
from service.population.population import Population
from service.population.relations import BLOCKED, LIKED, PASSED
from tests.population_people import person

PEOPLE = range(1, 6)
laws = settings(max_examples=200, deadline=None, database=None)
kinds = st.sampled_from(list(Kind))
events = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), kinds).filter(lambda e: e[0] != e[1]), max_size=40)


def population_of(pairs: dict[tuple[int, int], int], blocks: set[tuple[int, int]]) -> Population:
    rows = [(*pair, standing) for pair, standing in pairs.items()] + [(*pair, BLOCKED) for pair in blocks]
    actors, targets, standing = (np.array([row[index] for row in rows], np.int64) for index in range(3))
    return build([person(one) for one in PEOPLE], StandingPairs(actors, targets, standing.astype(np.int8)))


def happen(population: Population, event: tuple[int, int, Kind]) -> None:
    actor, target, kind = event
    population.apply_interactions([actor], [target], [kind])


class Book:
    """The same rules, written the plain way."""

    def __init__(self) -> None:
        self.opinions: dict[tuple[int, int], int] = {}
        self.blocks: set[tuple[int, int]] = set()

    def apply(self, actor: int, target: int, kind: Kind) -> None:
        pair = (actor, target)
        match kind:
            case Kind.LIKE:
                self.opinions[pair] = LIKED
            case Kind.PASS | Kind.UNMATCH:
                self.opinions[pair] = PASSED
            case Kind.UNLIKE | Kind.UNPASS:
                self.opinions.pop(pair, None)
            case Kind.BLOCK:
                self.blocks.add(pair)
            case Kind.UNBLOCK:
                self.blocks.discard(pair)
            case _:
                return

    def relations(self, who: int) -> tuple[set[int], ...]:
        given = {b: kind for (a, b), kind in self.opinions.items() if a == who}
        received = {a: kind for (a, b), kind in self.opinions.items() if b == who}
        blocked = {b for a, b in self.blocks if a == who} | {a for a, b in self.blocks if b == who}
        parts = [{other for other, kind in side.items() if kind == of} for side in (given, received) for of in (LIKED, PASSED)]
        return (*parts, blocked)


def parts(relations: Relations) -> tuple[frozenset[int], ...]:
    return (relations.liked, relations.passed, relations.liked_by, relations.passed_by, relations.blocked)


def assert_same(population: Population, book: Book, people: range = PEOPLE) -> None:
    for who in people:
        assert parts(population.relations(who)) == book.relations(who)
        liked, passed, liked_by, passed_by, _ = book.relations(who)
        row = population.row(who)
        names = ("n_likes_given", "n_passes_given", "n_likes_received", "n_passes_received")
        counts = [int(population.columns[name][row]) for name in names]
        assert counts == [len(liked), len(passed), len(liked_by), len(passed_by)]


@laws
@given(before=events, after=events)
def test_relations_and_counts_follow_events_on_top_of_a_base(
    before: list[tuple[int, int, Kind]], after: list[tuple[int, int, Kind]]
) -> None:
    book = Book()
    for event in before:
        book.apply(*event)
    population = population_of(book.opinions, book.blocks)
    assert_same(population, book)
    for event in after:
        book.apply(*event)
        happen(population, event)
    assert_same(population, book)


@laws
@given(after=events)
def test_applying_events_again_in_order_changes_nothing(after: list[tuple[int, int, Kind]]) -> None:
    once, twice, book = population_of({}, set()), population_of({}, set()), Book()
    for event in after:
        book.apply(*event)
        happen(once, event)
    for event in after + after:
        happen(twice, event)
    assert_same(once, book)
    assert_same(twice, book)


@laws
@given(before=events, after=events, gone=st.sampled_from(PEOPLE))
def test_erased_person_leaves_nothing_behind(
    before: list[tuple[int, int, Kind]], after: list[tuple[int, int, Kind]], gone: int
) -> None:
    book = Book()
    for event in before:
        book.apply(*event)
    population = population_of(book.opinions, book.blocks)
    for event in after:
        book.apply(*event)
        happen(population, event)
    population.erase([gone])
    book.opinions = {pair: kind for pair, kind in book.opinions.items() if gone not in pair}
    book.blocks = {pair for pair in book.blocks if gone not in pair}
    population.apply_profiles([person(gone, name="somebody new", incarnation=2)])
    assert_same(population, book)


def test_unknown_person_stands_to_nobody() -> None:
    assert parts(build([]).relations(9)) == parts(Relations())


def test_block_of_somebody_not_known_yet_is_remembered() -> None:
    population = build([person(1)])
    population.apply_interactions([2], [1], [Kind.BLOCK])
    population.apply_profiles([person(2)])
    assert population.relations(1).blocked == {2}
    assert population.relations(2).blocked == {1}
