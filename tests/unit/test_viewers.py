"""Viewers held under tokens: read once, and never longer than they stand."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from service.domain import Kind, Profile, Relations
from service.errors import UnknownUser
from service.recommend.ports import Trail
from service.recommend.profiles import Truth
from service.recommend.viewers import Viewers, ViewerState
from service.repositories.columns import CODES
from service.resilience import Breaker, Deadline
from tests.fakes import FakeDatabase, FakePopulation, person

EVERYBODY = [person(one) for one in range(1, 6)]


class Case:
    """Viewers on fakes. `gate`, when set, holds reads of viewers up until it is opened."""

    def __init__(self, relations: Relations | None = None, max_bytes: int = 1 << 20) -> None:
        self.database = FakeDatabase(EVERYBODY, relations)
        self.gate: asyncio.Event | None = None
        self.viewers = Viewers(Truth(self, Breaker("database", failures=1000), 5.0), max_bytes)

    async def many(self, ids: Any, /) -> Any:
        return await self.database.many(ids)

    async def viewer(self, person_id: int, /) -> tuple[Profile, Relations] | None:
        found = await self.database.viewer(person_id)
        if self.gate is not None:
            self.reached.set()
            await self.gate.wait()
        return found

    async def state(self, token: str | None, viewer_id: int = 1) -> ViewerState:
        memory = FakePopulation(EVERYBODY, Relations(blocked=frozenset({2})))
        found = await self.viewers.state(viewer_id, token, memory, Deadline(5.0), Trail())
        assert found is not None
        return found

    async def begin(self, token: str) -> "asyncio.Task[ViewerState]":
        """A read that has got what the database says now, and waits at the gate with it."""
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        reading = asyncio.create_task(self.state(token))
        await self.reached.wait()
        return reading

    def open(self) -> None:
        assert self.gate is not None
        self.gate.set()

    def hear(self, *events: tuple[int, int, Kind]) -> None:
        actors, targets, kinds = zip(*events, strict=True)
        codes = np.array([CODES[kind] for kind in kinds], np.int8)
        self.viewers.heard(np.array(actors, np.int64), np.array(targets, np.int64), codes)

    @property
    def n_reads(self) -> int:
        return self.database.reads.count("viewer")


async def test_under_the_same_token_a_viewer_is_read_once() -> None:
    case = Case()
    assert await case.state("a") is await case.state("a")
    assert case.n_reads == 1


async def test_under_another_token_a_viewer_is_read_again() -> None:
    case = Case()
    await case.state("a")
    case.database.known_relations = Relations(liked=frozenset({3}))
    state = await case.state("b")
    assert (case.n_reads, set(state.relations.liked)) == (2, {3})


async def test_without_a_token_a_viewer_is_read_each_time_and_not_held() -> None:
    case = Case()
    await case.state(None)
    await case.state(None)
    await case.state("a")
    assert case.n_reads == 3


async def test_what_is_from_memory_is_not_held() -> None:
    case = Case()
    case.database.down = True
    state = await case.state("a")
    assert state.relations.blocked == {2}
    case.database.down = False
    state = await case.state("a")
    assert state.relations.blocked == frozenset()


async def test_what_is_held_stands_while_the_database_is_away() -> None:
    case = Case(Relations(liked=frozenset({4})))
    await case.state("a")
    case.database.down = True
    state = await case.state("a")
    assert state.relations.liked == {4}


async def test_an_unknown_viewer_is_not_held() -> None:
    case = Case()
    for _ in range(2):
        with pytest.raises(UnknownUser):
            await case.state("a", viewer_id=99)
    assert case.n_reads == 2


async def test_concurrent_requests_of_one_viewer_are_one_read() -> None:
    case = Case()
    states = await asyncio.gather(*(case.state("a") for _ in range(10)))
    assert (case.n_reads, len({id(state) for state in states})) == (1, 1)


@pytest.mark.parametrize("dropping", ["drop", "erased", "heard", "clear"])
async def test_a_read_that_began_before_a_drop_is_not_held(dropping: str) -> None:
    case = Case()
    reading = await case.begin("a")
    if dropping == "heard":
        case.hear((3, 1, Kind.PASS))
    elif dropping == "clear":
        case.viewers.clear()
    else:
        getattr(case.viewers, dropping)([1])
    case.open()
    await reading
    await case.state("a")
    assert case.n_reads == 2


async def test_nobody_joins_a_read_that_began_before_a_drop() -> None:
    case = Case()
    first = await case.begin("a")
    case.database.known_relations = Relations(blocked=frozenset({3}))
    case.viewers.drop([1])
    case.open()
    later = await case.state("a")
    await first
    assert later.relations.blocked == {3}


AFTER = {
    Kind.LIKE: ("liked", "liked_by"),
    Kind.PASS: ("passed", "passed_by"),
    Kind.UNMATCH: ("passed", "passed_by"),
    Kind.BLOCK: ("blocked", "blocked"),
}
UNDONE = {Kind.UNLIKE: AFTER[Kind.LIKE], Kind.UNPASS: AFTER[Kind.PASS], Kind.UNBLOCK: AFTER[Kind.BLOCK]}


@pytest.mark.parametrize("by_viewer", [True, False])
@pytest.mark.parametrize("kind", [*AFTER, *UNDONE])
async def test_an_event_that_contradicts_what_is_held_drops_it(kind: Kind, by_viewer: bool) -> None:
    side = (AFTER | UNDONE)[kind][0 if by_viewer else 1]
    case = Case(Relations(**{side: frozenset({3})}) if kind in UNDONE else Relations())
    await case.state("a")
    case.hear((1, 3, kind) if by_viewer else (3, 1, kind))
    await case.state("a")
    assert case.n_reads == 2


@pytest.mark.parametrize("by_viewer", [True, False])
@pytest.mark.parametrize("kind", [*AFTER, *UNDONE, Kind.VIEW, Kind.MESSAGE])
async def test_an_event_that_is_known_already_drops_nothing(kind: Kind, by_viewer: bool) -> None:
    side = AFTER.get(kind, ("", ""))[0 if by_viewer else 1]
    case = Case(Relations(**{side: frozenset({3})}) if side else Relations())
    await case.state("a")
    case.hear((1, 3, kind) if by_viewer else (3, 1, kind), (4, 5, Kind.BLOCK))
    await case.state("a")
    assert case.n_reads == 1


async def test_who_is_erased_is_gone_from_the_relations_of_others() -> None:
    case = Case(Relations(passed=frozenset({3})))
    await case.state("a")
    case.viewers.erased([4])
    await case.state("a")
    assert case.n_reads == 1
    case.viewers.erased([3])
    await case.state("a")
    assert case.n_reads == 2


async def test_many_viewers_take_no_more_memory_than_allowed() -> None:
    case = Case(max_bytes=30_000)
    case.database.people = {one: person(one) for one in range(1, 101)}
    for viewer_id in range(1, 101):
        await case.state("a", viewer_id)
    held = [one for one in range(1, 101) if case.viewers.held(one, "a")]
    assert held == list(range(101 - len(held), 101))
    assert 5 < len(held) < 20


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_order_writes_news_and_reads_come_in_nothing_false_is_held_once_all_is_heard(seed: int) -> None:
    """Tokens are lost all the time here: the feed alone has to set things right, as soon as it has told of every event."""
    chance, case, unheard = random.Random(seed), Case(), []
    liked: set[int] = set()
    for _ in range(60):
        what = chance.choice(("write", "read", "hear"))
        if what == "write":
            other = chance.randint(2, 5)
            kind = Kind.UNLIKE if other in liked else Kind.LIKE
            liked ^= {other}
            case.database.known_relations = Relations(liked=frozenset(liked))
            unheard.append((1, other, kind))
        elif what == "read":
            await case.state("a")
        elif unheard:
            case.hear(*unheard)
            unheard.clear()
            held = case.viewers.held(1, "a")
            assert held is None or held.relations.liked == liked
