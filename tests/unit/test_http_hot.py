"""The short way in front of the controller: it gives the same answer, or leaves the request alone."""

import gc
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID
from weakref import WeakSet

import httpx
import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from msgspec.structs import replace

from service.app import INJECTED
from service.controllers.hot import ROUTE, HotPath
from service.controllers.recommendations import Recommendations
from service.controllers.shell import shell
from service.domain import Profile, RecommendationRequest, RecommendedPerson, ShownPeople, Slate
from service.errors import DatabaseUnavailable, Overloaded, UnknownUser
from service.recommend.fragments import Entry, SlateJson, fragment_of, slate_head, slate_tail
from service.recommend.ready import Finished, Ready
from service.settings import Settings

SECRETS = {"reader": b"s3cret", "writer": b"other"}
KEYS = ",".join(
    f"{name}:{scope}:{hashlib.sha256(SECRETS[name]).hexdigest()}" for name, scope in (("reader", "read"), ("writer", "write"))
)
EVE = Profile(id=9, name='Eve "Ü" \u2028', bio="likes <tea>\n", interests=("tea",), created_at=datetime(2026, 1, 1, tzinfo=UTC))
SLATE_ID = UUID(int=5)
PERSON = RecommendedPerson(
    id=9,
    name=EVE.name,
    age=None,
    gender=None,
    location=None,
    bio=EVE.bio,
    interests=("tea",),
    match_score=0.5,
    slot="ranked",
    sources=("explore",),
    created_at=EVE.created_at,
    last_active_at=None,
)


class Encoded(Slate, frozen=True):
    """A slate that knows its bytes."""

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass
class World:
    """An orchestrator that knows viewers 1 to 99, and has answers for the even ones at hand."""

    hits: int = 0
    asked: list[RecommendationRequest] = field(default_factory=list)
    failure: Exception | None = None

    async def ready(self, request: RecommendationRequest) -> Ready | None:
        if self.failure is not None:
            raise self.failure
        if (
            request.viewer_id % 2
            or request.viewer_id > 99
            or request.exclude_ids
            or not request.use_cache
            or not request.recorded
        ):
            return None
        self.hits += 1
        self.asked.append(request)
        json = SlateJson(slate_head([Entry(fragment_of(EVE), 0.5, "ranked", ("explore",))], "v1", None, None), slate_tail(True))
        people = ShownPeople(
            candidate_ids=(9,), scores=(0.5,), propensities=(1.0,), exploration=(False,), sources=(("explore",),)
        )
        finished = Finished(
            json=json,
            people=people,
            pool_id=SLATE_ID,
            n_candidates=1,
            algorithm_version="v1",
            bundle_version=None,
            experiment=None,
        )
        return finished.answer(request, 1.25, SLATE_ID)

    def promise(self, request: RecommendationRequest) -> None:
        """Nothing is there for who has no coroutine."""

    async def recommend(self, request: RecommendationRequest) -> Slate:
        return await self.reply(request)

    async def reply(self, request: RecommendationRequest) -> Encoded:
        if request.viewer_id > 99:
            raise UnknownUser(request.viewer_id)
        self.asked.append(request)
        return Encoded(
            recommendations=(PERSON,),
            total_count=1,
            algorithm_version="v1",
            bundle_version=None,
            experiment=None,
            ordering="score",
            generation_time_ms=1.25,
            cached=True,
            degraded=(),
            message=None,
            slate_id=SLATE_ID,
            request_id=request.request_id,
        )


def served(world: World, keys: str = "") -> Litestar:
    app = shell(Settings(api_keys=keys), [Recommendations], provided=INJECTED)
    app.state.orchestrator = world
    return app


def without_short_way(app: Litestar) -> Litestar:
    observed: Any = app.asgi_handler
    assert isinstance(observed.inner, HotPath)
    observed.inner = observed.inner.inner
    return app


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://amity")


async def exchanged(app: Any, scope: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes, list[Any]]:
    """Status, headers but those of times, body and log lines."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with structlog.testing.capture_logs() as logs:
        await app({**scope, "headers": list(scope["headers"])}, receive, send)
    timed = (b"x-process-time", b"server-timing")
    headers = [(name, re.sub(rb"\d+", b"0", value) if name in timed else value) for name, value in sent[0]["headers"]]
    lines = [{name: value for name, value in line.items() if name != "duration_ms"} for line in logs]
    return (
        sent[0]["status"],
        headers,
        b"".join(message.get("body", b"") for message in sent[1:]),
        [list(line.items()) for line in lines],
    )


IDS = "1 2 4 42 100 0 -2 007 2.0 9999999999999999999 %34%32 %EF%BC%94 abc 2/ 2// %00"
NAMES = (
    "limit exclude_seen exclude_ids min_age max_age gender interests max_km algorithm_version use_cache explain offset l%69mit"
)
VALUES = "1 20 0 101 true false 30 v1 tea %C3%A9 %ff + a%26b %00 1e3"
ids = st.sampled_from([*IDS.split(), ""])
names = st.sampled_from([*NAMES.split(), "%00"])
values = st.sampled_from([*VALUES.split(), "", "x" * 600])
queries = st.lists(st.tuples(names, st.sampled_from(["=", "", "=="]), values), max_size=3).map(
    lambda pairs: "&".join("".join(pair) for pair in pairs)
)
methods = st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "BREW"])
headers = st.lists(
    st.sampled_from(
        [
            (b"host", b"amity:8000"),
            (b"host", b"localhost:8000"),
            (b"host", b"[::1]"),
            (b"host", b"a" * 301),
            (b"host", b"a/b"),
            (b"authorization", b"Bearer s3cret"),
            (b"authorization", b"bearer  s3cret "),
            (b"authorization", b"Bearer other"),
            (b"authorization", b"Bearer \xff"),
            (b"authorization", b"Basic s3cret"),
            (b"content-length", b"-1"),
            (b"accept", b"text/html"),
            (b"cookie", b"\xff=;"),
        ]
    ),
    max_size=4,
)
APPS = {keys: (served(World(), keys), without_short_way(served(World(), keys))) for keys in ("", KEYS)}
PREFIXES = ("/api/v1/recommendations/users/", "/api/v1/recommendations/users//", "//api/v1/recommendations/users/", "/users/")
SUFFIXES = ("/recommendations", "/recommendations/", "/recommendations/recommendations", "/similar", "/RECOMMENDATIONS")
prefixes = st.sampled_from((PREFIXES[0],) * 6 + PREFIXES)
suffixes = st.sampled_from((SUFFIXES[0],) * 6 + SUFFIXES)


@given(st.tuples(prefixes, ids, suffixes).map("".join), queries, methods, headers, st.sampled_from(["", KEYS]))
@settings(max_examples=600, deadline=None)
async def test_with_and_without_it_answers_are_the_same(path: str, query: str, method: str, sent: Any, keys: str) -> None:
    app, plain = APPS[keys]
    url = httpx.URL(f"http://amity{path}")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": url.path,
        "raw_path": url.raw_path,
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"x-request-id", b"r1"), *sent],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    assert await exchanged(app, scope) == await exchanged(plain, scope)


async def test_an_answer_that_is_there_does_not_meet_the_controller() -> None:
    world = World()
    async with client_of(served(world)) as client:
        answer = await client.get(ROUTE.format(user_id=42) + "?limit=5&gender=Female", headers={"X-Request-ID": "mine"})
    [asked] = world.asked
    assert (world.hits, answer.status_code, answer.json()["request_id"]) == (1, 200, "mine")
    assert (asked.viewer_id, asked.limit, asked.filters.genders, asked.request_id) == (42, 5, ("female",), "mine")


@pytest.mark.parametrize(("query", "hits"), [("explain=true", 0), ("explain=1&limit=5", 0), ("explain=false", 1)])
async def test_whoever_wants_reasons_is_left_to_the_controller(query: str, hits: int) -> None:
    world = World()
    async with client_of(served(world)) as client:
        await client.get(ROUTE.format(user_id=42) + f"?{query}")
    [asked] = world.asked
    assert (world.hits, asked.explain) == (hits, not hits)


@pytest.mark.parametrize("failure", [KeyError("x"), DatabaseUnavailable()])
async def test_an_error_on_the_short_way_leaves_the_request_to_the_controller(failure: Exception) -> None:
    async with client_of(served(World(failure=failure))) as client:
        answer = await client.get(ROUTE.format(user_id=42))
    assert (answer.status_code, answer.json()["total_count"]) == (200, 1)


@pytest.mark.parametrize(("failure", "status"), [(Overloaded(), 503), (UnknownUser(41), 404), (KeyError("x"), 500)])
async def test_what_making_an_answer_raised_the_controller_says_without_making_it_again(failure: Exception, status: int) -> None:
    world = World()
    world.reply = AsyncMock(side_effect=failure)  # type: ignore[method-assign]
    async with client_of(served(world)) as client:
        answer = await client.get(ROUTE.format(user_id=41), headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["request_id"], world.reply.await_count) == (status, "mine", 1)


async def test_what_was_raised_is_gone_with_its_request_and_needs_no_collector_of_garbage() -> None:
    world, raised = World(), WeakSet[Exception]()

    class Refused(Overloaded):
        def __init__(self) -> None:
            raised.add(self)

    world.reply = AsyncMock(side_effect=Refused)  # type: ignore[method-assign]
    scope = {"type": "http", "method": "GET", "path": ROUTE.format(user_id=41), "query_string": b"", "headers": []}
    gc.disable()
    try:
        status, *_ = await exchanged(served(world), scope)
        assert (status, world.reply.await_count, len(raised)) == (503, 1, 0)
    finally:
        gc.enable()


async def test_an_answer_that_cannot_be_written_is_an_error_in_the_shape_of_all() -> None:
    world = World()
    slate = await world.reply(RecommendationRequest(viewer_id=41, request_id="mine"))
    world.reply = AsyncMock(return_value=replace(slate, message="\ud800"))  # type: ignore[method-assign]
    async with client_of(served(world)) as client:
        answer = await client.get(ROUTE.format(user_id=41), headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "mine")


async def test_what_the_shortest_way_has_looked_for_in_vain_is_not_looked_for_again() -> None:
    world = World()
    app: Any = served(world)
    scope = {"type": "http", "method": "GET", "path": ROUTE.format(user_id=42), "query_string": b"", "headers": []}
    assert not app.state.early.take(scope, Mock(), Mock())
    status, *_ = await exchanged(app, scope)
    assert (status, world.hits, len(world.asked)) == (200, 0, 1)


async def test_without_a_key_that_may_read_nobody_is_asked() -> None:
    world = World()
    async with client_of(served(world, KEYS)) as client:
        sent = [{}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer wrong"}]
        refused = [(await client.get(ROUTE.format(user_id=42), headers=one)).status_code for one in sent]
        admitted = await client.get(ROUTE.format(user_id=42), headers={"Authorization": "Bearer s3cret"})
    assert (refused, admitted.status_code, len(world.asked)) == ([401, 403, 401], 200, 1)


async def test_query_strings_without_end_do_not_fill_memory() -> None:
    world = World()
    app: Any = served(world)
    async with client_of(app) as client:
        for limit in range(3000):
            await client.get(ROUTE.format(user_id=2) + f"?min_age=20&exclude_ids={limit}")
    assert 0 < len(app.asgi_handler.inner._questions) <= 1024


def test_the_route_is_the_controllers() -> None:
    routes = {route.path_format for route in served(World()).routes}
    assert ROUTE in routes


async def test_other_routes_of_the_same_end_are_left_alone() -> None:
    @get("/people/{user_id:str}/recommendations")
    async def other(user_id: FromPath[str], orchestrator: NamedDependency[SkipValidation[World]]) -> Response[bytes]:
        return Response(json.dumps({"hits": orchestrator.hits}).encode())

    app = shell(Settings(), [other], provided=["orchestrator"])
    app.state.orchestrator = World()
    async with client_of(app) as client:
        assert (await client.get("/people/2/recommendations")).json() == {"hits": 0}
