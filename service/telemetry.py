"""Every span, metric and log field by name; `stage()` times success and failure alike."""

import logging
import random
import sys
import time
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TextIO
from urllib.parse import urlsplit

import msgspec
import structlog
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

STAGE_SECONDS = Histogram(
    "amity_stage_seconds",
    "Time of one stage of a recommendation request, failed ones too.",
    ["stage", "outcome"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "amity_http_request_seconds",
    "Time of one HTTP request by route template, never by path.",
    ["method", "route", "status"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
RECOMMENDATIONS = Counter(
    "amity_recommendations_total",
    "Recommendation answers by the ranker that really ranked them.",
    ["algorithm_version", "cached", "degraded"],
    registry=REGISTRY,
)
DEGRADED = Counter(
    "amity_degraded_total",
    "Things that were bent so that a request could be answered.",
    ["stage", "reason"],
    registry=REGISTRY,
)
UNEXPECTED_ERRORS = Counter(
    "amity_unexpected_errors_total",
    "Exceptions nobody foresaw, by the door that caught them: a stage, a request, a background task.",
    ["door", "type"],
    registry=REGISTRY,
)
"""The doors that catch what nobody foresaw: a stage and a request, which degrade; the answer's 500, where degrading is not
enough; a background task, which starts anew. Two more catch and hand on: loading a plug-in, which reports it as broken, and a
worker thread, whose caller gets what was raised."""
POOL_LOOKUPS = Counter("amity_pool_lookups_total", "Looks for a ranked pool.", ["outcome"], registry=REGISTRY)
"""`hit`, `stale` (served, and renewed by somebody), `miss`, `unusable` (damaged, dropped, or of a viewer who has changed), and
`unavailable` while Redis is away."""
POOL_RENEWALS = Counter(
    "amity_pool_renewals_total", "Renewals of stale pools that were asked for.", ["outcome"], registry=REGISTRY
)
"""`renewed`, `elsewhere` (another replica has done it, or is at it), `degraded` (not stored), `failed`, `refused` (no room)."""
FIRST_LEVEL_BYTES = Gauge("amity_first_level_bytes", "Bytes held in process, counted.", ["kind"], registry=REGISTRY)
FIRST_LEVEL_LOOKUPS = Counter(
    "amity_first_level_lookups_total", "Looks into what is held.", ["kind", "outcome"], registry=REGISTRY
)
IMPRESSIONS_DROPPED = Counter(
    "amity_impressions_dropped_total",
    "Slates whose impressions were not written.",
    ["arm"],
    registry=REGISTRY,
)
IMPRESSIONS_WRITTEN = Counter("amity_impressions_written_total", "Slates written.", registry=REGISTRY)
REFUSED = Counter("amity_refused_total", "Requests refused for want of capacity.", ["reason"], registry=REGISTRY)
IN_FLIGHT = Gauge("amity_recommendations_in_flight", "Recommendation requests at work.", registry=REGISTRY)
THREADS_ABANDONED = Counter(
    "amity_threads_abandoned_total",
    "Calls that outlived their deadline and still hold a thread.",
    ["door"],
    registry=REGISTRY,
)
BREAKER_STATE = Gauge("amity_breaker_open", "1 while a breaker is open, else 0.", ["breaker"], registry=REGISTRY)
FEED_LAST_POLL = Gauge("amity_feed_last_poll_timestamp_seconds", "When the change feed was last read.", registry=REGISTRY)
FEED_CHANGES = Counter("amity_feed_changes_total", "Changes applied from the feed.", ["entity"], registry=REGISTRY)
FEED_FAILURES = Counter("amity_feed_failures_total", "Reads of the change feed that failed.", registry=REGISTRY)
NEWS_MESSAGES = Counter(
    "amity_news_messages_total",
    "Messages between replicas about people who changed: sent, unsent (Redis away), received, foreign (not understood).",
    ["outcome"],
    registry=REGISTRY,
)
NEWS_LAPSED = Counter(
    "amity_news_lapsed_total",
    "Times that news of other replicas stopped coming, and what rested on it was dropped.",
    registry=REGISTRY,
)
NEWS_LIVE = Gauge("amity_news_live", "1 while news from other replicas is known to arrive, else 0.", registry=REGISTRY)
POPULATION_PEOPLE = Gauge("amity_population_people", "People in memory.", ["part"], registry=REGISTRY)
POPULATION_NEWS = Gauge(
    "amity_population_relations_since", "Ordered pairs of whom the feed has brought news since the bundle.", registry=REGISTRY
)
SEARCHES = Counter("amity_searches_total", "Vector searches, by how they were planned.", ["space", "method"], registry=REGISTRY)
BUNDLE_LOADS = Counter("amity_bundle_loads_total", "Bundles loaded or refused.", ["outcome"], registry=REGISTRY)

EXPORT_TIMEOUT_S = 2
"""A dead collector may delay a shutdown by this much, and never a request."""

_tracer: trace.Tracer | None = None
_timings: ContextVar[dict[str, float] | None] = ContextVar("stage_timings_ms", default=None)


def collect_timings() -> dict[str, float]:
    """Start collecting the stages of this request, in ms by stage; the dictionary fills as stages end."""
    timings: dict[str, float] = {}
    _timings.set(timings)
    return timings


def current_timings() -> dict[str, float]:
    """The stages of this request collected so far, in ms by stage; starts collecting when nobody has."""
    timings = _timings.get()
    return collect_timings() if timings is None else timings


@contextmanager
def stage(name: str, **attributes: str | int | float | bool) -> Iterator[trace.Span]:
    """A histogram sample around one stage, whether it succeeds or fails, and a span `amity.<name>` in a sampled request."""
    started = time.perf_counter()
    outcome = "ok"
    span, token = _child_span(name, attributes)
    try:
        yield span
    except BaseException as exc:
        outcome = "error"
        span.set_status(Status(StatusCode.ERROR, type(exc).__name__))
        raise
    finally:
        elapsed_s = time.perf_counter() - started
        if token is not None:
            context.detach(token)
            span.end()
        STAGE_SECONDS.labels(name, outcome).observe(elapsed_s)
        timings = _timings.get()
        if timings is not None:
            timings[name] = timings.get(name, 0.0) + elapsed_s * 1000


def _child_span(name: str, attributes: dict[str, Any]) -> tuple[trace.Span, Any]:
    """A started span and its token; outside a sampled request none is made, for even an unsampled one costs 8 µs."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return trace.INVALID_SPAN, None
    span = _tracer.start_span(f"amity.{name}", attributes=attributes)
    return span, context.attach(trace.set_span_in_context(span))


@contextmanager
def request_span(traceparent: bytes | None, ratio: float) -> Iterator[trace.Span]:
    """The span of one HTTP request: made when the caller's `traceparent` is sampled, or else for a share of the requests."""
    if _tracer is None:
        yield trace.INVALID_SPAN
        return
    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent.decode("latin-1")}) if traceparent else None
    caller = trace.get_current_span(parent).get_span_context() if parent is not None else trace.INVALID_SPAN_CONTEXT
    sampled = caller.trace_flags.sampled if caller.is_valid else random.random() < ratio
    if not sampled:
        yield trace.INVALID_SPAN
        return
    span = _tracer.start_span("request", context=parent or context.Context(), kind=trace.SpanKind.SERVER)
    token = context.attach(trace.set_span_in_context(span))
    structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(span.get_span_context().trace_id))
    try:
        yield span
    finally:
        context.detach(token)
        span.end()


def describe_request(span: trace.Span, method: str, route: str, status: int) -> None:
    """Name a request's span by its route template, never by its path or query."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def start_tracing(otlp_endpoint: str, processor: SpanProcessor | None = None) -> TracerProvider | None:
    """Begin making spans, sent to the collector at `otlp_endpoint` or handed to `processor`; None when there is neither.

    To be called in the lifespan, never before a fork: the batch processor owns a thread. Sampling is decided once a request,
    before any span exists, so the provider samples whatever it is given.
    """
    global _tracer
    if processor is None:
        if not otlp_endpoint:
            return None
        processor = BatchSpanProcessor(_exporter(otlp_endpoint))
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": "amity"}), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("amity")
    return provider


def _exporter(endpoint: str) -> Any:
    # Imported here: protobuf and requests cost 0.2 s of start that most processes never need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"
    return OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)


def stop_tracing(provider: TracerProvider | None) -> None:
    """Send what is left, within EXPORT_TIMEOUT_S, and make no more spans."""
    global _tracer
    _tracer = None
    if provider is not None:
        provider.shutdown()


def _json(line: Any, **_: Any) -> str:
    return msgspec.json.encode(line, enc_hook=repr).decode()


def frames_of(exc: BaseException) -> list[str]:
    """Where it was raised, `file:line function`, the innermost last and twelve at most."""
    frames = traceback.extract_tb(exc.__traceback__)[-12:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def _without_message(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`exc_info` as the exception's type, its cause's and its frames. Never its message, which may quote what people wrote; where
    the line itself quotes it, as asyncio's do, only the line's beginning stays."""
    given = event.pop("exc_info", None)
    exc = given[1] if isinstance(given, tuple) else sys.exception() if given is True else given
    if not isinstance(exc, BaseException):
        return event
    event["event"] = str(event["event"]).partition("\n")[0]
    if message := str(exc):
        event["event"] = event["event"].partition(message)[0]
    cause = exc.__cause__ or exc.__context__
    return {**event, "error_type": type(exc).__name__, "cause_type": type(cause).__name__, "frames": frames_of(exc)}


def configure_logging(log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """One line an event on standard error: JSON, or coloured text on a terminal. The standard library's logs go the same way."""
    stream = stream if stream is not None else sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else structlog.processors.JSONRenderer(_json)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _without_message,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    level = logging.getLevelNamesMapping()[log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        # Loggers are made at import, before settings are known; a cached one would keep the first configuration for ever.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))


class Progress(Protocol):
    """How long work tells how far it is: a bar on a terminal, plain lines elsewhere. `total` None: not known."""

    def __call__(self, step: str, done: int, total: int | None) -> None: ...


def silent(step: str, done: int, total: int | None) -> None:
    """A Progress for those who do not watch."""
