"""Latency sketches and the report of a replica."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.recommend.performance import Observation, Performance, Sketch
from tests.fakes import FakeClock

latencies_ = st.lists(st.floats(0.01, 60_000), min_size=1, max_size=200)


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


def sketch(values: list[float]) -> Sketch:
    made = Sketch()
    for value in values:
        made.add(value)
    return made


@given(latencies_, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_at_most_five_percent_off(values: list[float], share: float) -> None:
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert sketch(values).quantile_ms(share) == pytest.approx(exact, rel=0.05, abs=1e-3)


@given(latencies_, latencies_)
def test_sketches_add_up_as_if_they_had_been_one(one: list[float], other: list[float]) -> None:
    merged = sketch(one)
    merged.merge(sketch(other))
    assert merged.buckets == sketch(one + other).buckets


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
    assert report.stages["ranking"].p50_ms == pytest.approx(1.0, rel=0.05)


def test_an_empty_window_has_counts_of_nought_and_nothing_else() -> None:
    body = msgspec.to_builtins(Performance(FakeClock().monotonic).report(60))
    assert {name: body.pop(name) for name in ("requests", "errors", "degraded", "window_s")} == {
        "requests": 0,
        "errors": 0,
        "degraded": 0,
        "window_s": 60,
    }
    assert (body.pop("by_algorithm_version"), body.pop("stages")) == ({}, {})
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
