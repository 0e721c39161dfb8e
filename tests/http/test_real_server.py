"""The application behind a real uvicorn and a real socket."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from service import metrics
from service.app import build_server
from service.domain import Profile
from service.settings import Settings

POST = b"POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Served:
    """A running server; `stop` asks it as SIGTERM does, and waits until it has drained."""

    def __init__(self, settings: Settings) -> None:
        self.server = build_server(settings)
        self.task = asyncio.create_task(self.server.serve())
        self.port = 0

    async def ready(self) -> None:
        while not self.server.started:
            assert not self.task.done(), "the server did not start"
            await asyncio.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.task


@pytest.fixture
async def served(settings: Settings, people: list[Profile]) -> AsyncIterator[Served]:
    running = Served(msgspec.structs.replace(settings, port=0))
    await running.ready()
    yield running
    await running.stop()


async def exchange(served: Served, request: bytes) -> bytes:
    """Send raw bytes, read until the server closes or has said all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(65536), 20)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_a_recommendation_goes_over_the_wire(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        answer = await client.get("/api/v1/recommendations/users/1/recommendations?limit=20")
        assert (answer.status_code, answer.json()["total_count"]) == (200, 20)
        assert "server" not in answer.headers
        assert {"x-request-id", "x-process-time", "server-timing"} <= set(answer.headers)
        head = await client.head("/api/v1/recommendations/users/1/recommendations")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get("/health/live")).status_code == 200  # the connection is still in order


BALANCERS_KEEP_S = 60
"""nginx, haproxy as we set it up, and the balancers of clouds."""


async def test_an_idle_connection_is_for_the_balancer_to_close(served: Served) -> None:
    assert served.server.config.timeout_keep_alive > BALANCERS_KEEP_S


async def test_head_keeps_the_connection_in_order_and_leaves_no_impression(served: Served) -> None:
    def written() -> float:
        return metrics.REGISTRY.get_sample_value("amity_impressions_written_total") or 0

    before, path = written(), b" /api/v1/recommendations/users/1/recommendations?limit=7 HTTP/1.1\r\nHost: localhost\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"HEAD" + path + b"\r\nGET" + path + b"Connection: close\r\n\r\n")
    head, _, rest = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) > 1000
    assert rest.startswith(b"HTTP/1.1 200")  # at once: the first answer has no body
    await served.stop()  # which writes the last impressions
    assert written() == before + 1


async def test_head_is_no_defect(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().addHandler(caplog.handler)  # the server's own logging took the place of pytest's
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        answers = [await client.head("/health/live"), await client.head("/nowhere"), await client.get("/health/live")]
    assert [answer.status_code for answer in answers] == [200, 404, 200]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_endless_chunked_body_is_cut_off(served: Served) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = await exchange(served, head + chunk * 40)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_announced_as_huge_is_refused_before_it_comes(served: Served) -> None:
    head = POST + b"Content-Length: 99999999999\r\n\r\n"
    assert (await exchange(served, head)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "path", [b"/%00", b"/%ff/x", b"/api/v1/users/%2e%2e", b"/api/v1/users/1%0d%0aX-Evil:%201", b"/" + b"a" * 60000]
)
async def test_odd_paths_are_no_defects(served: Served, path: bytes) -> None:
    answer = await exchange(served, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.split(b" ", 2)[1] in (b"400", b"404", b"422")
    assert b"X-Evil" not in answer.split(b"\r\n\r\n")[0]


async def test_a_caller_who_leaves_in_the_middle_of_a_body_harms_nobody(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(POST + b"Content-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        assert (await client.get("/health/live")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'amity_unexpected_errors_total{door="request",type="InternalServerException"}' not in metrics


async def test_running_requests_end_well_when_the_server_is_told_to_stop(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", timeout=30) as client:
        people = {"users": [{"id": i, "name": "A", "bio": "b" * 500} for i in range(700, 1700)]}
        writing = asyncio.create_task(client.post("/api/v1/users/batch", json=people))
        while not served.server.server_state.tasks:
            assert not writing.done(), "answered before it could be seen at work"
            await asyncio.sleep(0)
        served.server.should_exit = True
        assert (await writing).status_code == 201
    await served.task
