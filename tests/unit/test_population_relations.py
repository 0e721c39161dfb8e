"""The memory of relations follows events, forgets the erased on both sides, and never a block."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Kind, Relations
from service.population.build import StandingPairs, build
from service.population.population import Population
from service.population.relations import BLOCKED, LIKED, MESSAGED, PASSED
from tests.population_people import person

PEOPLE = range(1, 6)
laws = settings(max_examples=200, deadline=None, database=None)
kinds = st.sampled_from(list(Kind))
events = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), kinds).filter(lambda e: e[0] != e[1]), max_size=40)


def population_of(book: "Book") -> Population:
    rows = [(*pair, standing) for pair, standing in book.opinions.items()] + [(*pair, BLOCKED) for pair in book.blocks]
    rows += [(*pair, MESSAGED) for pair in book.messages] * 2
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
        self.messages: set[tuple[int, int]] = set()

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
            case Kind.MESSAGE:
                self.messages.add(pair)
            case _:
                return

    def relations(self, who: int) -> tuple[set[int], ...]:
        given = {b: kind for (a, b), kind in self.opinions.items() if a == who}
        received = {a: kind for (a, b), kind in self.opinions.items() if b == who}
        blocked = {b for a, b in self.blocks if a == who} | {a for a, b in self.blocks if b == who}
        parts = [{other for other, kind in side.items() if kind == of} for side in (given, received) for of in (LIKED, PASSED)]
        return (*parts, blocked)

    def counts(self, who: int) -> list[int]:
        """Likes given and received, passes given and received."""
        liked = {pair for pair, kind in self.opinions.items() if kind == LIKED} | (self.messages - self.opinions.keys())
        passed = {pair for pair, kind in self.opinions.items() if kind == PASSED}
        return [sum(pair[side] == who for pair in pairs) for pairs in (liked, passed) for side in (0, 1)]

    def forget(self, gone: int) -> None:
        self.opinions = {pair: kind for pair, kind in self.opinions.items() if gone not in pair}
        self.blocks = {pair for pair in self.blocks if gone not in pair}
        self.messages = {pair for pair in self.messages if gone not in pair}


def parts(relations: Relations) -> tuple[frozenset[int], ...]:
    return (relations.liked, relations.passed, relations.liked_by, relations.passed_by, relations.blocked)


def assert_same(population: Population, book: Book, people: range = PEOPLE) -> None:
    for who in people:
        assert parts(population.relations(who)) == book.relations(who)
        row = population.row(who)
        names = ("n_likes_given", "n_likes_received", "n_passes_given", "n_passes_received")
        assert [int(population.columns[name][row]) for name in names] == book.counts(who)


@laws
@given(before=events, after=events)
def test_relations_and_counts_follow_events_on_top_of_a_base(
    before: list[tuple[int, int, Kind]], after: list[tuple[int, int, Kind]]
) -> None:
    book = Book()
    for event in before:
        book.apply(*event)
    population = population_of(book)
    assert_same(population, book)
    for event in after:
        book.apply(*event)
        happen(population, event)
    assert_same(population, book)


@laws
@given(after=events)
def test_applying_events_again_in_order_changes_nothing(after: list[tuple[int, int, Kind]]) -> None:
    once, twice, book = population_of(Book()), population_of(Book()), Book()
    for event in after:
        book.apply(*event)
        happen(once, event)
    for event in after + after:
        happen(twice, event)
    assert_same(once, book)
    assert_same(twice, book)


@laws
@given(before=events, after=events, gone=st.sampled_from(PEOPLE), later=events)
def test_erased_person_leaves_nothing_behind(
    before: list[tuple[int, int, Kind]], after: list[tuple[int, int, Kind]], gone: int, later: list[tuple[int, int, Kind]]
) -> None:
    book = Book()
    for event in before:
        book.apply(*event)
    population = population_of(book)
    for event in after:
        book.apply(*event)
        happen(population, event)
    population.erase([gone])
    book.forget(gone)
    population.apply_profiles([person(gone, name="somebody new", incarnation=2)])
    assert_same(population, book)
    for event in later:
        book.apply(*event)
        happen(population, event)
    assert_same(population, book)


def test_message_counts_as_a_like_until_an_opinion_stands_and_hides_nobody() -> None:
    population = population_of(Book())
    counts = []
    for kind in (Kind.MESSAGE, Kind.MESSAGE, Kind.LIKE, Kind.PASS, Kind.UNPASS):
        happen(population, (1, 2, kind))
        counts.append([int(population.columns[name][1]) for name in ("n_likes_received", "n_passes_received")])
    assert counts == [[1, 0], [1, 0], [1, 0], [0, 1], [1, 0]]
    assert parts(population.relations(2)) == parts(population.relations(1)) == parts(Relations())


def test_a_hundred_messages_of_a_pair_are_held_once() -> None:
    actors, targets = np.full(100, 1), np.full(100, 2)
    population = build([person(1), person(2)], StandingPairs(actors, targets, np.full(100, MESSAGED, np.int8)))
    assert len(population.memory.given.ids) == len(population.memory.received.ids) == 1


def test_somebody_not_known_yet_brings_the_messages_along() -> None:
    population = build([person(1)])
    population.apply_interactions([2, 1], [1, 2], [Kind.MESSAGE, Kind.MESSAGE])
    population.apply_profiles([person(2)])
    assert [population.columns[name][population.row(2)] for name in ("n_likes_given", "n_likes_received")] == [1, 1]


def test_message_to_somebody_new_under_an_erased_id_counts_anew() -> None:
    population = population_of(Book())
    happen(population, (1, 2, Kind.MESSAGE))
    population.erase([2])
    population.apply_profiles([person(2, incarnation=2)])
    happen(population, (1, 2, Kind.MESSAGE))
    assert population.columns["n_likes_received"][population.row(2)] == 1


def test_unknown_person_stands_to_nobody() -> None:
    assert parts(build([]).relations(9)) == parts(Relations())


def test_block_of_somebody_not_known_yet_is_remembered() -> None:
    population = build([person(1)])
    population.apply_interactions([2], [1], [Kind.BLOCK])
    population.apply_profiles([person(2)])
    assert population.relations(1).blocked == {2}
    assert population.relations(2).blocked == {1}
