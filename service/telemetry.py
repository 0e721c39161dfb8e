"""Every span, metric and log field by name; `stage()` times success and failure alike."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode
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
    "Exceptions nobody foresaw, caught at one of the two doors that degrade.",
    ["door", "type"],
    registry=REGISTRY,
)
POOL_LOOKUPS = Counter("amity_pool_lookups_total", "Looks for a ranked pool.", ["outcome"], registry=REGISTRY)
IMPRESSIONS_DROPPED = Counter(
    "amity_impressions_dropped_total",
    "Slates whose impressions were not written.",
    ["arm"],
    registry=REGISTRY,
)
IMPRESSIONS_WRITTEN = Counter("amity_impressions_written_total", "Slates written.", registry=REGISTRY)
IN_FLIGHT = Gauge("amity_recommendations_in_flight", "Recommendation requests at work.", registry=REGISTRY)
THREADS_ABANDONED = Counter(
    "amity_threads_abandoned_total",
    "Calls that outlived their deadline and still hold a thread.",
    ["door"],
    registry=REGISTRY,
)
BREAKER_STATE = Gauge("amity_breaker_open", "1 while a breaker is open, else 0.", ["breaker"], registry=REGISTRY)
FEED_LAG_S = Gauge("amity_feed_last_poll_timestamp_seconds", "When the change feed was last read.", registry=REGISTRY)
FEED_CHANGES = Counter("amity_feed_changes_total", "Changes applied from the feed.", ["entity"], registry=REGISTRY)
POPULATION_PEOPLE = Gauge("amity_population_people", "People in memory.", ["part"], registry=REGISTRY)
BUNDLE_LOADS = Counter("amity_bundle_loads_total", "Bundles loaded or refused.", ["outcome"], registry=REGISTRY)

_tracer = trace.get_tracer("amity")
_timings: ContextVar[dict[str, float] | None] = ContextVar("stage_timings_ms", default=None)


def collect_timings() -> dict[str, float]:
    """Start collecting the stages of this request, in ms by stage; the dictionary fills as stages end."""
    timings: dict[str, float] = {}
    _timings.set(timings)
    return timings


@contextmanager
def stage(name: str, **attributes: str | int | float | bool) -> Iterator[trace.Span]:
    """A span `amity.<name>` and a histogram sample around one stage, whether it succeeds or fails."""
    started = time.perf_counter()
    outcome = "ok"
    with _tracer.start_as_current_span(
        f"amity.{name}", attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as exc:
            outcome = "error"
            span.set_status(Status(StatusCode.ERROR, type(exc).__name__))
            raise
        finally:
            elapsed_s = time.perf_counter() - started
            STAGE_SECONDS.labels(name, outcome).observe(elapsed_s)
            timings = _timings.get()
            if timings is not None:
                timings[name] = timings.get(name, 0.0) + elapsed_s * 1000


class Progress(Protocol):
    """How long work tells how far it is: a bar on a terminal, plain lines elsewhere. `total` None: not known."""

    def __call__(self, step: str, done: int, total: int | None) -> None: ...


def silent(step: str, done: int, total: int | None) -> None:
    """A Progress for those who do not watch."""
