"""Spans made of what requests leave, and their way to a collector that is there, dead, or hangs."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service import telemetry, tracing
from service.domain import Degradation
from service.metrics import REGISTRY, REQUEST_SECONDS, STAGE_SECONDS
from service.telemetry import Recording, Trace
from service.tracing import Tracing, spans_of
from tests.embedded import eventually

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROUTE = "/people/{user_id}"
RESOURCE = Resource({})


class Refusing(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE


class Raising(SpanExporter):
    """Breaks over the first batch, and takes all others."""

    def __init__(self) -> None:
        self.n_asked = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.n_asked += 1
        if self.n_asked == 1:
            raise LookupError("no such host")
        return SpanExportResult.SUCCESS


class Hanging(SpanExporter):
    """Does not heed its own time limit, as when a collector sends its answer byte by byte."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        if not self.over.wait(20):
            self.over.set()
        return SpanExportResult.FAILURE


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("amity_traces_total", {"outcome": outcome}) or 0


def unexpected() -> float:
    labels = {"door": "traces", "type": "LookupError"}
    return REGISTRY.get_sample_value("amity_unexpected_errors_total", labels) or 0


def trace_of(recording: Recording, has_failed: bool = False, route: str = ROUTE, elapsed_s: float = 0.5) -> Trace:
    """A request that is over, `elapsed_s` after its beginning."""
    return Trace(
        recording=recording,
        ended_s=recording.started_s + elapsed_s,
        name=f"GET {route}",
        ended_ns=1_700_000_000_500_000_000,
        has_failed=has_failed,
        attributes={"http.route": route},
        degraded=() if has_failed else (Degradation("ranking", "timeout", None),),
        answered=("GET", route, "200"),
    )


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def sending(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracing]:
    monkeypatch.setattr(tracing, "EVERY_S", 3600.0)
    started = tracing.start_tracing("", exporter)
    assert started is not None
    yield started
    tracing.stop_tracing(started)


def recorded() -> Recording:
    recording = telemetry.begin_request(SAMPLED, 0)
    with telemetry.stage("retrieval"), telemetry.stage("mask", {"amity.n_eligible": 3}):
        pass
    return recording


def test_the_request_is_its_callers_child_and_stages_are_the_children_of_those_around_them(sending: Tracing) -> None:
    root, retrieval, mask = spans_of(trace_of(recorded()), RESOURCE)
    assert [each.name for each in (root, retrieval, mask)] == [f"GET {ROUTE}", "amity.retrieval", "amity.mask"]
    assert {f"{each.context.trace_id:032x}" for each in (root, retrieval, mask)} == {"0af7651916cd43dd8448eb211c80319c"}
    parents = [each.parent and each.parent.span_id for each in (root, retrieval, mask)]
    assert parents == [0xB7AD6B7169203331, root.context.span_id, retrieval.context.span_id]
    assert dict(mask.attributes or {}) == {"amity.n_eligible": 3}


def test_times_of_spans_are_those_of_the_stages(sending: Tracing) -> None:
    recording = recorded()
    root, _, mask = spans_of(trace_of(recording), RESOURCE)
    assert (root.start_time, root.end_time) == (1_700_000_000_000_000_000, 1_700_000_000_500_000_000)
    began_s, ended_s = ((each or 0) / 1e9 - 1_700_000_000 for each in (mask.start_time, mask.end_time))
    stage = recording.stages[1]
    assert (began_s, ended_s) == pytest.approx(
        (stage.started_s - recording.started_s, (stage.ended_s or 0) - recording.started_s), abs=1e-6
    )


def test_a_stage_that_failed_or_hangs_says_so_in_its_span(sending: Tracing) -> None:
    recording = telemetry.begin_request(None, 1.0)
    with pytest.raises(ValueError, match="Alice"), telemetry.stage("ranking"):
        raise ValueError("Alice")
    telemetry.stage("source:slow").__enter__()
    _, ranking, slow = spans_of(trace_of(recording), RESOURCE)
    assert (ranking.status.is_ok, ranking.status.description, ranking.events) == (False, "ValueError", ())
    assert (slow.status.description, slow.end_time) == ("did not end in time", 1_700_000_000_500_000_000)
    assert dict(slow.attributes or {}) == {"amity.unfinished": True}


def test_a_request_that_failed_says_so_and_one_that_was_bent_says_how(sending: Tracing) -> None:
    failed, bent = (spans_of(trace_of(recorded(), has_failed), RESOURCE)[0] for has_failed in (True, False))
    assert (failed.status.is_ok, failed.events, bent.status.is_ok) == (False, (), True)
    assert [dict(event.attributes or {}) for event in bent.events] == [{"amity.stage": "ranking", "amity.reason": "timeout"}]


def test_traces_are_sent_whole_and_counted(sending: Tracing, exporter: InMemorySpanExporter) -> None:
    before = counted("sent")
    for _ in range(3):
        telemetry.hand_in(trace_of(recorded()))
    sending.flush()
    assert (len(exporter.get_finished_spans()), counted("sent")) == (9, before + 3)


def test_what_finds_no_room_is_dropped_whole_and_counted(sending: Tracing, exporter: InMemorySpanExporter) -> None:
    before = counted("dropped")
    for _ in range(tracing.CAPACITY + 2):
        telemetry.hand_in(trace_of(recorded()))
    assert counted("dropped") == before + 2
    sending.flush()
    n_sent = len(exporter.get_finished_spans())
    assert n_sent % 3 == 0
    assert n_sent <= tracing.BATCHES_A_TURN * (tracing.BATCH_SPANS + 2)


@pytest.mark.parametrize(("taker", "points"), [(InMemorySpanExporter, True), (Refusing, False)])
def test_histograms_point_to_traces_that_a_collector_has_taken_and_to_no_others(
    monkeypatch: pytest.MonkeyPatch, taker: type[SpanExporter], points: bool
) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 3600.0)
    started = tracing.start_tracing("", taker())
    assert started is not None
    histogram = REQUEST_SECONDS.labels("GET", f"/{taker.__name__}", "200")
    histogram.observe(0.3)
    telemetry.hand_in(trace_of(recorded(), route=f"/{taker.__name__}", elapsed_s=0.3))
    tracing.stop_tracing(started)
    [bucket] = [each for each in histogram._child_samples() if each.labels and each.labels.get("le") == "0.5"]
    assert (bucket.value, bucket.exemplar is not None) == (1, points)
    if bucket.exemplar is not None:
        assert bucket.exemplar.labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}


def test_of_work_beside_requests_the_stages_point_to_its_trace_and_no_request_does(sending: Tracing) -> None:
    asked_by = recorded()
    with telemetry.work_for(asked_by) as recording, telemetry.stage("brewing"):
        pass
    work = replace(trace_of(recording), name="amity.brew", answered=None, asked_by=asked_by)
    telemetry.hand_in(work)
    sending.flush()
    [point] = [each.exemplar for each in STAGE_SECONDS.labels("brewing", "ok")._child_samples() if each.exemplar]
    assert point.labels == {"trace_id": f"{recording.trace_id:032x}"}
    assert spans_of(work, RESOURCE)[0].kind is SpanKind.INTERNAL


def test_tracing_is_off_without_a_collector() -> None:
    assert tracing.start_tracing("") is None


def test_a_dead_collector_costs_no_more_than_its_time_limit_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    started, before = tracing.start_tracing("http://127.0.0.1:9"), counted("failed")
    telemetry.hand_in(trace_of(recorded()))
    tracing.stop_tracing(started)  # pytest's own time limit would tell a hang
    assert counted("failed") == before + 1
    assert any("export" in record.message.lower() for record in caplog.records)


def test_an_exporter_that_raises_costs_a_batch_and_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    started = tracing.start_tracing("", exporter := Raising())
    assert started is not None
    before = counted("failed"), counted("sent"), unexpected()
    started.take(trace_of(recorded()))
    assert eventually(lambda: exporter.n_asked == 1)
    started.take(trace_of(recorded()))
    assert eventually(lambda: exporter.n_asked == 2)
    tracing.stop_tracing(started)
    assert (counted("failed"), counted("sent"), unexpected()) == (before[0] + 1, before[1] + 1, before[2] + 1)


def test_an_exporter_that_hangs_delays_the_end_by_the_time_limit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    hanging = Hanging()
    started = tracing.start_tracing("", hanging)
    telemetry.hand_in(trace_of(recorded()))
    tracing.stop_tracing(started)
    assert not hanging.over.is_set()
    hanging.over.set()


def test_what_is_left_when_time_is_up_is_counted_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    hanging, before = Hanging(), counted("dropped")
    started = tracing.start_tracing("", hanging)
    telemetry.hand_in(trace_of(recorded()))
    assert hanging.asked.wait(20)
    telemetry.hand_in(trace_of(recorded()))
    tracing.stop_tracing(started)
    assert counted("dropped") == before + 1
    hanging.over.set()
