"""For operators and their machines: health, metrics, and the schema."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Controller, Response, get
from prometheus_client import exposition

from service.controllers.keys import require_scope
from service.controllers.openapi import openapi
from service.controllers.routes import AnyRequest, reply, spec
from service.controllers.shapes import Live, Ready
from service.errors import AmityError, Unavailable
from service.metrics import REGISTRY
from service.population.holder import PopulationHolder
from service.resilience import Deadline, bounded
from service.settings import Settings

Ping = Callable[[], Awaitable[bool]]


class NotReady(Unavailable):
    """The population is not loaded yet"""


class Readiness:
    """Made when the population is loaded and the database has been seen; before that the service is not ready."""

    def __init__(self, people: PopulationHolder[Any], pings: dict[str, Ping], timeout_s: float) -> None:
        self._people = people
        self._pings = pings
        self._timeout_s = timeout_s

    async def report(self) -> Ready:
        """Ready, with the servers that are away just now: losing one later bends answers, and does not end them."""
        answers = await asyncio.gather(*(self._answers(ping) for ping in self._pings.values()))
        away = tuple(name for name, answered in zip(self._pings, answers, strict=True) if not answered)
        people = self._people.current
        return Ready(status="ready", degraded=away, bundle_version=people.bundle_version, people=people.n_people)

    async def _answers(self, ping: Ping) -> bool:
        try:
            return await bounded(ping(), Deadline(self._timeout_s))
        except AmityError:
            return False


class Health(Controller):
    path = "/health"

    @get("/live", opt=spec(summary="Whether the process answers", scope=None, replies={200: Live}))
    async def live(self) -> Response[bytes]:
        return reply(Live("live"))

    @get(
        "/ready",
        opt=spec(
            summary="Whether requests should be sent here",
            scope=None,
            replies={200: Ready},
            errors=(503,),
            description="Ready once the population is loaded and the database was seen; a server lost later is in `degraded`.",
        ),
    )
    async def ready(self, request: AnyRequest) -> Response[bytes]:
        readiness: Readiness | None = request.app.state.get("readiness")
        if readiness is None:
            raise NotReady
        return reply(await readiness.report())


@get(
    "/metrics",
    opt=spec(
        summary="Prometheus metrics",
        scope=None,
        replies={200: str},
        errors=(401, 403),
        description="Open, unless AMITY_METRICS_OPEN is false: then with scope `read`. OpenMetrics, with exemplars, where "
        "`Accept` asks for it.",
    ),
)
async def metrics(request: AnyRequest) -> Response[bytes]:
    settings: Settings = request.app.state.settings
    if not settings.metrics_open:
        require_scope(request, "read")
    encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=content_type)


@get(["/schema", "/schema/openapi.json"], opt=spec(summary="This document", scope=None, replies={200: dict}))
async def schema(request: AnyRequest) -> Response[bytes]:
    state = request.app.state
    if "schema" not in state:
        state.schema = msgspec.json.encode(openapi(request.app, state.version))
    document: Any = state.schema
    return Response(document, media_type="application/json")
