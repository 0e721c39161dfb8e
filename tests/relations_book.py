"""Relations by the plain rules, and histories of events to hold the memory of relations against them."""

from collections.abc import Iterable

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.domain import Kind, Relations
from service.population.build import StandingPairs
from service.population.relations import RelationMemory
from service.population.standing import BLOCKED, LIKED, MESSAGED, PASSED
from service.repositories.columns import CODES

PEOPLE = range(1, 7)

Event = tuple[int, int, Kind]

laws = settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
events = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), st.sampled_from(list(Kind))).filter(lambda e: e[0] != e[1]),
    max_size=60,
)
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

    def pairs(self) -> StandingPairs:
        """All that stands, messages twice as a database has them."""
        rows = [(*pair, standing) for pair, standing in self.opinions.items()] + [(*pair, BLOCKED) for pair in self.blocks]
        rows += [(*pair, MESSAGED) for pair in self.messages] * 2
        actors, targets, standing = (np.array([row[index] for row in rows], np.int64) for index in range(3))
        return StandingPairs(actors, targets, standing.astype(np.int8))


def columns_of(happened: list[Event]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Actors, targets and codes of kinds."""
    actors, targets = (np.array([event[index] for event in happened], np.int64) for index in range(2))
    return actors, targets, np.array([CODES[event[2]] for event in happened], np.int8)


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
