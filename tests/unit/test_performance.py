"""What one replica counts and reports, and that figures add up whoever counted them."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.recommend.performance import Observation, Performance, Sketch
from service.recommend.tallies import Row, Sums, TimesSum, decode, encode, merged
from tests.fakes import FakeClock

latencies_ = st.lists(st.floats(0.001, 300_000), min_size=1, max_size=200)
algorithms_ = st.sampled_from(["v1", "v2", "heuristic"])


def seen(generation_ms: float = 10.0, **changes: Any) -> Observation:
    values: dict[str, Any] = {
        "algorithm_version": "v1",
        "n_candidates": 100,
        "cached": False,
        "degraded": False,
        "error": False,
        "stages_ms": {"ranking": 1.0},
    }
    return Observation(generation_ms=generation_ms, **(values | changes))


observations_ = st.builds(
    Observation,
    algorithm_version=algorithms_,
    generation_ms=st.floats(0.001, 60_000),
    n_candidates=st.integers(0, 500),
    cached=st.booleans(),
    degraded=st.booleans(),
    error=st.booleans(),
    stages_ms=st.dictionaries(st.sampled_from(["retrieval", "ranking"]), st.floats(0.001, 1000)),
)
happenings_ = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 200), st.one_of(observations_, algorithms_)), min_size=1, max_size=60
)
"""(replica, second, an answer or else the algorithm of a refusal)"""


def sketch(values: list[float]) -> Sketch:
    made = Sketch()
    for value in values:
        made.add(value)
    return made


def note(performance: Performance, what: Observation | str) -> None:
    if isinstance(what, str):
        performance.refuse(what)
    else:
        performance.observe(what)


def counted(sums: Sums) -> Any:
    """Every number of some sums but those of floats, whose last digits depend on the order."""
    stages = {name: times.counts.tolist() for name, times in sums.stages.items()}
    tallies = {
        name: (one.candidates, one.cached, one.degraded, one.errors, one.refused, one.times.counts.tolist())
        for name, one in sums.algorithms.items()
    }
    return stages, tallies


@given(latencies_, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_at_most_four_percent_off(values: list[float], share: float) -> None:
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    sums = TimesSum()
    sums.add([sketch(values).times()])
    assert sums.quantile_ms(share) == pytest.approx(exact, rel=0.04, abs=1e-4)


@given(happenings_, st.integers(1, 200))
def test_merged_figures_of_replicas_are_those_of_one_that_saw_everything(
    happened: list[tuple[int, int, Observation | str]], window_s: int
) -> None:
    clock = FakeClock()
    replicas, alone = [Performance(clock.monotonic) for _ in range(3)], Performance(clock.monotonic)
    for replica, at_s, what in happened:  # seconds in any order: clocks are set back as well
        clock.elapsed_s = at_s
        note(replicas[replica], what)
        note(alone, what)
    clock.elapsed_s = 200
    sums = Sums()
    for performance in replicas:
        sums.add(performance.rows(window_s))
    whole = Sums()
    whole.add(alone.rows(window_s))
    told = Sums()
    told.add([merged([row for performance in replicas for row in performance.rows(window_s)])])
    assert counted(sums) == counted(told) == counted(whole)


def test_the_report_has_the_figures_of_all_and_of_each_algorithm() -> None:
    performance = Performance(FakeClock().monotonic)
    performance.observe(seen(10.0, cached=True))
    performance.observe(seen(30.0, n_candidates=50, degraded=True))
    performance.observe(seen(20.0, algorithm_version="heuristic", error=True, n_candidates=0))
    report = performance.report(60)
    assert (report.requests, report.errors, report.degraded, report.cache_hit_rate) == (3, 1, 1, 0.3333)
    assert (report.avg_generation_time_ms, report.avg_candidate_count) == (20.0, 50.0)
    assert report.by_algorithm_version["v1"].requests == 2
    assert report.by_algorithm_version["heuristic"].errors == 1
    assert report.stages["ranking"].p50_ms == pytest.approx(1.0, rel=0.04)
    assert (report.scope, report.replicas) == ("replica", 1)


def test_a_refused_request_is_an_error_without_a_time() -> None:
    performance = Performance(FakeClock().monotonic)
    performance.refuse("v1")
    report = performance.report(60)
    assert (report.requests, report.errors, report.p50_generation_time_ms, report.cache_hit_rate) == (1, 1, None, None)


def test_an_empty_window_has_counts_of_nought_and_nothing_else() -> None:
    body = msgspec.to_builtins(Performance(FakeClock().monotonic).report(60))
    assert {name: body.pop(name) for name in ("requests", "errors", "degraded", "replicas", "window_s")} == {
        "requests": 0,
        "errors": 0,
        "degraded": 0,
        "replicas": 0,
        "window_s": 60,
    }
    assert [body.pop(name) for name in ("scope", "by_algorithm_version", "stages")] == ["replica", {}, {}]
    assert set(body.values()) == {None}


def test_only_the_window_counts_and_an_hour_is_all_that_is_kept() -> None:
    clock = FakeClock()
    performance = Performance(clock.monotonic)
    for at_s in (0.0, 100.0, 3598.0, 3599.0):
        clock.elapsed_s = at_s
        performance.observe(seen())
    assert [performance.report(window_s).requests for window_s in (1, 60, 3500, 3600)] == [1, 2, 3, 4]
    clock.elapsed_s = 3600.0
    performance.observe(seen())
    assert performance.report(3600).requests == 4


@pytest.mark.parametrize("offset_s", [0, 1, 30, 59])
def test_every_window_is_exact_to_the_second(offset_s: int) -> None:
    clock = FakeClock()
    performance = Performance(clock.monotonic)
    for at_s in range(offset_s, offset_s + 3600):
        clock.elapsed_s = at_s
        performance.observe(seen())
    windows = [1, 2, 29, 30, 31, 59, 60, 61, 119, 120, 121, 1799, 3540, 3599, 3600]
    assert [performance.report(window_s).requests for window_s in windows] == windows


def test_looking_does_not_disturb_the_count_of_the_running_second() -> None:
    performance = Performance(FakeClock().monotonic)
    for n in range(1, 4):
        performance.observe(seen())
        assert performance.report(1).requests == n


def test_a_clock_that_is_set_back_loses_no_request() -> None:
    clock = FakeClock()
    performance = Performance(clock.monotonic)
    for at_s in (100.0, 101.0, 100.0, 101.0):
        clock.elapsed_s = at_s
        performance.observe(seen())
    assert performance.report(2).requests == 4


def test_latencies_beyond_the_sketch_count_as_the_nearest_it_has() -> None:
    sums = TimesSum()
    sums.add([sketch([0.0, 1e9]).times()])
    assert sums.n == 2
    assert sums.quantile_ms(0.5) == pytest.approx(0.001, rel=0.04, abs=1e-4)
    assert (sums.quantile_ms(0.99) or 0) > 300_000


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=5))
def test_counts_of_any_width_add_up(counts: list[int]) -> None:
    sums = TimesSum()
    for count in counts:
        one = TimesSum()
        one.counts[7] = count
        sums.add([one.times()])
    assert sums.n == sum(counts)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_or_foreign_row_counts_nothing(place: int, flip: int) -> None:
    performance = Performance(FakeClock().monotonic)
    performance.observe(seen())
    (row,) = performance.rows(1)
    damaged = bytearray(row)
    damaged[place % len(row)] ^= flip
    assert decode(bytes(damaged)) is None
    assert decode(row) is not None


def test_a_row_of_nothing_can_be_told() -> None:
    assert decode(encode(Row({}, {}))) is not None
    assert decode(b"") is None
