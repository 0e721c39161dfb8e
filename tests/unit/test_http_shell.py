"""What surrounds every route, on an application of a few routes of the test's own."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import structlog
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from service import metrics, telemetry
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest, body_of, person_id, reply, spec
from service.controllers.shell import shell
from service.errors import BadInput, DatabaseUnavailable, Overloaded, RedisUnavailable, UnknownUser
from service.settings import Settings


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


RAISED: dict[str, Callable[[], Exception]] = {
    "input": lambda: BadInput.of("limit", "must be at most 100"),
    "unknown": lambda: UnknownUser(7),
    "database": lambda: DatabaseUnavailable(),
    "load": lambda: Overloaded(),
    "redis": lambda: RedisUnavailable(),
    "defect": lambda: KeyError("Alice from Springfield"),
}


@get("/raise/{what:str}")
async def failing(what: FromPath[str]) -> Response[bytes]:
    raise RAISED[what]()


@get("/people/{user_id:str}", opt=spec(summary="One person", scope="read", replies={200: None}))
async def person(request: AnyRequest, user_id: FromPath[str], greeting: NamedDependency[str]) -> Response[bytes]:
    with telemetry.stage("greeting"):
        exchange_of(request).event = "person greeted"
        exchange_of(request).fields["viewer_id"] = person_id(user_id)
    return reply({"id": person_id(user_id), "greeting": greeting})


@post("/notes", opt=spec(summary="A note", scope="write", replies={201: Note}, body=Note))
async def note(request: AnyRequest) -> Response[bytes]:
    return reply(await body_of(request, Note), 201)


def client_of(settings: Settings) -> httpx.AsyncClient:
    app = shell(settings, [failing, person, note], provided=["greeting"])
    app.state.greeting = "hello"
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app, raise_app_exceptions=True), base_url="http://amity")  # type: ignore[arg-type]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(Settings()) as opened:
        yield opened


async def test_an_answer_bears_its_id_its_time_and_its_stages(client: httpx.AsyncClient) -> None:
    answer = await client.get("/people/5")
    assert answer.json() == {"id": 5, "greeting": "hello"}
    assert UUID(answer.headers["x-request-id"]).version == 7
    assert 0 < float(answer.headers["x-process-time"]) < 60
    assert [part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")] == ["greeting", "total"]


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_Z", True), ("x" * 65, False), ("a b", False), ('a"b', False), ("", False)])
async def test_a_callers_request_id_is_kept_when_it_is_sane(client: httpx.AsyncClient, sent: str, kept: bool) -> None:
    answer = await client.get("/people/5", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is kept


@pytest.mark.parametrize(
    ("what", "status", "error", "detail"),
    [
        ("input", 422, "Validation failed", [{"field": "limit", "message": "must be at most 100"}]),
        ("unknown", 404, "Not Found", "no user with id 7"),
        ("database", 503, "Service Unavailable", "The database cannot be reached; nothing was written"),
        ("load", 503, "Service Unavailable", "More load than capacity; ask again shortly"),
        ("redis", 503, "Service Unavailable", "Redis cannot be reached"),
    ],
)
async def test_errors_have_one_shape(client: httpx.AsyncClient, what: str, status: int, error: str, detail: Any) -> None:
    answer = await client.get(f"/raise/{what}", headers={"X-Request-ID": "r1"})
    assert (answer.status_code, answer.json()) == (status, {"error": error, "detail": detail, "request_id": "r1"})
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_a_defect_is_counted_and_logged_by_type_but_never_by_what_it_quotes(client: httpx.AsyncClient) -> None:
    before = metrics.REGISTRY.get_sample_value("amity_unexpected_errors_total", {"door": "request", "type": "KeyError"}) or 0
    with structlog.testing.capture_logs() as logs:
        answer = await client.get("/raise/defect")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "detail", "request_id"}
    assert (
        metrics.REGISTRY.get_sample_value("amity_unexpected_errors_total", {"door": "request", "type": "KeyError"}) == before + 1
    )
    assert [line["error_type"] for line in logs if line["event"] == "request failed"] == ["KeyError"]
    assert "Alice" not in answer.text + json.dumps(logs)


@pytest.mark.parametrize(("path", "has_failed"), [("people/5", False), ("raise/unknown", False), ("raise/redis", True)])
async def test_a_trace_tells_what_was_asked_and_of_5xx_alone_that_it_failed(path: str, has_failed: bool) -> None:
    taken: list[telemetry.Trace] = []
    telemetry.send_traces(taken.append)
    try:
        async with client_of(Settings(trace_ratio=1.0)) as client:
            status = (await client.get(path)).status_code
    finally:
        telemetry.send_traces(None)
    [trace] = taken
    assert trace.answered is not None
    assert (trace.name, trace.answered[2], trace.has_failed) == (f"GET {trace.answered[1]}", str(status), has_failed)


async def test_an_unknown_route_is_404_in_the_same_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]) == (404, "Not Found")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_wrong_method_is_405_and_names_the_right_ones(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/people/5")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_head_is_answered_as_get_without_the_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/people/5")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_options_names_the_methods(client: httpx.AsyncClient) -> None:
    answer = await client.options("/people/5")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path_id", ["0", "-1", "abc", "1.5", "9223372036854775808", "9" * 5000, "%D9%A3", "1%00"])
async def test_an_id_out_of_range_is_422_on_user_id(client: httpx.AsyncClient, path_id: str) -> None:
    answer = await client.get(f"/people/{path_id}")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "user_id")


async def test_the_greatest_id_passes(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/people/{2**63 - 1}")).status_code == 200


async def test_a_route_without_parameters_refuses_any_by_name(client: httpx.AsyncClient) -> None:
    answer = await client.get("/people/5?verbose=1")
    assert answer.json()["detail"] == [{"field": "verbose", "message": "is not a known parameter"}]


async def test_a_body_is_read_whatever_the_parameters_of_its_media_type(client: httpx.AsyncClient) -> None:
    for media_type in ("application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"):
        answer = await client.post("/notes", content=b'{"text": "hi"}', headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()) == (201, {"text": "hi"})


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_another_media_type_is_415(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post("/notes", content=b'{"text": "hi"}', headers={"Content-Type": media_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"[" * 5000, b"{", b"", b'{"text": "\xff"}'])
async def test_a_body_that_is_not_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/notes", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request")


async def test_a_body_over_one_mib_is_413_by_its_header(client: httpx.AsyncClient) -> None:
    body = b'{"text": "' + b"x" * 1024 * 1024 + b'"}'
    answer = await client.post("/notes", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (413, "Request Entity Too Large")


async def test_a_chunked_body_over_one_mib_is_413_before_it_ends(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65536
            await asyncio.sleep(0)
        raise AssertionError("read to the end")

    answer = await client.post("/notes", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_a_body_of_just_one_mib_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"text": "' + b"x" * (1024 * 1024 - 12) + b'"}'
    assert (await client.post("/notes", content=body, headers={"Content-Type": "application/json"})).status_code == 201


async def test_keys_and_scopes_are_asked_for() -> None:
    keys = f"reader:read:{hashlib.sha256(b's3cret').hexdigest()}"
    bearer = {"Authorization": "Bearer s3cret", "Content-Type": "application/json"}
    async with client_of(Settings(api_keys=keys)) as client:
        refused = await client.get("/people/5")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/people/5", headers=bearer)).status_code == 200
        forbidden = await client.post("/notes", content=b"{", headers=bearer)
        assert (forbidden.status_code, forbidden.json()["detail"]) == (403, "The API key lacks the scope 'write'")


async def test_each_request_leaves_one_log_line_without_its_query(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logs:
        await client.get("/people/5?name=Alice")
        await client.get("/people/5")
    assert [(line["event"], line["status"]) for line in logs] == [("request answered", 422), ("person greeted", 200)]
    assert (logs[1]["route"], logs[1]["viewer_id"]) == ("/people/{user_id}", 5)
    assert "Alice" not in json.dumps(logs)


async def test_metrics_are_labelled_by_route_template(client: httpx.AsyncClient) -> None:
    def count(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return metrics.REGISTRY.get_sample_value("amity_http_request_seconds_count", labels) or 0

    known, unmatched = count("GET", "/people/{user_id}", "200"), count("other", "unmatched", "404")
    await client.get("/people/5")
    await client.get("/people/6")
    await client.request("BREW", "/nowhere/1")
    assert count("GET", "/people/{user_id}", "200") == known + 2
    assert count("other", "unmatched", "404") == unmatched + 1
