"""What surrounds every request: its id, its time, its headers, its one log line, its metrics and its span.

Own and thin: Litestar's plugins for the same take two thirds of the throughput, log headers and bodies and label metrics by
path. It wraps the whole application, so that answers no route gave (404, 405) look like all others.
"""

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from litestar import Request

from service import logs, metrics, telemetry
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


class Exchange:
    """One request and its answer. Handlers add to `fields` what the log line shall say: ids and counts, never texts of people.
    `bodiless`: a HEAD, answered as GET, of whose body nobody sees anything."""

    __slots__ = ("bodiless", "event", "fields", "method", "request_id", "route", "started", "status", "timings")

    def __init__(self, request_id: str, method: str) -> None:
        self.request_id = request_id
        self.method = method
        self.bodiless = method == "HEAD"
        self.started = time.perf_counter()
        self.timings = telemetry.collect_timings()
        self.event = "request answered"
        self.fields: dict[str, Any] = {}
        self.status = 0
        self.route = "unmatched"

    def begin(self, message: Message) -> None:
        """Take note of the answer's status and add our headers to its own."""
        self.status = message["status"]
        given = message["headers"]
        if self.method == "OPTIONS" or self.status == 405:
            given = map(_with_head, given)
        message["headers"] = [*given, *self.headers()]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """X-Request-ID, X-Process-Time in seconds, and Server-Timing with each stage in milliseconds."""
        elapsed_s = time.perf_counter() - self.started
        stages = "".join([f"{name};dur={ms:.2f}, " for name, ms in self.timings.items()])
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


class Observed:
    """The outermost ASGI callable."""

    def __init__(self, inner: ASGIApp, trace_ratio: float) -> None:
        self.inner = inner
        self._trace_ratio = trace_ratio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        method: str = scope["method"]
        exchange = Exchange(_request_id(headers.get(b"x-request-id")), method)
        logs.begin_request(exchange.request_id)
        # A copy: the server reads the method in its own scope, and holds a GET without its body for a defect.
        if exchange.bodiless:
            scope = {**scope, "method": "GET"}
        scope[_KEY] = exchange

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.begin(message)
            elif exchange.bodiless and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            with telemetry.request_span(headers.get(b"traceparent"), self._trace_ratio) as span:
                await self.inner(scope, receive, send_with_headers)
                telemetry.describe_request(span, method, scope.get("path_template") or "unmatched", exchange.status)
        finally:
            exchange.route = scope.get("path_template") or "unmatched"
            _finish(exchange)


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


def _finish(exchange: Exchange) -> None:
    """One sample and one log line. The route is its template and the method one of seven, so that labels stay bounded."""
    elapsed_s = time.perf_counter() - exchange.started
    method = exchange.method if exchange.method in _METHODS else "other"
    _request_seconds(method, exchange.route, exchange.status).observe(elapsed_s)
    fields = {
        "method": method,
        "route": exchange.route,
        "status": exchange.status,
        "duration_ms": round(elapsed_s * 1000, 2),
        **exchange.fields,
    }
    # Probes and scrapes come every few seconds for ever and say nothing new, so they are logged at debug.
    logs.answered("debug" if exchange.route.startswith(_PROBES) else "info", exchange.event, fields)


@cache
def _request_seconds(method: str, route: str, status: int) -> GatheredHistogram:
    """The metric of one set of labels. Looking it up costs as much as the sample, and there are few."""
    return metrics.REQUEST_SECONDS.labels(method, route, str(status))
