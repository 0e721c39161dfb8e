"""The short way for recommendations: in front of Litestar, whose routing and parameters cost four times what an answer does
that is there already.

It answers exactly as the controller would, or not at all: whatever it is not sure of goes the controller's way, untouched, and
what was raised is for the controller to say.
"""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from service.controllers.exchange import ASGIApp, Exchange, Receive, Scope, Send, exchange_in
from service.controllers.hosts import HostRule
from service.controllers.keys import Keyring
from service.controllers.queries import decode_query
from service.controllers.shapes import RecommendationQuery
from service.domain import RecommendationRequest, Slate
from service.errors import AmityError
from service.recommend.answers import Reply
from service.recommend.held import Promise
from service.recommend.ready import Ready
from service.recommend.stages import unexpected
from service.telemetry import Stage

ROUTE = "/api/v1/recommendations/users/{user_id}/recommendations"

_PATH = re.compile(re.escape(ROUTE).replace(r"\{user_id\}", "([1-9][0-9]{0,17})"))
"""With ids that surely are below 2^63; longer ones may be and go the controller's way."""
_PLAIN_HOST = re.compile(rb"[A-Za-z0-9.:\[\]-]{0,300}")
"""Litestar refuses requests with a strange Host; these are a part of those that it takes."""

_QUERY_BYTES = 512
_QUERIES = 1024
_HOSTS = 256
_JSON = (b"content-type", b"application/json")


class Answering(Protocol):
    """Gives the answer that is there already, or None, and makes one. The orchestrator."""

    async def ready(self, request: RecommendationRequest, /) -> Ready | None: ...

    async def reply(self, request: RecommendationRequest, /) -> Reply: ...

    def promise(self, request: RecommendationRequest, /) -> Promise | None: ...

    def redeem(self, promise: Promise, look: Stage, stages_ms: Mapping[str, float], /) -> Ready | None: ...


class HotPath:
    """ASGI between what observes every request and the application. `find` gives who answers, once there is one."""

    def __init__(self, inner: ASGIApp, keyring: Keyring, hosts: HostRule, find: Callable[[], Answering | None]) -> None:
        self.inner = inner
        self._keyring = keyring
        self._rule = hosts
        self.find = find
        self._questions: dict[bytes, RecommendationRequest | None] = {}
        self._admitted: set[tuple[object, bytes]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        viewer_id = viewer_of(scope)
        if viewer_id is not None:
            body = await self._body(scope, viewer_id, exchange_in(scope))
            if body is not None:
                scope["path_template"] = ROUTE
                headers = [_JSON, (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return
        await self.inner(scope, receive, send)

    async def _body(self, scope: Scope, viewer_id: int, exchange: Exchange) -> bytes | None:
        """That of a 200, there already or made; None where it is for the controller to answer."""
        answering, request = self.find(), self.asked(scope, viewer_id, exchange)
        if answering is None or request is None:
            return None
        ready = None if exchange.is_looked_up else await self._ready(answering, request)
        if ready is not None:
            describe(exchange, viewer_id, ready)
            return ready.body
        try:
            reply = await answering.reply(request)
            body = reply.body
        except Exception as exc:  # noqa: BLE001 - the door of a request: the controller raises it again, where it has a shape
            exchange.raised.append(exc)
            return None
        describe_made(exchange, viewer_id, reply)
        return body

    async def _ready(self, answering: Answering, request: RecommendationRequest) -> Ready | None:
        try:
            return await answering.ready(request)
        except AmityError:
            return None  # who makes an answer meets it too
        except Exception as exc:  # noqa: BLE001 - the door of a request: one that is made may still answer it
            unexpected("request", exc)
            return None

    def asked(self, scope: Scope, viewer_id: int, exchange: Exchange) -> RecommendationRequest | None:
        """What is asked, by somebody who may ask; None where that is for the controller to say."""
        question = self._question(scope["query_string"])
        if question is None or exchange.bodiless or not self._admits(scope):
            return None
        return replace(question, viewer_id=viewer_id, request_id=exchange.request_id)

    def _question(self, query: bytes) -> RecommendationRequest | None:
        """The question of a query string, of no viewer in particular; None for one that is wrong, too rare to be held, or such
        that no answer can be there already: reasons are made anew each time."""
        if len(query) > _QUERY_BYTES:
            return None
        try:
            return self._questions[query]
        except KeyError:
            if len(self._questions) >= _QUERIES:
                self._questions.clear()
            question = self._questions[query] = _decoded(query)
            return question

    def _admits(self, scope: Scope) -> bool:
        """Whether host and key may read, as `shell` checks them, and the host is plain. Repeated headers are the controller's."""
        host = authorization = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return False
                host = value
            elif name == b"authorization":
                if authorization is not None:
                    return False
                authorization = value
        if host is not None and not self._admits_host(scope.get("server"), host):
            return False
        if self._keyring.is_open:
            return True
        try:
            self._keyring.require(None if authorization is None else authorization.decode("latin-1"), "read")
        except AmityError:
            return False
        return True

    def _admits_host(self, server: tuple[str, object] | None, host: bytes) -> bool:
        """Looked up: a service is called by few names."""
        called = (server, host)
        if called in self._admitted:
            return True
        if not _PLAIN_HOST.fullmatch(host) or not self._rule.admits(server, host.decode()):
            return False
        if len(self._admitted) >= _HOSTS:
            self._admitted.clear()
        self._admitted.add(called)
        return True


def viewer_of(scope: Scope) -> int | None:
    """Of a GET of exactly this route; None for anything else."""
    found = _PATH.fullmatch(scope.get("path", ""))
    if found is None or scope["method"] != "GET" or scope.get("root_path"):
        return None
    return int(found[1])


def _decoded(query: bytes) -> RecommendationRequest | None:
    try:
        question = decode_query(query, RecommendationQuery).to_request(viewer_id=1, request_id="")
    except AmityError:
        return None
    return None if question.explain else question


def describe(exchange: Exchange, viewer_id: int, ready: Ready) -> None:
    """For the log line, what is said of an answer that was there already."""
    _describe(exchange, viewer_id, ready, ready.n_shown, True)


def describe_made(exchange: Exchange, viewer_id: int, slate: Reply | Slate) -> None:
    """The same of one that was made."""
    exchange.degraded = slate.degraded
    _describe(exchange, viewer_id, slate, slate.total_count, slate.cached)


def _describe(exchange: Exchange, viewer_id: int, told: Ready | Reply | Slate, n_shown: int, cached: bool) -> None:
    exchange.event, exchange.slate = "recommendations generated", told
    exchange.fields = {
        "viewer_id": viewer_id,
        "count": n_shown,
        "algorithm_version": told.algorithm_version,
        "generation_time_ms": told.generation_time_ms,
        "cached": cached,
        "degraded": [f"{bent.stage}:{bent.reason}" for bent in exchange.degraded],
    }
