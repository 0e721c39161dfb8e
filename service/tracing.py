"""Traces on their way to a collector: spans made of what is finished, in a thread of their own, bounded in number and pace.

The SDK makes a span object when a stage begins, before anybody knows whether the request will be worth a trace, and its batches
are sent as fast as they fill. Here requests are handed in whole when they are over. What finds no room is dropped whole, and
counted; when everything degrades at once, sending takes some hundredths of a core and not half of it. Encoding and transport are
the SDK's, so that its exporters of other kinds fit, and the variables of OpenTelemetry for headers, certificates, compression
and resource attributes hold.
"""

import os
import random
import socket
import threading
from collections import deque
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from service.domain import Degradation
from service.metrics import REQUEST_SECONDS, STAGE_SECONDS, TRACES, UNEXPECTED_ERRORS
from service.telemetry import Recording, Stage, Trace, send_traces

EXPORT_TIMEOUT_S = 2
"""A dead collector may delay a shutdown by this much, and never a request."""
CAPACITY = 512
"""Traces that wait: 40 MB at most, were each a request of 40 stages."""
EVERY_S = 1.0
BATCH_SPANS = 128
"""Making and encoding them takes 3 ms of the interpreter, which requests wait for."""
BATCHES_A_TURN = 10
"""So at most about 1,300 spans a second, in 3 % of a core."""

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("amity")
_LOG = structlog.get_logger("amity.traces")


class Tracing:
    """Takes traces from the event loop and sends them, until it is closed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._resource = _resource()
        self._waiting: deque[Trace] = deque()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amity-traces", daemon=True)
        self._thread.start()
        send_traces(self.take)

    def take(self, trace: Trace) -> None:
        """Send it soon; never waits."""
        if len(self._waiting) < CAPACITY:
            self._waiting.append(trace)
        else:
            TRACES.labels("dropped").inc()

    def flush(self) -> None:
        """Send what waits, as much of it as one turn may."""
        with self._sending:
            for _ in range(BATCHES_A_TURN):
                if not self._waiting or not self._send_batch():
                    return

    def close(self) -> None:
        """Take no more, and send what is left within EXPORT_TIMEOUT_S."""
        send_traces(None)
        self._over.set()
        self._thread.join(EXPORT_TIMEOUT_S)
        self._exporter.shutdown()
        TRACES.labels("dropped").inc(len(self._waiting))
        self._waiting.clear()

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._flush_or_tell()
        self._flush_or_tell()

    def _flush_or_tell(self) -> None:
        """What an exporter raises costs a batch, and not the traces of all days to come."""
        try:
            self.flush()
        except Exception as exc:  # noqa: BLE001 - counted and logged by type; a thread has no caller to tell
            UNEXPECTED_ERRORS.labels("traces", type(exc).__name__).inc()
            _LOG.error("traces not sent", error_type=type(exc).__name__)

    def _send_batch(self) -> bool:
        """Whether the collector took it; if not, it is lost, and the rest waits for the next turn."""
        traces: list[Trace] = []
        spans: list[ReadableSpan] = []
        is_sent = False
        try:
            while self._waiting and len(spans) < BATCH_SPANS:
                trace = self._waiting.popleft()
                traces.append(trace)
                spans += spans_of(trace, self._resource)
            is_sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        finally:
            TRACES.labels("sent" if is_sent else "failed").inc(len(traces))
        if is_sent:
            for trace in traces:
                _exemplify(trace)
        return is_sent


def start_tracing(otlp_endpoint: str, exporter: SpanExporter | None = None) -> Tracing | None:
    """Begin to send traces to the collector at `otlp_endpoint`, or to `exporter`; None when there is neither.

    To be called in the lifespan, never before a fork, since it owns a thread.
    """
    if exporter is None and not otlp_endpoint:
        return None
    return Tracing(exporter or _exporter(otlp_endpoint))


def stop_tracing(tracing: Tracing | None) -> None:
    """Send what is left, within EXPORT_TIMEOUT_S, and make no more spans."""
    if tracing is not None:
        tracing.close()


def spans_of(trace: Trace, resource: Resource) -> list[ReadableSpan]:
    """The request's span, or that of the work, and one for each of its stages, under the stage in which it began. One that has
    not ended, since it hangs in a thread, ends with the root and says so."""
    stages = trace.recording.stages.copy()
    root, contexts = _root(trace.recording), {id(each): _context(trace) for each in stages}
    spans = [_span_of_root(trace, root, resource)]
    for each in stages:
        outer = root if each.outer is None else contexts.get(id(each.outer), root)
        spans.append(_span_of_stage(trace, each, (contexts[id(each)], outer), resource))
    return spans


def _span_of_root(trace: Trace, context: SpanContext, resource: Resource) -> ReadableSpan:
    caller = trace.recording.caller
    return ReadableSpan(
        trace.name,
        context,
        parent=None if caller is None else SpanContext(caller.trace_id, caller.span_id, is_remote=True, trace_flags=_SAMPLED),
        resource=resource,
        attributes=trace.attributes,
        events=[Event("degraded", _told(each), timestamp=trace.ended_ns) for each in trace.degraded],
        links=() if trace.asked_by is None else (Link(_root(trace.asked_by)),),
        kind=SpanKind.INTERNAL if trace.answered is None else SpanKind.SERVER,
        status=Status(StatusCode.ERROR) if trace.has_failed else Status(),
        start_time=_ns(trace, trace.recording.started_s),
        end_time=trace.ended_ns,
        instrumentation_scope=_SCOPE,
    )


def _told(bent: Degradation) -> dict[str, str]:
    told = {"amity.stage": bent.stage, "amity.reason": bent.reason}
    return told if bent.fallback is None else told | {"amity.fallback": bent.fallback}


def _span_of_stage(trace: Trace, stage: Stage, contexts: tuple[SpanContext, SpanContext], resource: Resource) -> ReadableSpan:
    """`contexts`: its own, and that of what it began in."""
    ended_s, started_ns = stage.ended_s, _ns(trace, stage.started_s)
    return ReadableSpan(
        f"amity.{stage.name}",
        contexts[0],
        parent=contexts[1],
        resource=resource,
        attributes=stage.attributes if ended_s is not None else {**(stage.attributes or {}), "amity.unfinished": True},
        status=_status(stage, ended_s),
        start_time=started_ns,
        end_time=max(trace.ended_ns, started_ns) if ended_s is None else _ns(trace, ended_s),
        instrumentation_scope=_SCOPE,
    )


def _root(recording: Recording) -> SpanContext:
    return SpanContext(recording.trace_id, recording.span_id, is_remote=False, trace_flags=_SAMPLED)


def _context(trace: Trace) -> SpanContext:
    return SpanContext(trace.recording.trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=_SAMPLED)


def _ns(trace: Trace, moment_s: float) -> int:
    """A moment of our clock in nanoseconds since 1970."""
    return trace.ended_ns - round((trace.ended_s - moment_s) * 1e9)


def _status(stage: Stage, ended_s: float | None) -> Status:
    if ended_s is None:
        return Status(StatusCode.ERROR, "did not end in time")
    return Status() if stage.error is None else Status(StatusCode.ERROR, stage.error)


def _exemplify(trace: Trace) -> None:
    """Point from the histograms to a trace that a collector has taken."""
    told = f"{trace.recording.trace_id:032x}", trace.ended_ns / 1e9
    if trace.answered is not None:
        REQUEST_SECONDS.labels(*trace.answered).exemplify(trace.ended_s - trace.recording.started_s, *told)
    for stage in trace.recording.stages.copy():
        if stage.ended_s is not None:
            STAGE_SECONDS.labels(stage.name, stage.outcome).exemplify(stage.ended_s - stage.started_s, *told)


def _resource() -> Resource:
    """What makes one replica's traces tell from another's. OTEL_RESOURCE_ATTRIBUTES adds to it."""
    return Resource.create(
        {
            "service.name": "amity",
            "service.version": version("amity"),
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )


def _exporter(endpoint: str) -> Any:
    # Imported here: protobuf and requests cost 0.2 s of start that most processes never need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"
    return OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)
