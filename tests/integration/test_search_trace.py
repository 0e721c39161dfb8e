"""How each search was planned shows in the trace of its request, and is counted."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service import tracing
from service.metrics import REGISTRY
from service.repositories.database import Database
from service.settings import Settings
from tests.http.conftest import serving
from tests.integration.population_world import World, soon
from tests.integration.repo_builders import person

URL = "/api/v1/recommendations/users/1/recommendations?algorithm_version=heuristic&use_cache=false"
SAMPLED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
UNSAMPLED = {"traceparent": SAMPLED["traceparent"][:-1] + "0"}
SPACES = ("mutual", "content")
N_PEOPLE = 40


@pytest.fixture
async def client(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A replica of a bundle with vectors of 40 people, half of whom are women of 20 to 39, the others men."""
    world = World(database, tmp_path)
    ages = {i: 20 + i // 2 for i in range(1, N_PEOPLE + 1)}
    await world.users.put_many([person(i, gender=("man", "woman")[i % 2], age=ages[i]) for i in ages])
    await world.publish("b1")
    settings = Settings(
        home=tmp_path,
        artifacts=str(tmp_path / "bundles"),
        database_url=database.url,
        redis_url=redis_url,
        feed_poll_ms=20,
        deadline_ms=5000,
        database_timeout_ms=3000,
        redis_timeout_ms=2000,
        trace_ratio=0.0,
    )
    async with serving(settings) as opened:
        yield opened


@pytest.fixture
def spans(client: httpx.AsyncClient) -> Iterator["Spans"]:
    exporter = InMemorySpanExporter()
    started = tracing.start_tracing("", exporter)
    assert started is not None
    yield Spans(started, exporter)
    tracing.stop_tracing(started)


class Spans:
    """What has been sent, once what waits has been."""

    def __init__(self, started: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
        self._started = started
        self._exporter = exporter

    def get_finished_spans(self) -> tuple[ReadableSpan, ...]:
        self._started.flush()
        return self._exporter.get_finished_spans()


async def ask(client: httpx.AsyncClient, query: str = "", headers: Mapping[str, str] = SAMPLED) -> dict[str, Any]:
    answer = await client.get(URL + query, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def attributes(spans: Spans, name: str) -> dict[str, Any]:
    [found] = [span for span in spans.get_finished_spans() if span.name == name]
    return dict(found.attributes or {})


def counted(space: str, method: str) -> float:
    return REGISTRY.get_sample_value("amity_searches_total", {"space": space, "method": method}) or 0


async def test_the_mask_tells_how_many_are_eligible(client: httpx.AsyncClient, spans: Spans) -> None:
    body = await ask(client, "&gender=woman&max_age=29&limit=100")
    assert attributes(spans, "amity.mask")["amity.n_eligible"] == body["total_count"] == 9


async def test_retrieval_tells_how_each_space_was_searched(client: httpx.AsyncClient, spans: Spans) -> None:
    await ask(client, "&gender=woman&max_age=29")
    told = attributes(spans, "amity.retrieval")
    for space in SPACES:
        plan = {name.rpartition(".")[2]: value for name, value in told.items() if name.startswith(f"amity.search.{space}.")}
        assert (plan["method"], plan["n_passing"], plan["share"]) == ("exact", 9, 9 / N_PEOPLE)
        assert (plan["n_lists"], plan["depth"], plan["expected_recall"], plan["widened"]) == (0, 0, 1.0, False)
        assert 0 < plan["estimated_ms"] < 1
    assert told["amity.n_candidates"] == 9


async def test_a_search_among_nobody_says_that_there_was_none(client: httpx.AsyncClient, spans: Spans) -> None:
    body = await ask(client, "&min_age=100")
    told = attributes(spans, "amity.retrieval")
    assert [told[f"amity.search.{space}.method"] for space in SPACES] == ["none", "none"]
    assert (attributes(spans, "amity.mask")["amity.n_eligible"], body["total_count"]) == (0, 0)


async def test_people_of_the_overlay_are_eligible_and_not_of_the_planned_base(client: httpx.AsyncClient, spans: Spans) -> None:
    for newcomer in (101, 102, 103):
        assert (await client.put(f"/api/v1/users/{newcomer}", json={"name": "New", "age": 90})).status_code == 201

    async def found() -> bool:
        return bool((await ask(client, "&min_age=90", UNSAMPLED))["total_count"] == 3)

    await soon(found)
    await ask(client, "&min_age=39")
    assert attributes(spans, "amity.mask")["amity.n_eligible"] == 3 + 3  # of 39 are 38 and 39, of 40 is 40
    assert attributes(spans, "amity.retrieval")["amity.search.mutual.n_passing"] == 3


async def test_searches_are_counted_by_space_and_method(client: httpx.AsyncClient) -> None:
    kinds = [(space, method) for space in SPACES for method in ("exact", "none")]
    before = [counted(*kind) for kind in kinds]
    for query in ("", "&gender=woman", "&min_age=100"):
        await ask(client, query)
    assert [counted(*kind) - had for kind, had in zip(kinds, before, strict=True)] == [2, 1, 2, 1]
    metrics = (await client.get("/metrics")).text
    assert 'amity_searches_total{method="exact",space="mutual"}' in metrics


async def test_what_is_not_sampled_leaves_no_span(client: httpx.AsyncClient, spans: Spans) -> None:
    await ask(client, headers=UNSAMPLED)
    assert not spans.get_finished_spans()
