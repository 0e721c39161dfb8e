"""What surrounds every request: its id, its time, its headers, its one log line, its metrics and its span.

Own and thin: Litestar's plugins for the same take two thirds of the throughput, log headers and bodies and label metrics by
path. It wraps the whole application, so that answers no route gave (404, 405) look like all others.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cache
from typing import Any, Literal, Protocol

from litestar import Request

from service import logs, metrics, telemetry
from service.domain import Degradation, ExperimentArm
from service.recommend.identifiers import uuid7_text
from service.samples import GatheredHistogram

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_SANE_TOKEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = ("/health", "/metrics")
_KEY = "amity.exchange"


class Slated(Protocol):
    """Whose slate was answered, which its trace tells beside the log line's fields."""

    @property
    def bundle_version(self) -> str | None: ...
    @property
    def experiment(self) -> ExperimentArm | None: ...


class Exchange:
    """One request and its answer. Handlers add to `fields` what the log line and the trace shall say: ids and counts, never texts
    of people. `degraded`: what was bent. `bodiless`: a HEAD, answered as GET, of whose body nobody sees anything.
    `is_looked_up`: the shortest way has looked for an answer that is there already. `raised`: on the short way, for the
    controller to take out and raise again. Held, it would be a cycle, for its frames lead back here."""

    __slots__ = (
        "bodiless", "degraded", "event", "fields", "is_looked_up", "method",
        "raised", "recording", "request_id", "route", "slate", "status",
    )  # fmt: skip

    def __init__(self, request_id: str, method: str, recording: telemetry.Recording) -> None:
        self.request_id = request_id
        self.method = method
        self.recording = recording
        self.bodiless = method == "HEAD"
        self.is_looked_up = False
        self.raised: list[Exception] = []
        self.slate: Slated | None = None
        self.degraded: tuple[Degradation, ...] = ()
        self.event = "request answered"
        self.fields: dict[str, Any] = {}
        self.status = 0
        self.route = "unmatched"

    def bend(self, degraded: Iterable[Degradation]) -> None:
        """What was bent, for the trace, which is wanted then, and the log line."""
        self.degraded = tuple(degraded)
        self.fields["degraded"] = [f"{bent.stage}:{bent.reason}" for bent in self.degraded]

    def begin(self, message: Message) -> None:
        """Take note of the answer's status and add our headers to its own."""
        self.status = int(message["status"])  # Litestar's may be an HTTPStatus, which a log for people would spell out
        given = message["headers"]
        if self.method == "OPTIONS" or self.status == 405:
            given = map(_with_head, given)
        message["headers"] = [*given, *self.headers()]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """X-Request-ID, X-Process-Time in seconds, and Server-Timing with each stage in milliseconds."""
        elapsed_s = time.perf_counter() - self.recording.started_s
        stages = "".join([f"{name};dur={ms:.2f}, " for name, ms in self.recording.timings.items()])
        return [
            (b"x-request-id", self.request_id.encode()),
            (b"x-process-time", b"%.6f" % elapsed_s),
            (b"server-timing", f"{stages}total;dur={elapsed_s * 1000:.2f}".encode()),
        ]


def exchange_of(request: Request[Any, Any, Any]) -> Exchange:
    return exchange_in(request.scope)


def exchange_in(scope: Any) -> Exchange:
    exchange: Exchange = scope[_KEY]
    return exchange


def begun(scope: Scope, trace_ratio: float) -> Exchange:
    """The exchange of a request, which begins now if it has not."""
    exchange: Exchange | None = scope.get(_KEY)
    if exchange is None:
        headers = dict(scope["headers"])
        recording = telemetry.recording_of(headers.get(b"traceparent"), trace_ratio)
        exchange = scope[_KEY] = Exchange(_request_id(headers.get(b"x-request-id")), scope["method"], recording)
    return exchange


class Observed:
    """The outermost ASGI callable."""

    def __init__(self, inner: ASGIApp, trace_ratio: float) -> None:
        self.inner = inner
        self._trace_ratio = trace_ratio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        exchange = begun(scope, self._trace_ratio)
        telemetry.record_in(exchange.recording)
        logs.begin_request(exchange.request_id, exchange.recording)
        # A copy: the server reads the method in its own scope, and holds a GET without its body for a defect.
        if exchange.bodiless:
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.begin(message)
            elif exchange.bodiless and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            await self.inner(scope, receive, send_with_headers)
        finally:
            exchange.route = scope.get("path_template") or "unmatched"
            finish(exchange)


def _with_head(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Litestar's Allow does not know that HEAD is answered here wherever GET is."""
    name, value = header
    if name.lower() != b"allow":
        return header
    methods = {method.strip() for method in value.split(b",")}
    return name, b", ".join(sorted(methods | {b"HEAD"} if b"GET" in methods else methods))


def _request_id(given: bytes | None) -> str:
    """The caller's id when it is a sane token, else a new one that sorts by time."""
    if given is not None and _SANE_TOKEN.fullmatch(given):
        return given.decode()
    return uuid7_text()


def finish(exchange: Exchange) -> None:
    """One sample, one log line and, where it is wanted, a trace. The route is its template and the method one of seven, so that
    labels stay bounded."""
    ended_s, recording = time.perf_counter(), exchange.recording
    elapsed_s = ended_s - recording.started_s
    method = exchange.method if exchange.method in _METHODS else "other"
    _request_seconds(method, exchange.route, exchange.status).observe(elapsed_s)
    has_failed = exchange.status >= 500 or not exchange.status
    if has_failed:
        recording.want("failed")
    elif exchange.degraded:
        recording.want("degraded")
    if recording.why is not None:
        telemetry.hand_in(_trace(exchange, method, ended_s, has_failed))
    fields = {
        "method": method,
        "route": exchange.route,
        "status": exchange.status,
        "duration_ms": round(elapsed_s * 1000, 2),
        **exchange.fields,
    }
    # Probes and scrapes come every few seconds for ever and say nothing new, so they are logged at debug.
    level: Literal["debug", "info"] = "debug" if exchange.route.startswith(_PROBES) else "info"
    logs.answered(level, exchange.event, fields, (exchange.request_id, recording))


def _trace(exchange: Exchange, method: str, ended_s: float, has_failed: bool) -> telemetry.Trace:
    """What the request's span says: what its log line does, and of a slate whose it is and what was bent for it."""
    told = {f"amity.{name}": value for name, value in exchange.fields.items() if value is not None and value != []}
    slate = exchange.slate
    if slate is not None and slate.bundle_version is not None:
        told["amity.bundle_version"] = slate.bundle_version
    if slate is not None and slate.experiment is not None:
        told |= {"amity.experiment": slate.experiment.name, "amity.arm": slate.experiment.arm}
    return telemetry.Trace(
        recording=exchange.recording,
        name=f"{method} {exchange.route}",
        ended_s=ended_s,
        ended_ns=time.time_ns(),
        has_failed=has_failed,
        attributes=told
        | {
            "http.request.method": method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "amity.request_id": exchange.request_id,
            "amity.traced_because": exchange.recording.why,
        },
        degraded=exchange.degraded,
        answered=(method, exchange.route, str(exchange.status)),
    )


@cache
def _request_seconds(method: str, route: str, status: int) -> GatheredHistogram:
    """The metric of one set of labels. Looking it up costs as much as the sample, and there are few."""
    return metrics.REQUEST_SECONDS.labels(method, route, str(status))
