"""The memory of relations follows events, forgets the erased on both sides, and never a block."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain import Kind, Relations
from service.population import runs
from service.population.build import StandingPairs, build
from service.population.columns import COUNTS
from service.population.population import Population, counts
from service.population.relations import BLOCKED, LIKED, MESSAGED, PASSED, RelationMemory, compress
from service.repositories.columns import CODES
from tests.population_people import person

PEOPLE = range(1, 7)
IN_BASE = np.array([1, 2, 4, 5], np.int64)

Event = tuple[int, int, Kind]

laws = settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
events = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), st.sampled_from(list(Kind))).filter(lambda e: e[0] != e[1]),
    max_size=60,
)
whole_laws = settings(laws, max_examples=30)
batches = st.lists(events, max_size=6)


class Book:
    """The same rules, written the plain way."""

    def __init__(self) -> None:
        self.opinions: dict[tuple[int, int], int] = {}
        self.blocks: set[tuple[int, int]] = set()
        self.messages: set[tuple[int, int]] = set()

    def apply(self, happened: Iterable[Event]) -> None:
        for actor, target, kind in happened:
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

    def relations(self, who: int) -> tuple[set[int], ...]:
        given = {b: kind for (a, b), kind in self.opinions.items() if a == who}
        received = {a: kind for (a, b), kind in self.opinions.items() if b == who}
        blocked = {b for a, b in self.blocks if a == who} | {a for a, b in self.blocks if b == who}
        parts = [{other for other, kind in side.items() if kind == of} for side in (given, received) for of in (LIKED, PASSED)]
        return (*parts, blocked)

    def counted(self, opinion: int) -> set[tuple[int, int]]:
        pairs = {pair for pair, kind in self.opinions.items() if kind == opinion}
        return pairs | (self.messages - self.opinions.keys()) if opinion == LIKED else pairs

    def forget(self, gone: int) -> None:
        self.opinions = {pair: kind for pair, kind in self.opinions.items() if gone not in pair}
        self.blocks = {pair for pair in self.blocks if gone not in pair}
        self.messages = {pair for pair in self.messages if gone not in pair}


def memory_of(book: Book, ids: np.ndarray = IN_BASE) -> RelationMemory:
    rows = [(*pair, standing) for pair, standing in book.opinions.items()] + [(*pair, BLOCKED) for pair in book.blocks]
    rows += [(*pair, MESSAGED) for pair in book.messages] * 2
    rows = [row for row in rows if row[0] in ids and row[1] in ids]
    actors, targets, standing = (np.array([row[index] for row in rows], np.int64) for index in range(3))
    kinds = standing.astype(np.int8)
    return RelationMemory(ids, compress(ids, actors, targets, kinds), compress(ids, targets, actors, kinds))


def happen(memory: RelationMemory, happened: list[Event], tally: Counter[tuple[int, int, int]] | None = None) -> None:
    actors, targets = (np.array([event[index] for event in happened], np.int64) for index in range(2))
    moved = memory.apply(actors, targets, np.array([CODES[event[2]] for event in happened], np.int8))
    if tally is None:
        return
    for actor, target, before, after in zip(moved.actors, moved.targets, moved.before, moved.after, strict=True):
        tally[actor, target, before] -= 1
        tally[actor, target, after] += 1


def parts(relations: Relations) -> tuple[frozenset[int], ...]:
    return (relations.liked, relations.passed, relations.liked_by, relations.passed_by, relations.blocked)


def assert_same(memory: RelationMemory, book: Book) -> None:
    likes, passes = book.counted(LIKED), book.counted(PASSED)
    for who in PEOPLE:
        assert parts(memory.of(who)) == book.relations(who)
        counted = memory.counted(who)
        assert counted.liked == {b for a, b in likes if a == who}
        assert counted.liked_by == {a for a, b in likes if b == who}
        assert counted.passed == {b for a, b in passes if a == who}
        assert counted.passed_by == {a for a, b in passes if b == who}


def within_base(happened: list[Event]) -> list[Event]:
    return [event for event in happened if event[0] in IN_BASE and event[1] in IN_BASE]


@pytest.fixture(params=["merged at once", "merged by pieces"], autouse=True)
def merging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pieces of two entries a handful of events goes through all that a million go through."""
    if request.param == "merged by pieces":
        monkeypatch.setattr(runs, "_SMALL", 0)
        monkeypatch.setattr(runs, "_AT_ONCE", 2)
        monkeypatch.setattr(runs, "_STEPS", 1)


@laws
@given(before=events, after=batches)
def test_relations_and_counts_follow_events_on_top_of_a_base(
    merging: None, before: list[Event], after: list[list[Event]]
) -> None:
    book = Book()
    book.apply(within_base(before))
    memory = memory_of(book)
    counts = Counter({(*pair, opinion): 1 for opinion in (LIKED, PASSED) for pair in book.counted(opinion)})
    assert_same(memory, book)
    for happened in after:
        book.apply(happened)
        happen(memory, happened, counts)
        assert_same(memory, book)
    standing = {key: n for key, n in counts.items() if n and key[2]}
    assert standing == {(*pair, opinion): 1 for opinion in (LIKED, PASSED) for pair in book.counted(opinion)}


@laws
@given(happened=events)
def test_a_batch_comes_to_the_same_as_its_events_one_by_one(merging: None, happened: list[Event]) -> None:
    together, alone = memory_of(Book()), memory_of(Book())
    both: tuple[Counter[tuple[int, int, int]], ...] = (Counter(), Counter())
    happen(together, happened, both[0])
    for event in happened:
        happen(alone, [event], both[1])
    assert {key: n for key, n in both[0].items() if n and key[2]} == {key: n for key, n in both[1].items() if n and key[2]}
    for who in PEOPLE:
        assert parts(together.of(who)) == parts(alone.of(who))


@laws
@given(after=batches)
def test_applying_events_again_in_order_changes_nothing(merging: None, after: list[list[Event]]) -> None:
    memory, book = memory_of(Book()), Book()
    for happened in after + after:
        book.apply(happened)
        happen(memory, happened)
    assert_same(memory, book)
    book_once = Book()
    for happened in after:
        book_once.apply(happened)
    assert_same(memory, book_once)


@laws
@given(before=events, after=batches, gone=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3), later=batches)
def test_erased_person_leaves_nothing_behind(
    merging: None, before: list[Event], after: list[list[Event]], gone: list[int], later: list[list[Event]]
) -> None:
    book = Book()
    book.apply(within_base(before))
    memory = memory_of(book)
    for happened in after:
        book.apply(happened)
        happen(memory, happened)
    for person_id in gone:
        stood = memory.erase(person_id)
        assert stood.liked_by == {a for a, b in book.counted(LIKED) if b == person_id}
        book.forget(person_id)
    assert_same(memory, book)
    for happened in later:
        book.apply(happened)
        happen(memory, happened)
        assert_same(memory, book)


def test_message_counts_as_a_like_until_an_opinion_stands_and_hides_nobody() -> None:
    memory, counted = memory_of(Book()), []
    for kind in (Kind.MESSAGE, Kind.MESSAGE, Kind.LIKE, Kind.PASS, Kind.UNPASS):
        happen(memory, [(1, 2, kind)])
        counted.append((memory.counted(2).liked_by, memory.counted(2).passed_by))
    one, nobody = frozenset({1}), frozenset[int]()
    assert counted == [(one, nobody), (one, nobody), (one, nobody), (nobody, one), (one, nobody)]
    assert parts(memory.of(2)) == parts(memory.of(1)) == parts(Relations())


def test_a_hundred_messages_of_a_pair_are_held_once() -> None:
    actors, targets = np.full(100, 1), np.full(100, 2)
    memory = memory_of(Book())
    assert len(compress(IN_BASE, actors, targets, np.full(100, MESSAGED, np.int8)).ids) == 1
    happen(memory, [(1, 2, Kind.MESSAGE)] * 100)
    happen(memory, [(1, 2, Kind.MESSAGE)] * 100)
    assert memory.n_since == 1


@laws
@given(
    pairs=st.lists(st.tuples(st.sampled_from(IN_BASE.tolist()), st.integers(1, 4), st.integers(1, 4)), max_size=30),
    far=st.sampled_from([0, 2**40, 2**62]),
)
def test_relations_are_compressed_alike_whatever_the_size_of_ids(pairs: list[tuple[int, int, int]], far: int) -> None:
    owners, others, kinds = (np.array([pair[index] for pair in pairs], np.int64) for index in range(3))
    side = compress(IN_BASE, owners, others + far, kinds.astype(np.int8))
    found = [
        (int(owner), int(other) - far, int(kind))
        for row, owner in enumerate(IN_BASE)
        for other, kind in zip(*side.of(row), strict=True)
    ]
    assert found == sorted(set(pairs))


def test_views_and_kinds_of_a_newer_version_decide_nothing() -> None:
    memory = memory_of(Book())
    moved = memory.apply(np.array([1, 1]), np.array([2, 2]), np.array([CODES[Kind.VIEW], -1], np.int8))
    assert (len(moved.actors), memory.n_since) == (0, 0)
    assert parts(memory.of(1)) == parts(Relations())


def test_unknown_person_stands_to_nobody() -> None:
    assert parts(memory_of(Book(), np.empty(0, np.int64)).of(9)) == parts(Relations())


def test_block_of_somebody_not_known_yet_is_remembered() -> None:
    memory = memory_of(Book(), np.array([1]))
    happen(memory, [(2**62, 1, Kind.BLOCK)])
    assert memory.of(1).blocked == {2**62}
    assert memory.of(2**62).blocked == {1}


def test_many_batches_become_a_few_runs_and_none_is_lost(merging: None) -> None:
    draw = np.random.default_rng(1)
    store = runs.Runs()
    said: dict[int, int] = {}
    for step in range(1, 60):
        keys = np.unique(draw.integers(0, 40_000, 300 if step % 7 else 3_000))
        states = np.full(len(keys), 1 + step % 3, np.uint8)
        store.add(keys, states)
        said.update(zip(keys.tolist(), states.tolist(), strict=True))
    known = np.array(sorted(said))
    assert store.find(known).tolist() == [said[key] for key in known.tolist()]
    assert store.n_runs < 40
    assert len(store) < 3 * len(said)


def population_of(book: Book) -> Population:
    rows = [(*pair, standing) for pair, standing in book.opinions.items()] + [(*pair, BLOCKED) for pair in book.blocks]
    rows += [(*pair, MESSAGED) for pair in book.messages] * 2
    actors, targets, standing = (np.array([row[index] for row in rows], np.int64) for index in range(3))
    return build([person(one) for one in PEOPLE], StandingPairs(actors, targets, standing.astype(np.int8)))


def told(population: Population, happened: list[Event]) -> None:
    actors, targets = (np.array([event[index] for event in happened], np.int64) for index in range(2))
    population.apply_interactions(actors, targets, np.array([CODES[event[2]] for event in happened], np.int8))


def assert_counts(population: Population, book: Book) -> None:
    """Likes received, passes received, likes given, passes given, as the columns have them."""
    for who in PEOPLE:
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


@whole_laws
@given(known=batches, read=events, later=batches)
def test_relations_read_anew_take_the_place_of_those_known(
    known: list[list[Event]], read: list[Event], later: list[list[Event]]
) -> None:
    population, book = population_of(Book()), Book()
    for happened in known:
        told(population, happened)
    book.apply(read)
    anew = memory_of(book, np.array(PEOPLE))
    population.replace_relations(anew, counts(anew))
    assert_counts(population, book)
    for happened in later:
        book.apply(happened)
        told(population, happened)
    assert_counts(population, book)
    assert_same(population.memory, book)
