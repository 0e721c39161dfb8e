"""Every span and metric by name; `stage()` times success and failure alike."""

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from functools import cache
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge

from service import logs
from service.samples import GatheredHistogram, LoopCounter

REGISTRY = CollectorRegistry(auto_describe=True)

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

STAGE_SECONDS = GatheredHistogram(
    "amity_stage_seconds",
    "Time of one stage of a recommendation request, failed ones too.",
    ["stage", "outcome"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
REQUEST_SECONDS = GatheredHistogram(
    "amity_http_request_seconds",
    "Time of one HTTP request by route template, never by path.",
    ["method", "route", "status"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
RECOMMENDATIONS = LoopCounter(
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
POOL_LOOKUPS = LoopCounter("amity_pool_lookups_total", "Looks for a ranked pool.", ["outcome"], registry=REGISTRY)
"""`hit`, `stale` (served, and renewed by somebody), `miss`, `unusable` (damaged, dropped, or of a viewer who has changed), and
`unavailable` while Redis is away."""
POOL_RENEWALS = Counter(
    "amity_pool_renewals_total", "Renewals of stale pools that were asked for.", ["outcome"], registry=REGISTRY
)
"""`renewed`, `elsewhere` (another replica has done it or is at it, or Redis is away), `degraded` (not stored), `failed`,
`refused` (no room)."""
FIRST_LEVEL_BYTES = Gauge("amity_first_level_bytes", "Bytes held in process, counted.", ["kind"], registry=REGISTRY)
FIRST_LEVEL_LOOKUPS = LoopCounter(
    "amity_first_level_lookups_total", "Looks into what is held.", ["kind", "outcome"], registry=REGISTRY
)
IMPRESSIONS_DROPPED = Counter(
    "amity_impressions_dropped_total",
    "Slates whose impressions were not written.",
    ["arm"],
    registry=REGISTRY,
)
FEATURES_DROPPED = Counter(
    "amity_served_features_dropped_total", "Pools whose features were not written, for want of memory.", registry=REGISTRY
)
IMPRESSIONS_WRITTEN = Counter("amity_impressions_written_total", "Slates written.", registry=REGISTRY)
GUARDRAIL_ROUNDS = Counter(
    "amity_guardrail_rounds_total",
    "Looks at the guardrails of running experiments: done, elsewhere (not due: another replica has made it), failed.",
    ["outcome"],
    registry=REGISTRY,
)
GUARDRAIL_STOPS = Counter(
    "amity_guardrail_stops_total",
    "Arms of experiments that were ended since they surely broke a guardrail.",
    ["arm", "guardrail"],
    registry=REGISTRY,
)
REFUSED = Counter("amity_refused_total", "Requests refused for want of capacity.", ["reason"], registry=REGISTRY)
IN_FLIGHT = Gauge("amity_recommendations_in_flight", "Recommendation requests at work.", registry=REGISTRY)
SHADOW_CORRELATION = GatheredHistogram(
    "amity_shadow_rank_correlation",
    "Spearman's rank correlation of a pool's scores by the ranker in the shadow with those it was served by.",
    ["ranker", "against"],
    buckets=(-0.5, 0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0),
    registry=REGISTRY,
)
SHADOW_DRIFT = GatheredHistogram(
    "amity_shadow_score_drift",
    "Mean score of a pool by the ranker in the shadow less that by the one it was served by.",
    ["ranker", "against"],
    buckets=(-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    registry=REGISTRY,
)
SHADOW_SECONDS = GatheredHistogram(
    "amity_shadow_seconds",
    "Time in which the ranker in the shadow scored a pool.",
    ["ranker"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SHADOW_FAILURES = Counter(
    "amity_shadow_failures_total", "Pools that the ranker in the shadow did not score.", ["ranker", "reason"], registry=REGISTRY
)
"""The reasons of `degraded` for a ranker, and `no_room`: as many were waiting as may."""
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
REDIS_REFUSED = Counter(
    "amity_redis_refused_total",
    "Commands that Redis was there for and refused: it is full, lacks a replica or disk, or may not be asked this.",
    ["command"],
    registry=REGISTRY,
)
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
_sampled: ContextVar[bool] = ContextVar("request_is_sampled", default=False)


def collect_timings() -> dict[str, float]:
    """Start collecting the stages of this request, in ms by stage; the dictionary fills as stages end."""
    timings: dict[str, float] = {}
    _timings.set(timings)
    return timings


def current_timings() -> dict[str, float]:
    """The stages of this request collected so far, in ms by stage; starts collecting when nobody has."""
    timings = _timings.get()
    return collect_timings() if timings is None else timings


class Stage:
    """A histogram sample around one stage, whether it succeeds or fails, and a span `amity.<name>` in a sampled request.

    A class, since a generator made a context manager costs 1 us more; a hit has two.
    """

    __slots__ = ("_attributes", "_name", "_span", "_started", "_token")

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> trace.Span:
        self._started = time.perf_counter()
        self._span: trace.Span = trace.INVALID_SPAN
        self._token: Token[context.Context] | None = None
        if _tracer is not None and _sampled.get():  # even an unsampled span costs 8 us
            self._span = _tracer.start_span(f"amity.{self._name}", attributes=self._attributes)
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, frames: TracebackType | None) -> None:
        elapsed_s = time.perf_counter() - self._started
        if self._token is not None:
            if kind is not None:
                self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
            context.detach(self._token)
            self._span.end()
        _stage_seconds(self._name, "ok" if kind is None else "error").observe(elapsed_s)
        timings = _timings.get()
        if timings is not None:
            timings[self._name] = timings.get(self._name, 0.0) + elapsed_s * 1000


def stage(name: str, **attributes: str | int | float | bool) -> Stage:
    """`with stage("ranking") as span:` times what is within; the span records nothing outside a sampled request."""
    return Stage(name, attributes)


@cache
def _stage_seconds(name: str, outcome: str) -> GatheredHistogram:
    """The metric of one pair of labels. Looking it up costs half as much as the sample, and there are few."""
    return STAGE_SECONDS.labels(name, outcome)


class _NoSpan:
    """What an unsampled request gets in place of a span."""

    def __enter__(self) -> trace.Span:
        return trace.INVALID_SPAN

    def __exit__(self, *_: object) -> None:
        return


_NO_SPAN = _NoSpan()


def request_span(traceparent: bytes | None, ratio: float) -> AbstractContextManager[trace.Span]:
    """The span of one HTTP request: made when the caller's `traceparent` is sampled, or else for a share of the requests."""
    tracer = _tracer
    if tracer is None:
        return _NO_SPAN
    if traceparent is None:
        return _request_span(tracer, context.Context()) if random.random() < ratio else _NO_SPAN
    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent.decode("latin-1")})
    caller = trace.get_current_span(parent).get_span_context()
    sampled = caller.trace_flags.sampled if caller.is_valid else random.random() < ratio
    return _request_span(tracer, parent) if sampled else _NO_SPAN


@contextmanager
def _request_span(tracer: trace.Tracer, parent: context.Context) -> Iterator[trace.Span]:
    span = tracer.start_span("request", context=parent, kind=trace.SpanKind.SERVER)
    token, sampled_before = context.attach(trace.set_span_in_context(span)), _sampled.set(True)
    logs.add_to_request("trace_id", trace.format_trace_id(span.get_span_context().trace_id))
    try:
        yield span
    finally:
        _sampled.reset(sampled_before)
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


class Progress(Protocol):
    """How long work tells how far it is: a bar on a terminal, plain lines elsewhere. `total` None: not known."""

    def __call__(self, step: str, done: int, total: int | None) -> None: ...


def silent(step: str, done: int, total: int | None) -> None:
    """A Progress for those who do not watch."""
