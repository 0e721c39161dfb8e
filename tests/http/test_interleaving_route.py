"""Interleaved slates over HTTP, where no bundle is needed: both arms are the heuristic, so the slate is its own ranking."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from service.domain import Profile
from service.settings import Settings
from tests.http.conftest import serving

EXPERIMENTS = "/api/v1/experiments"
ARMS = [{"name": "control", "algorithm_version": "heuristic"}, {"name": "treatment", "algorithm_version": "heuristic"}]


@pytest.fixture
async def drafting(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    """An interleaving runs."""
    async with serving(msgspec.structs.replace(settings, default_ranker="heuristic")) as client:
        body = {"name": "drafts", "design": "interleaving", "traffic": 1.0, "arms": ARMS}
        assert (await client.post(EXPERIMENTS, json=body)).status_code == 201
        assert (await client.patch(f"{EXPERIMENTS}/drafts", json={"status": "running"})).status_code == 200
        await until(client, "interleaved")
        yield client


async def until(client: httpx.AsyncClient, ordering: str) -> None:
    """That is what viewer 60 is answered with."""
    async with asyncio.timeout(30):
        while (await ask(client, 60))["ordering"] != ordering:  # noqa: ASYNC110 - news takes its way
            await asyncio.sleep(0.02)


async def ask(client: httpx.AsyncClient, viewer_id: int, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"/api/v1/recommendations/users/{viewer_id}/recommendations", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def remembered(settings: Settings, slate_id: str) -> asyncpg.Record:
    connection = await asyncpg.connect(settings.database_url)
    try:
        async with asyncio.timeout(30):
            row = None
            while row is None:
                await asyncio.sleep(0.02)
                row = await connection.fetchrow("select * from impressions where slate_id = $1", UUID(slate_id))
            return row
    finally:
        await connection.close()


def ids(answer: dict[str, Any]) -> list[int]:
    return [one["id"] for one in answer["recommendations"]]


async def test_an_interleaved_slate_says_what_it_is(drafting: httpx.AsyncClient) -> None:
    answer = await ask(drafting, 5)
    assert (answer["ordering"], answer["algorithm_version"]) == ("interleaved", "heuristic+heuristic")
    assert answer["experiment"] == {"name": "drafts", "arm": "interleaved"}
    assert (answer["total_count"], answer["degraded"], answer["message"]) == (20, [], None)
    assert {one["slot"] for one in answer["recommendations"]} == {"ranked"}


async def test_its_row_has_a_team_for_each_position(drafting: httpx.AsyncClient, settings: Settings) -> None:
    answer = await ask(drafting, 5, limit=7)
    row = await remembered(settings, answer["slate_id"])
    assert row["candidate_ids"] == ids(answer)
    assert len(row["teams"]) == 7
    assert set(row["teams"]) == {0, 1}
    assert (row["experiment"], row["arm"], row["degraded"]) == ("drafts", "interleaved", False)


async def test_asked_again_the_draft_is_the_same(drafting: httpx.AsyncClient, settings: Settings) -> None:
    first, second = await ask(drafting, 5), await ask(drafting, 5)
    assert (second["cached"], ids(second)) == (True, ids(first))
    rows = [await remembered(settings, answer["slate_id"]) for answer in (first, second)]
    assert rows[0]["teams"] == rows[1]["teams"]


async def test_likes_passes_and_exclusions_are_heeded_at_once(drafting: httpx.AsyncClient) -> None:
    best = ids(await ask(drafting, 5))
    acts = [{"actor_id": 5, "target_id": best[0], "kind": "like"}, {"actor_id": best[1], "target_id": 5, "kind": "pass"}]
    assert (await drafting.post("/api/v1/interactions", json={"interactions": acts})).status_code == 201
    after = ids(await ask(drafting, 5, exclude_ids=best[2]))
    assert len(after) == len(set(after)) == 20
    assert not set(best[:3]) & set(after)


async def test_a_paused_person_leaves_and_filters_hold(drafting: httpx.AsyncClient) -> None:
    first = ids(await ask(drafting, 5, gender="female"))
    assert all(who % 2 == 0 for who in first)
    assert (await drafting.patch(f"/api/v1/users/{first[0]}", json={"status": "paused"})).status_code == 200
    assert first[0] not in ids(await ask(drafting, 5, gender="female"))


async def test_with_reasons_the_order_stays(drafting: httpx.AsyncClient) -> None:
    plain, told = await ask(drafting, 5), await ask(drafting, 5, explain="true")
    assert ids(told) == ids(plain)
    assert all("reasons" in one for one in told["recommendations"])


async def test_stopped_it_gives_way_to_the_default(drafting: httpx.AsyncClient) -> None:
    assert (await drafting.patch(f"{EXPERIMENTS}/drafts", json={"status": "stopped"})).status_code == 200
    await until(drafting, "score")
    assert (await ask(drafting, 5))["experiment"] is None
