"""The memory of relations follows events, forgets the erased on both sides, and never a block."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain import Kind, Relations
from service.population import runs
from service.population.build import StandingPairs
from service.population.relations import RelationMemory
from service.population.sides import compressed
from service.population.standing import LIKED, MESSAGED, PASSED
from service.repositories.columns import CODES
from tests.relations_book import PEOPLE, Book, Event, assert_same, batches, columns_of, events, laws, parts

IN_BASE = np.array([1, 2, 4, 5], np.int64)


def memory_of(book: Book, ids: np.ndarray = IN_BASE) -> RelationMemory:
    return book.pairs().memory(ids)


def happen(memory: RelationMemory, happened: list[Event], tally: Counter[tuple[int, int, int]] | None = None) -> None:
    moved = memory.apply(*columns_of(happened))
    if tally is None:
        return
    for actor, target, before, after in zip(moved.actors, moved.targets, moved.before, moved.after, strict=True):
        tally[actor, target, before] -= 1
        tally[actor, target, after] += 1


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


LIKES = [(1, 2, Kind.LIKE), (1, 3, Kind.LIKE)]


@laws
@example(before=[], after=[[(1, 2, Kind.PASS)], LIKES], gone=[1], later=[[*LIKES, (1, 4, Kind.LIKE)], [(1, 2, Kind.LIKE)]])
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
    memory = memory_of(Book())
    for side in compressed(IN_BASE, np.full(100, 1), np.full(100, 2), np.full(100, MESSAGED, np.int8)):
        assert len(side.ids) == 1
    happen(memory, [(1, 2, Kind.MESSAGE)] * 100)
    happen(memory, [(1, 2, Kind.MESSAGE)] * 100)
    assert memory.n_since == 1


@laws
@given(
    pairs=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)), max_size=30),
    far=st.sampled_from([0, 2**40, 2**62, -(2**40)]),
)
def test_relations_of_pairs_who_are_there_are_compressed_alike_whatever_the_size_of_ids(
    pairs: list[tuple[int, int, int]], far: int
) -> None:
    ids = IN_BASE + far
    actors, targets, kinds = (np.array([pair[index] for pair in pairs], np.int64) for index in range(3))
    given, received = (
        {
            (int(owner) - far, int(other) - far, int(kind))
            for row, owner in enumerate(ids)
            for other, kind in zip(*side.of(row), strict=True)
        }
        for side in compressed(ids, actors + far, targets + far, kinds.astype(np.int8))
    )
    assert given == {pair for pair in pairs if pair[0] in IN_BASE and pair[1] in IN_BASE}
    assert received == {(target, actor, kind) for actor, target, kind in given}


def test_views_and_kinds_of_a_newer_version_decide_nothing() -> None:
    memory = memory_of(Book())
    moved = memory.apply(np.array([1, 1]), np.array([2, 2]), np.array([CODES[Kind.VIEW], -1], np.int8))
    assert (len(moved.actors), memory.n_since) == (0, 0)
    assert parts(memory.of(1)) == parts(Relations())


def test_unknown_person_stands_to_nobody() -> None:
    assert parts(memory_of(Book(), np.empty(0, np.int64)).of(9)) == parts(Relations())


@laws
@given(before=events, there=st.sets(st.sampled_from(PEOPLE)))
def test_events_of_people_who_came_after_the_base_are_on_both_sides_once_they_are_told(
    merging: None, before: list[Event], there: set[int]
) -> None:
    """Who registers between the reading of the people and that of the interactions: the base may know of neither side."""
    book = Book()
    book.apply(before)
    memory = memory_of(book, np.array(sorted(there), np.int64))
    happen(memory, before)
    assert_same(memory, book)


def test_erased_twice_and_in_any_order_are_forgotten_and_nobody_else_is() -> None:
    everyone = np.arange(1, 51)
    memory = StandingPairs(everyone, np.roll(everyone, 1), np.full(50, LIKED, np.int8)).memory(everyone)
    gone = [40, 3, 50, 1, 40, 7, 99]
    for person_id in gone:
        memory.erase(person_id)
    for person_id, target in zip(everyone.tolist(), np.roll(everyone, 1).tolist(), strict=True):
        assert memory.of(person_id).liked == ({target} - set(gone) if person_id not in gone else set())


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
    assert len(store._runs) < 40
    assert len(store) < 3 * len(said)
