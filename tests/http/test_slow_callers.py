"""Callers who never end what they began to say, on real sockets. Their time is short here; only its order counts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from service.controllers import routes, wire
from service.domain import Profile
from service.repositories.locks import WRITERS
from service.settings import Settings
from tests.http.test_real_server import POST, Served

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
LIKE = b'{"interactions": [{"actor_id": 1, "target_id": 2, "kind": "like"}]}'
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


async def trickled(served: Served, at_once: bytes, piece: bytes) -> bytes:
    """What is answered to a caller who says a little more every now and then, until the server hangs up."""
    async with connected(served) as (reader, writer), asyncio.timeout(LONG_S):
        writer.write(at_once)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            await asyncio.sleep(SHORT_S / 10)
            writer.write(piece)
        with contextlib.suppress(ConnectionError):
            return await answer
        return b""


async def told(served: Served, said: bytes) -> bytes:
    """All that is answered until the server hangs up."""
    async with connected(served) as (reader, writer):
        writer.write(said)
        return await asyncio.wait_for(reader.read(), LONG_S)


async def test_a_head_that_never_ends_is_408_and_the_end_of_the_connection(served: Served) -> None:
    assert (await told(served, GET)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not served.server.server_state.connections


async def test_a_head_that_comes_byte_by_byte_has_no_longer(served: Served) -> None:
    assert (await trickled(served, GET + b"X-Slow: ", b"a")).startswith(b"HTTP/1.1 408")


async def test_a_head_begun_behind_another_request_has_no_longer(served: Served) -> None:
    answers = await told(served, GET + b"\r\n" + GET)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


async def test_a_body_that_never_ends_is_408_in_the_one_shape(served: Served) -> None:
    head, _, body = (await told(served, POST + b"Content-Length: 100\r\n\r\n{")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert msgspec.json.decode(body)["error"] == "Request Timeout"


async def test_a_body_that_comes_byte_by_byte_has_no_longer(served: Served) -> None:
    assert (await trickled(served, POST + b"Content-Length: 1000\r\n\r\n", b"{")).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("at_once", "piece"),
    [(b"", b"\r\n"), (POST + b"Content-Length: 2000000\r\n\r\n", b"{")],
    ids=["empty lines", "what is left of a refused body"],
)
async def test_what_is_no_request_keeps_no_connection_open(served: Served, at_once: bytes, piece: bytes) -> None:
    served.server.config.timeout_keep_alive = 1
    assert b"HTTP/1.1 408" not in await trickled(served, at_once, piece)


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


async def test_a_request_at_work_longer_than_all_these_is_answered(served: Served, database_url: str) -> None:
    served.server.config.timeout_keep_alive = 1
    others = await asyncpg.connect(database_url)
    async with connected(served) as (reader, writer), asyncio.timeout(LONG_S):
        async with others.transaction():
            await others.execute("select pg_advisory_xact_lock($1)", WRITERS)  # of interactions: they wait
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(LIKE) + LIKE + GET)  # and a part of the next
            await asyncio.sleep(4 * SHORT_S)
        await others.close()
        assert (await reader.read()).startswith(b"HTTP/1.1 201")
