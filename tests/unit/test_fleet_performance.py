"""Telling figures to the fleet and adding up what it told, with a store in memory in Redis's place."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RedisUnavailable, Unavailable
from service.fleet.figures import Put, Span, cover
from service.recommend.fleet_performance import FleetPerformance
from service.recommend.ledger import Ledger
from service.recommend.performance import Observation, Performance
from service.recommend.tallies import Row, Sums, Tally, Times, encode
from service.resilience import Deadline
from tests.fakes import FakeClock

OBSERVED = Observation(
    algorithm_version="v1",
    generation_ms=2.0,
    n_candidates=100,
    cached=True,
    degraded=False,
    error=False,
    stages_ms={"ranking": 1.0},
)
ROW = encode(Row({"v1": Tally(times=Times(), refused=1)}, {}))


class Shelf:
    """What Redis would hold; `away` answers nobody, `mute` takes what it is given and does not say so."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Span, bytes], bytes] = {}
        self.away = self.mute = False
        self.n_puts: list[int] = []


class FakeFigures:
    """One replica's access to the shelf."""

    def __init__(self, shelf: Shelf, replica: bytes) -> None:
        self._shelf = shelf
        self._replica = replica
        self.forgotten = False

    async def put(self, rows: Sequence[tuple[Span, bytes]]) -> Put:
        self._shelf.n_puts.append(len(rows))
        await asyncio.sleep(0)
        if self._shelf.away:
            return Put()
        self._shelf.rows |= {(span, self._replica): row for span, row in rows}
        return Put() if self._shelf.mute else Put(frozenset(span for span, _ in rows), self.forgotten)

    async def others(self, spans: Sequence[Span], deadline: Deadline) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        for wanted in spans:
            if self._shelf.away:
                raise RedisUnavailable
            yield [(who, row) for (span, who), row in self._shelf.rows.items() if span == wanted and who != self._replica]


class Pair:
    """Two replicas, with a clock each."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.clocks = (FakeClock(), FakeClock())
        self.set(1000.0)
        self.own = [Performance(clock.monotonic) for clock in self.clocks]
        self.figures = [FakeFigures(self.shelf, name) for name in (b"one", b"other")]
        self.told = [FleetPerformance(own, cast(Any, figures)) for own, figures in zip(self.own, self.figures, strict=True)]

    def set(self, elapsed_s: float) -> None:
        for clock in self.clocks:
            clock.elapsed_s = elapsed_s

    def serve(self, n: int = 1, replica: int = 0) -> None:
        for _ in range(n):
            self.own[replica].observe(OBSERVED)

    async def flush(self) -> None:
        for told in self.told:
            await told.flush()

    async def requests(self, window_s: int = 3600, asked: int = 1) -> int:
        return (await self.told[asked].report(window_s)).requests


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_any_replica_reports_for_all(pair: Pair) -> None:
    pair.serve(2, replica=0)
    pair.serve(3, replica=1)
    await pair.flush()
    reports = [await told.report(60) for told in pair.told]
    assert [(one.requests, one.replicas, one.scope) for one in reports] == [(5, 2, "fleet")] * 2
    assert reports[0].stages == reports[1].stages


async def test_a_replica_knows_its_own_requests_at_once_and_not_twice_after_the_flush(pair: Pair) -> None:
    pair.serve(2)
    before = await pair.requests(asked=0)
    await pair.flush()
    assert [before, await pair.requests(asked=0), await pair.requests(asked=1)] == [2, 2, 2]


async def test_one_flush_a_second_or_many_tell_the_same(pair: Pair) -> None:
    for tenth in range(50):
        pair.set(1000 + tenth / 10)
        pair.serve()
        if tenth % 3 == 0:
            await pair.flush()
    await pair.flush()
    assert [await pair.requests(window_s) for window_s in (1, 2, 5, 60)] == [10, 20, 50, 50]


async def test_a_flush_that_redis_did_not_take_is_told_with_the_next(pair: Pair) -> None:
    pair.shelf.away = True
    for second in range(100):
        pair.set(1000 + second)
        pair.serve()
        await pair.flush()
    pair.shelf.away = False
    for _ in range(4):
        await pair.flush()
    assert [await pair.requests(window_s) for window_s in (60, 100, 3600)] == [60, 100, 100]


async def test_a_flush_whose_answer_was_lost_is_not_counted_twice(pair: Pair) -> None:
    pair.serve(3)
    pair.shelf.mute = True
    await pair.flush()
    await pair.flush()
    pair.shelf.mute = False
    await pair.flush()
    assert await pair.requests() == 3


async def test_what_happens_during_a_flush_is_told_with_the_next(pair: Pair) -> None:
    pair.serve()
    flushing = asyncio.create_task(pair.told[0].flush())
    await asyncio.sleep(0)
    pair.serve()
    await flushing
    await pair.flush()
    assert await pair.requests() == 2


async def test_a_flush_that_is_cancelled_leaves_its_rows_to_the_last_one(pair: Pair) -> None:
    pair.serve()
    flushing = asyncio.create_task(pair.told[0].flush())
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    await pair.flush()
    assert await pair.requests() == 1


async def test_what_redis_forgot_is_told_again(pair: Pair) -> None:
    for second in range(1000, 1300):
        pair.set(second)
        pair.serve()
        await pair.flush()
    pair.shelf.rows.clear()
    pair.figures[0].forgotten = True
    pair.serve()
    await pair.flush()
    pair.figures[0].forgotten = False
    for _ in range(10):
        await pair.flush()
    assert [await pair.requests(window_s) for window_s in (1, 150, 3600)] == [2, 151, 301]


async def test_while_redis_is_away_little_is_tried_and_afterwards_no_more_than_a_hundred_rows_at_once(pair: Pair) -> None:
    for second in range(1000, 1200):
        pair.set(second)
        pair.serve()
    pair.shelf.away = True
    await pair.told[0].flush()
    await pair.told[0].flush()
    pair.shelf.away = False
    for _ in range(4):
        await pair.told[0].flush()
    assert pair.shelf.n_puts == [100, 4, 4, 100, 100, 0]  # 200 seconds and 4 minutes in all


async def test_without_anything_new_nothing_is_told_but_redis_is_looked_after(pair: Pair) -> None:
    pair.serve()
    await pair.flush()
    await pair.flush()
    assert pair.shelf.n_puts == [2, 0, 0, 0]


async def test_an_idle_replica_tells_again_what_redis_forgot(pair: Pair) -> None:
    pair.serve()
    await pair.flush()
    pair.shelf.rows.clear()
    pair.figures[0].forgotten = True
    await pair.flush()
    await pair.flush()
    assert await pair.requests() == 1


async def test_redis_away_is_said_with_the_way_out(pair: Pair) -> None:
    pair.serve()
    pair.shelf.away = True
    with pytest.raises(Unavailable, match="scope=replica"):
        await pair.told[0].report(60)


@pytest.mark.parametrize(("ahead_s", "counted"), [(-20, 40), (20, 60), (59, 60)])
async def test_a_clock_that_differs_moves_requests_and_loses_none_of_the_window_but_its_edge(
    pair: Pair, ahead_s: int, counted: int
) -> None:
    """Sixty requests in the last sixty seconds; the window of one's own clock shifted, not torn."""
    for second in range(1000, 1060):
        pair.clocks[0].elapsed_s = second + ahead_s
        pair.clocks[1].elapsed_s = second
        pair.serve()
        await pair.flush()
    assert await pair.requests(60) == counted
    assert await pair.requests(3600) == 60


@given(st.integers(0, 10**6), st.integers(1, 3600))
def test_spans_cover_each_second_of_a_window_once(now_s: int, window_s: int) -> None:
    spans = cover(now_s - window_s, now_s)
    seconds = [second for span in spans for second in _seconds(span)]
    assert seconds == list(range(now_s - window_s + 1, seconds[-1] + 1))
    assert seconds[-1] >= now_s + 60 - 59
    assert len(spans) <= 59 + 61


def _seconds(span: Span) -> range:
    return range(span.number, span.number + 1) if span.level == "s" else range(60 * span.number, 60 * span.number + 60)


def test_a_ledger_forgets_what_no_window_reaches() -> None:
    ledger = Ledger()
    for second in range(0, 10_000, 10):
        ledger.add(second, ROW)
    assert len(ledger.take(10_000)) <= 366 + 62
    ledger.put_back([Span("s", 0)])
    assert ledger.take(10) == []


def test_a_ledger_gives_minutes_before_seconds_and_late_before_early() -> None:
    ledger = Ledger()
    for second in (30, 90, 31):
        ledger.add(second, ROW)
    assert [span for span, _ in ledger.take(4)] == [Span("m", 1), Span("m", 0), Span("s", 90), Span("s", 31)]
    assert [span for span, _ in ledger.take(4)] == [Span("s", 30)]


def test_a_minute_of_a_ledger_is_the_sum_of_its_seconds() -> None:
    ledger = Ledger()
    for second in (0, 59, 59):
        ledger.add(second, ROW)
    sums = Sums()
    sums.add(row for span, row in ledger.take(9) if span.level == "m")
    assert sums.total().refused == 3
