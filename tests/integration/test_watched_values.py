"""Dashboards and alerts look for values of labels that a replica really gives."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.repositories.database import Database
from service.settings import Settings
from tests.http.conftest import serving
from tests.integration.population_world import World, soon
from tests.integration.repo_builders import person
from tests.promql import SCRAPED, matchers, parsed
from tests.unit.test_metrics_table import expressions

ROUTE = "/api/v1/recommendations/users/{}/recommendations"
IN_TROUBLE = {
    ("amity_bundle_loads_total", "outcome", "refused"),
    ("amity_guardrail_rounds_total", "outcome", "failed"),
    ("amity_http_request_seconds_count", "status", "5.."),
}
"""What a replica that is well never gives."""


@pytest.fixture
async def client(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A replica on a bundle without a trained ranker, which looks at guardrails and the market at once."""
    world = World(database, tmp_path)
    await world.users.put_many([person(i, gender=("man", "woman")[i % 2], age=20 + i // 2) for i in range(1, 41)])
    await world.publish("b1")
    settings = Settings(
        home=tmp_path,
        artifacts=str(tmp_path / "bundles"),
        database_url=database.url,
        redis_url=redis_url,
        deadline_ms=5000,
        database_timeout_ms=3000,
        redis_timeout_ms=2000,
        guardrails_poll_s=0.05,
        market_every_s=0.05,
    )
    async with serving(settings) as opened:
        yield opened


async def samples(client: httpx.AsyncClient) -> list[Sample]:
    text = (await client.get("/metrics")).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def wanted() -> set[tuple[str, str, str]]:
    """Metric, label and value, or pattern of values, of whatever is asked for; variables of dashboards stand for any value."""
    found = {one for expression in expressions().values() for one in matchers(parsed(expression))}
    return {(metric, label, value) for metric, label, value in found if label not in SCRAPED and "$" not in value} - IN_TROUBLE


async def test_every_value_that_is_looked_for_is_given(client: httpx.AsyncClient) -> None:
    arms = [{"name": name, "algorithm_version": ranker} for name, ranker in (("a", "v1"), ("b", "heuristic"))]
    assert (await client.post("/api/v1/experiments", json={"name": "tea", "arms": arms, "traffic": 1.0})).status_code == 201
    assert (await client.patch("/api/v1/experiments/tea", json={"status": "running"})).status_code == 200

    async def missing() -> set[tuple[str, str, str]]:
        for viewer in range(1, 9):  # made and then cached; degraded where the arm is that of a ranker without its bundle
            assert (await client.get(ROUTE.format(viewer))).status_code == 200
        given = await samples(client)
        return {
            (metric, label, value)
            for metric, label, value in wanted()
            if not any(each.name == metric and re.fullmatch(value, each.labels[label]) for each in given)
        }

    async def nothing_is_missing() -> bool:
        return not await missing()

    try:
        await soon(nothing_is_missing, within_s=15)
    except TimeoutError:
        assert await missing() == set()
