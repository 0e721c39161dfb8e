"""Which names a service answers to: without keys no site may lead a browser to it by a name of its own."""

import hashlib
from typing import Any

import httpx
import pytest
from litestar import Response, get, post

from service.controllers.hosts import HostRule
from service.controllers.keys import parse_keys
from service.controllers.operations import Health
from service.controllers.routes import reply, spec
from service.controllers.shell import shell
from service.settings import Settings

KEY = f"reader:read+write:{hashlib.sha256(b's3cret').hexdigest()}"
LOOPBACK = ("127.0.0.1", 8000)
OURS = ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000")
STRANGE = ("", "evil.example", "evil.example:8000", "localhost.evil.example", "0.0.0.0:8000", "192.168.0.7:8000", "[::1", "::1:x")


def rule(**settings: Any) -> HostRule:
    made = Settings(**settings)
    return HostRule(parse_keys(made.api_keys), made)


@pytest.mark.parametrize("server", [LOOPBACK, ("::1", 8000)])
def test_without_keys_only_names_of_this_machine_are_answered(server: tuple[str, int]) -> None:
    assert all(rule().admits(server, host) for host in OURS)
    assert not any(rule().admits(server, host) for host in STRANGE)


@pytest.mark.parametrize("settings", [{"api_keys": KEY}, {"allow_keyless_bind": True}])
def test_with_keys_or_where_everyone_is_served_any_name_will_do(settings: dict[str, Any]) -> None:
    assert all(rule(**settings).admits(LOOPBACK, host) for host in OURS + STRANGE)


@pytest.mark.parametrize("server", [None, ("/run/amity.sock", None), ("testserver.local", 80)])
def test_no_browser_comes_but_by_a_port(server: tuple[str, Any] | None) -> None:
    assert rule().admits(server, "evil.example")


def test_who_names_nobody_is_no_browser() -> None:
    assert rule().admits(LOOPBACK, None)


@get("/people", opt=spec(summary="People", scope="read", replies={200: None}))
async def shown() -> Response[bytes]:
    return reply([])


@post("/people", opt=spec(summary="People", scope="write", replies={201: None}))
async def written() -> Response[bytes]:
    return reply([], 201)


async def answers(host: str, **settings: Any) -> list[int]:
    """Of a read, a write and a probe to a service on loopback that is called by this name."""
    app: Any = shell(Settings(**settings), [shown, written, Health])
    through = httpx.ASGITransport(app=app)
    headers = {"host": host, "authorization": "Bearer s3cret"}
    async with httpx.AsyncClient(transport=through, base_url="http://127.0.0.1:8000", headers=headers) as client:
        asked = [await client.get("/people"), await client.post("/people"), await client.get("/health/live")]
    return [answer.status_code for answer in asked]


async def test_without_keys_another_sites_name_neither_reads_nor_writes_and_may_look_whether_it_lives() -> None:
    assert await answers("evil.example:8000") == [403, 403, 200]
    assert await answers("localhost:8000") == [200, 201, 200]


async def test_with_keys_a_service_is_called_as_one_likes() -> None:
    for host in ("amity.example", "10.2.3.4:8000"):
        assert await answers(host, api_keys=KEY) == [200, 201, 200]
