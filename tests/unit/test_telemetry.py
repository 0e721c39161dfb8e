"""Stages and traces."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service import metrics, telemetry

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + b"0"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = telemetry.start_tracing("", SimpleSpanProcessor(exporter))
    yield exporter
    telemetry.stop_tracing(provider)


def samples(stage: str, outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("amity_stage_seconds_count", {"stage": stage, "outcome": outcome}) or 0


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def test_a_stage_is_timed_whether_it_succeeds_or_fails() -> None:
    ok, error = samples("brewing", "ok"), samples("brewing", "error")
    timings = telemetry.collect_timings()
    with telemetry.stage("brewing"):
        timings_inside = dict(timings)
    with pytest.raises(ValueError, match="cold"), telemetry.stage("brewing"):
        raise ValueError("cold")
    assert (samples("brewing", "ok"), samples("brewing", "error")) == (ok + 1, error + 1)
    assert (timings_inside, list(timings)) == ({}, ["brewing"])


def test_a_sampled_parent_is_followed(exporter: InMemorySpanExporter) -> None:
    with telemetry.request_span(SAMPLED, ratio=0) as span, telemetry.stage("ranking", n_candidates=3):
        telemetry.describe_request(span, "GET", "/people/{user_id}", 200)
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("amity.ranking", "GET /people/{user_id}")
    assert f"{outer.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert outer.parent is not None
    assert f"{outer.parent.span_id:016x}" == "b7ad6b7169203331"
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert dict(inner.attributes or {}) == {"n_candidates": 3}


@pytest.mark.parametrize(
    ("traceparent", "ratio", "n_spans"),
    [(UNSAMPLED, 1.0, 0), (None, 0.0, 0), (None, 1.0, 2), (b"nonsense", 0.0, 0), (b"nonsense\xff", 1.0, 2)],
)
def test_who_has_no_sampled_parent_is_sampled_by_the_ratio(
    exporter: InMemorySpanExporter, traceparent: bytes | None, ratio: float, n_spans: int
) -> None:
    with telemetry.request_span(traceparent, ratio), telemetry.stage("ranking"):
        assert not names(exporter)
    assert len(names(exporter)) == n_spans


def test_a_failed_stage_marks_its_span(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="Alice"), telemetry.request_span(SAMPLED, 0), telemetry.stage("ranking"):
        raise ValueError("Alice")
    span = exporter.get_finished_spans()[0]
    assert (span.status.is_ok, span.status.description, span.events) == (False, "ValueError", ())


def test_no_spans_are_made_before_tracing_starts() -> None:
    with telemetry.request_span(SAMPLED, 1.0) as span, telemetry.stage("ranking") as inner:
        assert not span.is_recording()
        assert not inner.is_recording()


def test_tracing_is_off_without_a_collector() -> None:
    assert telemetry.start_tracing("") is None


def test_a_dead_collector_delays_the_end_by_no_more_than_its_timeout(caplog: pytest.LogCaptureFixture) -> None:
    provider = telemetry.start_tracing("http://127.0.0.1:9")
    with telemetry.request_span(SAMPLED, 0):
        assert provider is not None
    telemetry.stop_tracing(provider)  # pytest's own time limit would tell a hang
    assert any("export" in record.message.lower() for record in caplog.records)
