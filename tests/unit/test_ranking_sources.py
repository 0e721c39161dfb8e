"""Our own sources take turns in a thread; one that fails or hangs costs the others nothing."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from amity_rankers.contract import Found, SourceQuery

from service.plugins import OWN_SOURCES, InstalledSource
from service.recommend.sources import Answers, Question, Sources
from service.recommend.stages import Breakers
from service.resilience import Deadline
from service.telemetry import collect_timings
from service.threads import ThreadDoor
from tests.fakes import FakePeople, FakeSource

PEOPLE = FakePeople(99, range(1, 31))
SOON_S, LATE_S = 0.4, 30.0

Find = Callable[[Any, Any], Any]


def finding(*ids: int) -> Find:
    return lambda people, query: Found(np.array(ids), np.zeros(len(ids), np.float32))


def noting(seen: list[Any], what: Callable[[], Any]) -> Find:
    def find(people: Any, query: Any) -> Found:
        seen.append(what())
        return Found(np.array([1]), np.zeros(1, np.float32))

    return find


class Asked:
    """Sources of ours (and `others`) behind one door, to be asked again and again."""

    def __init__(self, n_cores: int = 1, others: tuple[str, ...] = (), **finds: Find) -> None:
        origin = {name: "fakes" if name in others else OWN_SOURCES for name in finds}
        installed = [InstalledSource(name, FakeSource(find), origin[name], "1") for name, find in finds.items()]
        self.breakers = Breakers()
        self.sources = Sources(installed, ThreadDoor(8, n_cores), self.breakers)

    async def __call__(self, deadline_s: float = LATE_S, people: FakePeople = PEOPLE) -> Answers:
        return await self.sources.ask(Question(people, SourceQuery(10, 0.0, 1), Deadline(deadline_s)))


def reasons(answers: Answers) -> dict[str, str]:
    return {name: failed.reason for name, failed in answers.failed.items()}


async def test_on_one_core_our_sources_share_a_thread_that_is_not_the_event_loops() -> None:
    threads: list[int] = []
    await Asked(a=noting(threads, threading.get_ident), b=noting(threads, threading.get_ident))()
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


async def test_on_two_cores_they_take_two_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    answers = await Asked(n_cores=2, a=noting([], both.wait), b=noting([], both.wait))()
    assert sorted(answers.found) == ["a", "b"]


class Unprepared(FakePeople):
    """People of whom it is found out, in whichever thread asks, who is eligible."""

    def __init__(self) -> None:
        super().__init__(99, range(1, 31))
        self.is_prepared = False
        self.threads: list[int] = []

    def prepare(self) -> None:
        if not self.is_prepared:
            self.threads.append(threading.get_ident())
        self.is_prepared = True


async def test_who_is_eligible_is_found_out_in_the_thread_of_our_sources_before_any_is_asked() -> None:
    people, threads = Unprepared(), list[tuple[int, bool]]()
    await Asked(a=noting(threads, lambda: (threading.get_ident(), people.is_prepared)))(people=people)
    assert threads == [(people.threads[0], True)]
    assert len(people.threads) == 1


async def test_who_is_eligible_is_found_out_before_others_sources_are_asked() -> None:
    people, prepared = Unprepared(), list[bool]()
    await Asked(others=("theirs",), theirs=noting(prepared, lambda: people.is_prepared))(people=people)
    assert prepared == [True]
    assert threading.get_ident() not in people.threads


async def test_no_source_is_to_blame_where_it_takes_too_long_to_find_out_who_is_eligible() -> None:
    late, people, calls = threading.Event(), Unprepared(), list[None]()
    people.prepare = late.wait  # type: ignore[method-assign, assignment]
    asked = Asked(n_cores=2, a=noting(calls, lambda: None), b=noting(calls, lambda: None))
    answers = await asked(SOON_S, people)
    late.set()
    assert reasons(answers) == {"a": "busy", "b": "busy"}
    assert set(asked.breakers.states().values()) == {"closed"}
    assert not calls


async def test_others_sources_are_not_to_blame_for_that_either() -> None:
    late, people = threading.Event(), Unprepared()
    people.prepare = late.wait  # type: ignore[method-assign, assignment]
    asked = Asked(others=("theirs",), theirs=lambda people, query: late.wait())
    answers = await asked(SOON_S, people)
    late.set()
    assert reasons(answers) == {"theirs": "busy"}


async def test_others_sources_have_threads_of_their_own() -> None:
    both = threading.Barrier(2, timeout=10)
    answers = await Asked(others=("theirs",), ours=noting([], both.wait), theirs=noting([], both.wait))()
    assert sorted(answers.found) == ["ours", "theirs"]


async def test_one_that_fails_leaves_the_others_their_turn() -> None:
    answers = await Asked(a=finding(1), b=lambda people, query: 1 / 0, c=finding(3), d=lambda people, query: None)()
    assert {name: ids.tolist() for name, ids in answers.found.items()} == {"a": [1], "c": [3]}
    assert reasons(answers) == {"b": "exception", "d": "exception"}


async def test_one_that_hangs_keeps_what_was_found_before_and_is_alone_to_blame() -> None:
    hang = threading.Event()
    asked = Asked(a=finding(1), b=lambda people, query: hang.wait(), c=finding(3))
    asked.sources._took_s.update(a=0.001, b=0.002, c=0.003)
    answers = await asked(SOON_S)
    assert list(answers.found) == ["a"]
    assert reasons(answers) == {"b": "timeout", "c": "busy"}
    hang.set()


async def test_while_one_hangs_each_has_its_own_thread_and_the_others_serve() -> None:
    hang = threading.Event()
    asked = Asked(a=lambda people, query: hang.wait(), b=finding(2), c=finding(3))
    for _ in range(4):
        answers = await asked(SOON_S)
    assert sorted(answers.found) == ["b", "c"]
    assert [asked.breakers.states()[f"source:{name}"] for name in "abc"] == ["open", "closed", "closed"]
    hang.set()


async def test_one_whose_breaker_is_open_is_not_asked() -> None:
    calls: list[None] = []

    def fail(people: Any, query: Any) -> Found:
        calls.append(None)
        raise ValueError

    asked = Asked(a=fail, b=finding(2))
    answers = [await asked() for _ in range(4)][-1]
    assert (len(calls), reasons(answers), list(answers.found)) == (3, {"a": "circuit_open"}, ["b"])


async def test_whose_turn_comes_after_the_deadline_is_not_asked_any_more() -> None:
    calls: list[None] = []
    late = threading.Event()
    asked = Asked(a=lambda people, query: late.wait(), b=noting(calls, lambda: None))
    asked.sources._took_s.update(a=0.001, b=0.002)
    await asked(SOON_S)
    late.set()
    for _ in range(10_000):
        if not asked.sources._door.hangs("sources.0"):
            break
        await asyncio.sleep(0.001)
    assert not asked.sources._door.hangs("sources.0")
    assert not calls


async def test_the_quick_ones_come_first() -> None:
    order: list[str] = []
    asked = Asked(a=noting(order, lambda: "a"), b=noting(order, lambda: "b"), c=noting(order, lambda: "c"))
    asked.sources._took_s.update(a=0.003, b=0.001, c=0.002)
    await asked()
    assert order == ["b", "c", "a"]


async def test_the_slow_ones_are_spread_over_two_threads() -> None:
    asked = Asked(n_cores=2, a=finding(1), b=finding(2), c=finding(3), d=finding(4))
    asked.sources._took_s.update(a=0.003, b=0.0001, c=0.002, d=0.0005)
    assert list(asked.sources._lanes().values()) == [["a"], ["b", "d", "c"]]


async def test_each_source_is_timed_as_a_stage() -> None:
    timings = collect_timings()
    await Asked(others=("c",), a=finding(1), b=finding(2), c=finding(3))()
    assert sorted(timings) == ["source:a", "source:b", "source:c"]
