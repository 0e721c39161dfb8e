"""Callers who never end what they began to say, on real sockets. Their time is short here; only its order counts."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from service.app import connections_at_most
from service.controllers import routes, wire
from service.domain import Profile
from service.repositories.locks import WRITERS
from service.settings import Settings
from tests.http.test_real_server import POST, Served

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
_BODY = b'{"interactions": [{"actor_id": 1, "target_id": 2, "kind": "like"}]}'
LIKE = POST + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY
SCHEMA = b"GET /schema HTTP/1.1\r\nHost: localhost\r\n"
SHORT_S, LONG_S = 0.3, 30.0


@pytest.fixture
async def served(settings: Settings, people: list[Profile], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(wire, "HEAD_S", SHORT_S)
    monkeypatch.setattr(routes, "BODY_S", SHORT_S)
    running = Served(msgspec.structs.replace(settings, port=0))
    await running.ready()
    yield running
    await running.stop()


@contextlib.asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def trickle(served: Served, at_once: bytes, piece: bytes) -> None:
    """Say a little more every now and then, until the server hangs up. What it answered may be lost where it does so then."""
    async with connected(served) as (reader, writer), asyncio.timeout(LONG_S):
        writer.write(at_once)
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            await asyncio.sleep(SHORT_S / 10)
            writer.write(piece)
        await asyncio.wait({ended})
        ended.exception()


async def told(served: Served, said: bytes) -> bytes:
    """All that is answered until the server hangs up."""
    async with connected(served) as (reader, writer):
        writer.write(said)
        return await asyncio.wait_for(reader.read(), LONG_S)


async def test_a_head_that_never_ends_is_408_and_the_end_of_the_connection(served: Served) -> None:
    assert (await told(served, GET)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not served.server.server_state.connections


async def test_a_head_that_comes_byte_by_byte_has_no_longer(served: Served) -> None:
    await trickle(served, GET + b"X-Slow: ", b"a")


async def test_a_head_begun_behind_another_request_has_no_longer(served: Served) -> None:
    answers = await told(served, GET + b"\r\n" + GET)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


async def test_a_body_that_never_ends_is_408_in_the_one_shape(served: Served) -> None:
    head, _, body = (await told(served, POST + b"Content-Length: 100\r\n\r\n{")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert msgspec.json.decode(body)["error"] == "Request Timeout"


async def test_a_body_that_comes_byte_by_byte_has_no_longer(served: Served) -> None:
    await trickle(served, POST + b"Content-Length: 1000\r\n\r\n", b"{")


@pytest.mark.parametrize(
    ("at_once", "piece"),
    [(b"", b"\r\n"), (POST + b"Content-Length: 2000000\r\n\r\n", b"{")],
    ids=["empty lines", "what is left of a refused body"],
)
async def test_what_is_no_request_keeps_no_connection_open(served: Served, at_once: bytes, piece: bytes) -> None:
    served.server.config.timeout_keep_alive = 1
    await trickle(served, at_once, piece)


async def test_a_connection_opened_ahead_of_need_is_idle_and_no_head_that_is_late(served: Served) -> None:
    async with connected(served) as (reader, writer):
        for _ in range(2):  # before the first request, and between two
            await asyncio.sleep(4 * SHORT_S)
            writer.write(GET + b"\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"}"), LONG_S)).startswith(b"HTTP/1.1 200")


async def test_a_connection_on_which_nothing_is_ever_asked_ends_as_an_idle_one_does(served: Served) -> None:
    served.server.config.timeout_keep_alive = 1
    async with connected(served) as (reader, _):
        assert await asyncio.wait_for(reader.read(), LONG_S) == b""


@contextlib.asynccontextmanager
async def others_write(database_url: str) -> AsyncIterator[None]:
    """Whoever writes interactions waits, and is at work, until this ends."""
    others = await asyncpg.connect(database_url)
    async with others.transaction():
        await others.execute("select pg_advisory_xact_lock($1)", WRITERS)
        yield
    await others.close()


async def test_a_request_at_work_longer_than_all_these_is_answered(served: Served, database_url: str) -> None:
    served.server.config.timeout_keep_alive = 1
    async with connected(served) as (reader, writer), asyncio.timeout(LONG_S):
        async with others_write(database_url):
            writer.write(LIKE + GET)  # with a part of the next
            await asyncio.sleep(4 * SHORT_S)
        assert (await reader.read()).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize(
    ("keep_alive_s", "asked"),
    [(1, [SCHEMA + b"\r\n"]), (1, [SCHEMA + b"Connection: close\r\n\r\n"]), (600, [SCHEMA + b"\r\n"] * 100)],
    ids=["answered", "closing", "at work"],
)
async def test_who_takes_no_answers_keeps_no_connection_open(
    served: Served, keep_alive_s: int, asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "TAKE_S", SHORT_S)
    served.server.config.timeout_keep_alive = keep_alive_s
    state = served.server.server_state
    with socket.socket(fileno=os.dup(served.server.servers[0].sockets[0].fileno())) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else the kernel takes the answers
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.sendall(b"".join(asked))
        async with asyncio.timeout(LONG_S):
            while state.connections or not state.total_requests:  # noqa: ASYNC110 - the server is waited for
                await asyncio.sleep(0.05)


@pytest.fixture
def at_most(served: Served) -> int:
    """Connections."""
    protocol: Any = served.server.config.http_protocol_class
    protocol.keywords["at_most"] = 20
    return 20


@pytest.mark.parametrize("begun", [b"", GET, POST + b"Content-Length: 100\r\n\r\n{"], ids=["idle", "in a head", "in a body"])
async def test_however_many_come_there_is_room_for_whoever_asks(
    served: Served, at_most: int, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEAD_S", LONG_S)
    monkeypatch.setattr(routes, "BODY_S", LONG_S)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5 * at_most):
            _, writer = await stack.enter_async_context(connected(served))
            writer.write(begun)
        assert (await told(served, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert len(served.server.server_state.connections) <= at_most


async def test_no_more_room_is_made_than_those_need_who_come_at_once(served: Served, at_most: int) -> None:
    connections = served.server.server_state.connections
    with contextlib.ExitStack() as stack:
        for _ in range(2 * at_most):  # while the server cannot look
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
        assert (await told(served, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert at_most // 2 < len(connections) <= at_most


async def test_room_is_not_made_of_requests_at_work(served: Served, at_most: int, database_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(LONG_S):
        reader, writer = await stack.enter_async_context(connected(served))
        async with others_write(database_url):
            writer.write(LIKE)
            while not served.server.server_state.tasks:  # noqa: ASYNC110 - the server is waited for
                await asyncio.sleep(0.01)
            for _ in range(5 * at_most):
                await stack.enter_async_context(connected(served))
        assert (await reader.readline()).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize(("n_files", "n_connections"), [(1024, 768), (65536, 10_000), (resource.RLIM_INFINITY, 10_000)])
def test_connections_leave_files_for_the_rest(monkeypatch: pytest.MonkeyPatch, n_files: int, n_connections: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (n_files, n_files))
    assert connections_at_most() == n_connections
