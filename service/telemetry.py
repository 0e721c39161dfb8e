"""Spans and stages: `stage()` times success and failure alike."""

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

from service import logs
from service.metrics import STAGE_SECONDS
from service.samples import GatheredHistogram

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
