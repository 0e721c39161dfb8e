"""Traces of the whole application as a collector gets them over a socket."""

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service import tracing
from service.logs import configure_logging, reset_logging
from service.repositories.database import Database
from service.settings import Settings
from tests.http.conftest import serving
from tests.http.test_real_server import Served
from tests.integration.population_world import World, soon
from tests.integration.repo_builders import person
from tests.observing import quoted, table
from tests.otlp import Collector, Manner, Seen, collector

ROUTE = "/api/v1/recommendations/users/{user_id}/recommendations"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SERVER = 2
OF_ANY = {"amity.reason", "amity.unfinished"}
"""Attributes of any stage that fails or hangs."""
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def asked(trace_id: str, sampled: bool = True) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{CALLER}-0{int(sampled)}"}


def url(viewer_id: int, query: str = "") -> str:
    return f"{ROUTE}?algorithm_version=heuristic{query}".replace("{user_id}", str(viewer_id))


@pytest.fixture(autouse=True)
def logging_of_before() -> Iterator[None]:
    """A server that a test starts sets up logging for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    reset_logging()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
async def settings(database: Database, redis_url: str, tmp_path: Path) -> Settings:
    """Of a replica on a bundle of 40 people, with vectors and no trained ranker."""
    world = World(database, tmp_path)
    await world.users.put_many([person(i, gender=("man", "woman")[i % 2], age=20 + i // 2) for i in range(1, 41)])
    await world.publish("b1")
    return Settings(
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


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture
async def client(settings: Settings, receiver: Collector) -> AsyncIterator[httpx.AsyncClient]:
    async with traced(settings, receiver) as opened:
        yield opened


@asynccontextmanager
async def traced(settings: Settings, receiver: Collector) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(replace(settings, otlp_endpoint=receiver.endpoint)) as opened:
        yield opened


async def trace(receiver: Collector, trace_id: str) -> dict[str, Seen]:
    """A trace's spans by name, once it has come."""

    async def is_there() -> bool:
        return bool(receiver.trace(trace_id))

    await soon(is_there)
    return receiver.trace(trace_id)


def tree(spans: dict[str, Seen]) -> dict[str, str]:
    """Each span's parent, by their names."""
    names = {span.span_id: span.name for span in spans.values()}
    return {name: names.get(span.parent_id, span.parent_id) for name, span in spans.items()}


async def test_a_sampled_request_is_a_tree_of_its_stages_under_its_caller(client: httpx.AsyncClient, receiver: Collector) -> None:
    assert (await client.get(url(1), headers=asked(TRACE))).status_code == 200
    spans = await trace(receiver, TRACE)
    root = f"GET {ROUTE}"
    found = tree(spans)
    sources = {name for name in found if name.startswith("amity.source:")}
    assert {found.pop(name) for name in sources} == {"amity.retrieval"}
    assert len(sources) == 5
    assert found.pop("amity.profiles") == "amity.selection"
    assert found.pop("amity.features") == "amity.ranking"
    assert found.pop(root) == CALLER
    assert found.pop("amity.viewer") == "amity.relations"
    direct = ("pool", "relations", "mask", "retrieval", "ranking", "store", "selection")
    assert found == {f"amity.{name}": root for name in direct}


async def test_spans_lie_within_those_around_them(client: httpx.AsyncClient, receiver: Collector) -> None:
    begun_ns = time.time_ns()
    await client.get(url(1), headers=asked(TRACE))
    spans = await trace(receiver, TRACE)
    by_id = {span.span_id: span for span in spans.values()}
    root = spans[f"GET {ROUTE}"]
    assert begun_ns - 50_000_000 <= root.began_ns <= root.ended_ns <= time.time_ns()
    for span in spans.values():
        around = by_id.get(span.parent_id, root)
        assert around.began_ns - 1000 <= span.began_ns <= span.ended_ns <= around.ended_ns + 1000, span.name


async def test_each_span_tells_what_its_stage_came_to(client: httpx.AsyncClient, receiver: Collector) -> None:
    answer = (await client.get(url(1, "&limit=3"), headers=asked(TRACE))).json()
    spans = await trace(receiver, TRACE)
    told = {name: span.attributes for name, span in spans.items()}
    n_eligible = told["amity.mask"]["amity.n_eligible"]
    assert told["amity.pool"] == {"amity.pool.outcome": "miss", "amity.pool.from": "nowhere"}
    assert told["amity.source:explore"]["amity.n_asked"] >= told["amity.source:explore"]["amity.n_found"] > 0
    retrieval = told["amity.retrieval"]
    assert retrieval["amity.n_found"] >= retrieval["amity.n_unique"] == retrieval["amity.n_eligible"] == n_eligible
    assert retrieval["amity.n_candidates"] == told["amity.ranking"]["amity.n_candidates"] == n_eligible
    assert retrieval["amity.search.mutual.method"] == "exact"
    assert (told["amity.ranking"]["amity.ranker"], told["amity.ranking"]["amity.ranker.version"]) == ("heuristic", "1")
    assert (told["amity.selection"]["amity.n_asked"], told["amity.selection"]["amity.n_shown"]) == (3, 3)
    root = told[f"GET {ROUTE}"]
    assert (root["amity.viewer_id"], root["amity.count"], root["amity.cached"]) == (1, 3, False)
    assert (root["amity.bundle_version"], root["amity.traced_because"]) == ("b1", "caller")
    assert root["amity.request_id"] == answer["request_id"]
    assert spans["amity.pool"].resource["service.name"] == "amity"


async def test_where_a_hit_came_from_is_told(client: httpx.AsyncClient, receiver: Collector) -> None:
    for number in range(3):
        await client.get(url(2, "&limit=3"), headers=asked(f"{number + 1:032x}"))
    outcomes = []
    for number in range(3):
        pool = (await trace(receiver, f"{number + 1:032x}"))["amity.pool"].attributes
        outcomes.append((pool["amity.pool.outcome"], pool["amity.pool.from"]))
    assert outcomes[0] == ("miss", "nowhere")
    assert set(outcomes[1:]) <= {("hit", "held"), ("hit", "slate")}


async def test_a_hit_that_is_answered_past_the_application_is_traced_alike(settings: Settings, receiver: Collector) -> None:
    served = Served(replace(settings, port=0, otlp_endpoint=receiver.endpoint))
    await served.ready()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
            for number in range(1, 30):  # slates are held once news from other replicas is known to arrive
                await client.get(url(2, "&limit=3"), headers=asked(f"{number:032x}"))
                spans = await trace(receiver, f"{number:032x}")
                if spans["amity.pool"].attributes["amity.pool.from"] == "slate":
                    break
    finally:
        await served.stop()
    root, pool = spans[f"GET {ROUTE}"], spans["amity.pool"]
    assert (root.parent_id, pool.parent_id) == (CALLER, root.span_id)
    assert pool.attributes == {"amity.pool.outcome": "hit", "amity.pool.from": "slate"}
    assert (root.attributes["amity.count"], root.attributes["amity.bundle_version"]) == (3, "b1")
    assert root.began_ns <= pool.began_ns <= pool.ended_ns <= root.ended_ns + 1000


async def test_nobody_wrote_what_spans_tell(client: httpx.AsyncClient, receiver: Collector) -> None:
    profile = {"name": "Alice Xenia", "age": 30, "bio": "Likes zithers", "location": "Timbuktu", "interests": ["zeppelins"]}
    assert (await client.put("/api/v1/users/77", json=profile, headers=asked("7" * 32))).status_code == 201
    query = "&location=Timbuktu&interests=zeppelins&gender=nobody&explain=true"
    await client.get(url(77, query), headers=asked(TRACE))
    await trace(receiver, "7" * 32)
    await trace(receiver, TRACE)
    for word in ("Alice", "zither", "Timbuktu", "zeppelin", "nobody"):
        assert word not in repr(receiver.spans)


async def test_who_is_not_sampled_leaves_a_whole_trace_when_degraded_and_its_log_line_names_it(
    client: httpx.AsyncClient, receiver: Collector
) -> None:
    lines = io.StringIO()
    configure_logging("json", "info", lines)
    await client.get(url(1))
    answer = (await client.get(url(1).replace("heuristic", "v1"))).json()
    reset_logging()
    assert [bent["stage"] for bent in answer["degraded"]] == ["ranking"]
    whole, bent = (json.loads(line) for line in lines.getvalue().splitlines() if "recommendations generated" in line)
    assert "trace_id" not in whole
    spans = await trace(receiver, bent["trace_id"])
    root = spans[f"GET {ROUTE}"]
    assert (root.parent_id, root.attributes["amity.traced_because"]) == ("", "degraded")
    assert root.attributes["amity.degraded"] == ["ranking:missing_bundle"]
    assert root.events == [
        ("degraded", {"amity.stage": "ranking", "amity.reason": "missing_bundle", "amity.fallback": "heuristic"})
    ]
    assert {"amity.pool", "amity.retrieval", "amity.ranking", "amity.selection"} <= set(spans)
    assert {span.trace_id for span in receiver.spans} == {bent["trace_id"]}


async def test_a_caller_who_decided_against_a_trace_is_followed_until_the_request_is_degraded(
    client: httpx.AsyncClient, receiver: Collector
) -> None:
    await client.get(url(1), headers=asked("1" * 32, sampled=False))
    await client.get(url(1).replace("heuristic", "v1"), headers=asked(TRACE, sampled=False))
    spans = await trace(receiver, TRACE)
    assert spans[f"GET {ROUTE}"].parent_id == CALLER
    assert not receiver.trace("1" * 32)


async def test_histograms_point_to_traces_that_came_and_only_where_openmetrics_is_asked_for(
    client: httpx.AsyncClient, receiver: Collector
) -> None:
    await client.get(url(1), headers=asked(TRACE))
    await trace(receiver, TRACE)

    async def points() -> set[str]:
        answer = await client.get("/metrics", headers=OPENMETRICS)
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        samples = [sample for family in families for sample in family.samples]
        return {each.name for each in samples if each.exemplar and each.exemplar.labels == {"trace_id": TRACE}}

    async def both() -> bool:
        return await points() == {"amity_http_request_seconds_bucket", "amity_stage_seconds_bucket"}

    await soon(both)
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert TRACE not in plain.text


@pytest.mark.parametrize("manner", ["refuses", "hangs", "dead"])
async def test_a_collector_in_trouble_costs_no_answer_and_little_at_the_end(settings: Settings, manner: str) -> None:
    broken: Manner = "hangs" if manner == "hangs" else "refuses"
    with collector(broken) as receiver:
        if manner == "dead":
            receiver.endpoint = "http://127.0.0.1:9"
        async with traced(settings, receiver) as client:
            for viewer_id in range(1, 6):
                assert (await client.get(url(viewer_id), headers=asked(TRACE))).status_code == 200
            begun_s = time.monotonic()
        # Of the whole end, traces may take EXPORT_TIMEOUT_S; the SDK's own processor would wait for 30 s.
        assert time.monotonic() - begun_s < tracing.EXPORT_TIMEOUT_S + 3


async def test_spans_and_their_attributes_are_those_of_the_page(settings: Settings, receiver: Collector) -> None:
    async with traced(replace(settings, pool_ttl_s=1), receiver) as client:
        await _everything(client)

        async def came() -> bool:
            await client.get(url(4), headers=asked(TRACE))  # its pool gets stale meanwhile
            return bool(receiver.trace("f" * 32)) and any(span.name == "amity.renewal" for span in receiver.spans)

        await soon(came)
    page = {quoted(name)[0]: set(quoted(told)) | set(quoted(what)) for name, what, told in table("Spans", "span")}
    of_request = page["METHOD ROUTE"]
    of_request -= {"degraded", "amity.FIELD"}
    of_line = {f"amity.{name}" for cell, *_ in table("Logs", "field") for name in quoted(cell)} - of_request
    seen: dict[str, set[str]] = {}
    for span in receiver.spans:
        name = "METHOD ROUTE" if span.kind == SERVER else re.sub(r":.*", ":NAME", span.name)
        told = {re.sub(r"(search)\..*", r"\1.SPACE.PLAN", each) for each in span.attributes}
        told |= {each for _, event in span.events for each in event}
        seen.setdefault(name, set()).update(told - (of_line if span.kind == SERVER else OF_ANY))
    assert seen == page
    told = {each for cell, *_ in table("Spans", "attribute") for each in quoted(cell)}
    assert told == {each for names in page.values() for each in names if each.startswith("amity.")} | OF_ANY


async def _everything(client: httpx.AsyncClient) -> None:
    """Each stage at least once; the last trace is the one of fs."""
    arms = [{"name": name, "algorithm_version": ranker} for name, ranker in (("a", "heuristic"), ("b", "popular"))]
    new = {"name": "tea", "arms": arms, "traffic": 1.0}
    answer = await client.post("/api/v1/experiments", json=new)
    assert answer.status_code == 201, answer.text
    assert (await client.patch("/api/v1/experiments/tea", json={"status": "running"})).status_code == 200

    async def runs() -> bool:
        return (await client.get(url(1).replace("?algorithm_version=heuristic", ""))).json()["experiment"] is not None

    await soon(runs)
    sampled = asked(TRACE)
    await asyncio.gather(*(client.get(url(3, "&min_age=20"), headers=sampled) for _ in range(4)))
    for asked_for in (
        url(1).replace("?algorithm_version=heuristic", ""),
        url(1).replace("heuristic", "v1"),
        url(1, "&explain=true"),
        "/api/v1/recommendations/users/1/similar",
    ):
        assert (await client.get(asked_for, headers=sampled)).status_code == 200
    rank = "/api/v1/recommendations/users/1/rank"
    assert (await client.post(rank, json={"candidate_ids": [2, 4]}, headers=asked("f" * 32))).status_code == 200
