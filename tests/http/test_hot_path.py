"""The short way on the whole application: the same answers as the controller's, and all that an answer leaves behind."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import structlog

from service.controllers.hot import ROUTE
from service.domain import Profile
from service.metrics import REGISTRY
from service.settings import Settings
from tests.http.conftest import serving

HIT = {"kind": "slate", "outcome": "hit"}
ONCE = re.compile(rb'"generation_time_ms":[0-9.e-]+|"slate_id":"[0-9a-f-]{36}"')
TIMES = ("x-process-time", "server-timing", "content-length")


def hits() -> float:
    return REGISTRY.get_sample_value("amity_first_level_lookups_total", HIT) or 0


@contextmanager
def the_long_way(client: httpx.AsyncClient) -> Iterator[None]:
    transport: Any = client._transport
    observed = transport.app.asgi_handler
    hot = observed.inner
    observed.inner = hot.inner
    yield
    observed.inner = hot


async def ask(client: httpx.AsyncClient, viewer: str, query: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, without what is new in each answer."""
    answer = await client.get(ROUTE.format(user_id=viewer) + query, headers={"X-Request-ID": "r"})
    headers = {name: value for name, value in answer.headers.items() if name not in TIMES}
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer.status_code, headers, ONCE.sub(b"", answer.content)


async def warmed(client: httpx.AsyncClient, viewer: int, query: str) -> None:
    """Ask until the answer is there already: news from other replicas must be known to arrive before anything is held."""
    for _ in range(200):
        before = hits()
        await ask(client, str(viewer), query)
        if hits() > before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("never served from what is held")


QUERIES = (
    "algorithm_version=heuristic", "algorithm_version=heuristic&limit=5", "algorithm_version=heuristic&limit=5&gender=Female",
    "algorithm_version=heuristic&limit=5&exclude_ids=7", "algorithm_version=heuristic&limit=5&use_cache=false", "limit=5",
    "algorithm_version=v99", "limit=0", "limit=5&limit=5", "min_age=40&max_age=30", "offset=1", "max_km=5", "",
    "algorithm_version=heuristic&limit=3&exclude_seen=false&active_within_days=30", "%6cimit=5&algorithm_version=heuristic",
)  # fmt: skip


@pytest.fixture
async def unexploring(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever asks twice for a pool that is not kept gets the same people twice, and nothing is degraded."""
    async with serving(msgspec.structs.replace(settings, exploration_share=0.0, default_ranker="heuristic")) as opened:
        yield opened


@pytest.mark.parametrize("viewer", ["1", "2", "60", "61", "007", "0", "x", "9" * 19])
async def test_every_request_is_answered_as_the_controller_answers(unexploring: httpx.AsyncClient, viewer: str) -> None:
    client = unexploring
    await warmed(client, 1, "?algorithm_version=heuristic")
    for query in QUERIES:
        for _ in range(2):  # so that what can be held is held, and both ways give it from the cache
            await ask(client, viewer, f"?{query}")
        short = await ask(client, viewer, f"?{query}")
        with the_long_way(client):
            assert short == await ask(client, viewer, f"?{query}")


async def test_an_answer_of_the_short_way_leaves_all_that_an_answer_leaves(client: httpx.AsyncClient, database_url: str) -> None:
    await warmed(client, 1, "?algorithm_version=heuristic&limit=5")
    before = hits()
    with structlog.testing.capture_logs() as logs:
        answer = await client.get(ROUTE.format(user_id=1) + "?algorithm_version=heuristic&limit=5")
    body = answer.json()
    assert hits() == before + 1
    [line] = logs
    assert list(line)[:10] == [
        "method", "route", "status", "duration_ms", "viewer_id", "count", "algorithm_version", "generation_time_ms", "cached",
        "degraded",
    ]  # fmt: skip
    assert (line["event"], line["viewer_id"], line["count"], line["cached"]) == ("recommendations generated", 1, 5, True)
    assert [part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")] == ["pool", "total"]
    row = await impression(database_url, body["slate_id"])
    assert (row["request_id"], row["viewer_id"], row["cached"]) == (body["request_id"], 1, True)
    assert row["candidate_ids"] == [person["id"] for person in body["recommendations"]]
    assert json.loads(row["sources"]) == [person["sources"] for person in body["recommendations"]]


async def impression(database_url: str, slate_id: str) -> Any:
    """The row of a slate, once it is written."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        for _ in range(200):
            if row := await connection.fetchrow("select * from impressions where slate_id = $1", slate_id):
                return row
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    raise AssertionError("never written")
