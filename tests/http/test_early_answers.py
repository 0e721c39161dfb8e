"""Hits answered past the application, on a real server: to the letter what it says, and all that an answer leaves behind."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import structlog

from service.domain import Profile
from service.metrics import REGISTRY
from service.settings import Settings
from tests.http.test_real_server import Served

PATH = b"/api/v1/recommendations/users/%d/recommendations?algorithm_version=heuristic&limit=%d"
NEW = re.compile(
    rb'"generation_time_ms":[0-9.e-]+|"slate_id":"[0-9a-f-]{36}"|date: [^\r]+|content-length: \d+|x-process-time: \S+|dur=[0-9.]+'
)
"""What is new in each answer."""


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


class Early:
    """Counts what is taken; `off`, nothing is."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.off = False
        self.taken = 0

    def take(self, *given: Any) -> bool:
        taken = not self.off and self._inner.take(*given)
        self.taken += taken
        return taken


@pytest.fixture
async def served(settings: Settings, people: list[Profile]) -> AsyncIterator[Served]:
    """Nobody explores, so that whoever asks for the same pool twice gets the same people twice."""
    running = Served(msgspec.structs.replace(settings, port=0, exploration_share=0.0))
    running.server.config.timeout_keep_alive = 1
    await running.ready()
    yield running
    await running.stop()


@pytest.fixture
async def early(served: Served) -> Early:
    """Spied upon, with slates held for viewer 1 that have 3 and 5 people."""
    protocol: Any = served.server.config.http_protocol_class
    options = protocol.keywords
    early = options["early"] = Early(options["early"])
    for limit in (3, 5):
        for _ in range(200):
            before = early.taken
            await say(served, get(limit=limit))
            if early.taken > before:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("never answered early")
    return early


def get(*headers: bytes, viewer: int = 1, limit: int = 5, version: bytes = b"1.1", last: bool = True) -> bytes:
    lines = [b"Host: localhost", b"X-Request-ID: r1", *headers, *([b"Connection: close"] if last else [])]
    return b"GET " + PATH % (viewer, limit) + b" HTTP/" + version + b"\r\n" + b"".join(b"%b\r\n" % one for one in lines) + b"\r\n"


async def say(served: Served, *pieces: bytes) -> bytes:
    """All that the server answers to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


SAYINGS: dict[str, tuple[tuple[bytes, ...], int]] = {
    "one": ((get(),), 1),
    "kept alive": ((get(last=False), get()), 2),
    "two at once": ((get(last=False) + get(limit=3),), 2),
    "a miss behind a hit": ((get(last=False) + get(viewer=2) + get(last=False),), 1),
    "a hit behind a miss": ((get(viewer=2, last=False) + get(),), 1),
    "byte by byte": (tuple(get()[i : i + 1] for i in range(len(get()))), 1),
    "HTTP/1.0": ((get(last=False, version=b"1.0"),), 1),
    "HTTP/1.0 kept alive": ((get(b"Connection: keep-alive", last=False, version=b"1.0"),), 1),
    "a body": ((get(b"Content-Length: 3") + b"abc",), 1),
    "a chunked body": ((get(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",), 1),
    "expecting to go on": ((get(b"Expect: 100-continue", b"Content-Length: 3") + b"abc",), 1),
    "an upgrade": ((get(b"Upgrade: h2c", b"Connection: upgrade"),), 1),
    "HEAD": ((get().replace(b"GET", b"HEAD"),), 0),
    "POST": ((get().replace(b"GET", b"POST"),), 0),
    "a caller's trace": ((get(b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),), 1),
    "an odd id": ((get().replace(b"r1", b"r 1"),), 1),
    "the host of another site": ((get().replace(b"Host: localhost", b"Host: evil.example"),), 0),
    "a strange host": ((get().replace(b"Host: localhost", b"Host: a/b"),), 0),
    "a wrong parameter": ((get().replace(b"limit=5", b"limit=0"),), 0),
    "nobody": ((get(viewer=999),), 0),
}


@pytest.mark.parametrize("saying", SAYINGS)
async def test_what_is_answered_early_is_to_the_letter_what_the_application_answers(
    served: Served, early: Early, saying: str
) -> None:
    pieces, n_early = SAYINGS[saying]
    await say(served, get(viewer=2))
    early.off = True
    plain = await say(served, *pieces)
    early.off, early.taken = False, 0
    answer = await say(served, *pieces)
    assert early.taken >= n_early
    unlike = re.compile(rb"[0-9a-f]{8}-[0-9a-f-]{27}") if saying == "an odd id" else re.compile(rb"\0")
    # The second time a miss is a hit.
    cut = [unlike.sub(b"", NEW.sub(b"", each)).replace(b'"cached":false', b'"cached":true') for each in (plain, answer)]
    assert re.sub(rb"server-timing: [^\r]+", b"", cut[0]) == re.sub(rb"server-timing: [^\r]+", b"", cut[1])
    assert plain.startswith(b"HTTP/1.1 ")


async def test_an_early_answer_leaves_its_line_its_impression_and_its_counts(served: Served, early: Early) -> None:
    labels = {"algorithm_version": "heuristic", "cached": "true", "degraded": "false"}
    requests = {"method": "GET", "route": "/api/v1/recommendations/users/{user_id}/recommendations", "status": "200"}
    before = count("amity_recommendations_total", **labels), count("amity_http_request_seconds_count", **requests)
    stages = count("amity_stage_seconds_count", stage="pool", outcome="ok")
    written, taken = count("amity_impressions_written_total"), early.taken
    with structlog.testing.capture_logs() as logs:
        answer = await say(served, get())
    assert early.taken == taken + 1
    assert (count("amity_recommendations_total", **labels), count("amity_http_request_seconds_count", **requests)) == (
        before[0] + 1,
        before[1] + 1,
    )
    assert count("amity_stage_seconds_count", stage="pool", outcome="ok") == stages + 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-request-id: r1" in head
    assert re.search(rb"server-timing: pool;dur=[0-9.]+, total;dur=[0-9.]+\r\n", head + b"\r\n")
    assert len(json.loads(body)["recommendations"]) == 5
    [line] = [line for line in logs if line["event"] == "recommendations generated"]
    assert (line["status"], line["viewer_id"], line["count"], line["cached"]) == (200, 1, 5, True)
    await served.stop()
    assert count("amity_impressions_written_total") > written


async def test_who_is_blocked_meanwhile_is_not_in_the_next_answer(served: Served, early: Early) -> None:
    shown = json.loads((await say(served, get())).partition(b"\r\n\r\n")[2])["recommendations"][0]["id"]
    block = {"interactions": [{"actor_id": 1, "target_id": shown, "kind": "block"}]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        assert (await client.post("/api/v1/interactions", json=block)).status_code == 201
    answer = await say(served, get())
    assert answer.startswith(b"HTTP/1.1 200")
    assert shown not in [person["id"] for person in json.loads(answer.partition(b"\r\n\r\n")[2])["recommendations"]]


async def test_an_idle_connection_is_closed_and_one_at_work_is_not(served: Served, early: Early) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for _ in range(8):
        writer.write(get(last=False))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
    assert not reader.at_eof()
    await asyncio.wait_for(reader.read(), 20)  # until the server closes it
    writer.close()


async def test_a_server_that_is_told_to_stop_answers_what_was_asked_early(served: Served, early: Early) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(get(last=False))
    await reader.readuntil(b"}")
    served.server.should_exit = True
    await asyncio.wait_for(reader.read(), 20)
    await served.task
    writer.close()
