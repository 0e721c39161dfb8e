"""The report over HTTP: of slates that the service itself served and wrote down."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from service.settings import Settings
from tests.http.test_experiments_routes import EXPERIMENTS, created, heuristic, patched

__all__ = ["heuristic"]


async def reported(client: httpx.AsyncClient, name: str = "trial") -> dict[str, Any]:
    answer = await client.get(f"{EXPERIMENTS}/{name}/report")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def shown_to(client: httpx.AsyncClient, viewer_id: int) -> dict[str, Any]:
    answer = await client.get(f"/api/v1/recommendations/users/{viewer_id}/recommendations?limit=5")
    found: dict[str, Any] = answer.json()
    return found


async def written(settings: Settings, n_slates: int) -> None:
    """Wait until so many slates are in the database."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        for _ in range(400):
            if await connection.fetchval("select count(*) from impressions") >= n_slates:
                return
            await asyncio.sleep(0.05)
        pytest.fail("slates were not written")
    finally:
        await connection.close()


async def like(client: httpx.AsyncClient, slate: dict[str, Any], viewer_id: int) -> None:
    target = slate["recommendations"][0]["id"]
    row = {"actor_id": viewer_id, "target_id": target, "kind": "like", "slate_id": slate["slate_id"]}
    answer = await client.post("/api/v1/interactions", json={"interactions": [row]})
    assert answer.status_code == 201, answer.text


async def test_what_was_shown_and_liked_is_in_the_report_of_its_arm(heuristic: httpx.AsyncClient, settings: Settings) -> None:
    await created(heuristic)
    await patched(heuristic, status="running")
    expected = {"control": [0, 0, 0, 0], "treatment": [0, 0, 0, 0]}
    for viewer_id in range(1, 13):
        slate = await shown_to(heuristic, viewer_id)
        arm = slate["experiment"]["arm"]
        if viewer_id % 3 == 0:
            await like(heuristic, slate, viewer_id)
        gained = (1, 1, slate["total_count"], int(viewer_id % 3 == 0))
        expected[arm] = [sum(pair) for pair in zip(expected[arm], gained, strict=True)]
    await written(settings, 12)

    report = await reported(heuristic)
    found = {arm["name"]: [arm["viewers"], arm["slates"], arm["impressions"], arm["likes"]] for arm in report["arms"]}
    assert found == expected
    assert report["verdicts"][0]["kind"] == "not_enough_data"
    assert report["randomisation"]["unit"] == "viewer"
    assert all(arm["p95_ms"] > 0 for arm in report["arms"])


async def test_slates_of_a_named_ranker_are_in_no_report(heuristic: httpx.AsyncClient, settings: Settings) -> None:
    await created(heuristic)
    await patched(heuristic, status="running")
    answer = await heuristic.get("/api/v1/recommendations/users/1/recommendations?algorithm_version=heuristic")
    assert answer.json()["experiment"] is None
    await written(settings, 1)
    assert [arm["viewers"] for arm in (await reported(heuristic))["arms"]] == [0, 0]


async def test_a_report_of_two_rankers_in_one_slate_credits_who_brought_the_person(
    heuristic: httpx.AsyncClient, settings: Settings
) -> None:
    await created(heuristic, design="interleaving")
    await patched(heuristic, status="running")
    await like(heuristic, await shown_to(heuristic, 1), 1)
    await written(settings, 1)
    report = await reported(heuristic)
    assert report["interleaved"]["slates"] == 1
    assert sum(arm["impressions"] for arm in report["arms"]) <= 5
    assert report["mismatch"] is None


async def test_a_report_ends_with_the_experiment(heuristic: httpx.AsyncClient) -> None:
    await created(heuristic)
    await patched(heuristic, status="running")
    stopped = await patched(heuristic, status="stopped")
    report = await reported(heuristic)
    assert (report["status"], report["until"]) == ("stopped", stopped["stopped_at"])


@pytest.mark.parametrize(("name", "status"), [("nobody", 404), ("trial", 409)])
async def test_there_is_no_report_of_what_is_unknown_or_has_not_started(
    heuristic: httpx.AsyncClient, name: str, status: int
) -> None:
    await created(heuristic)
    answer = await heuristic.get(f"{EXPERIMENTS}/{name}/report")
    assert (answer.status_code, repr(name) in answer.json()["detail"]) == (status, True)


async def test_a_report_takes_no_parameters(heuristic: httpx.AsyncClient) -> None:
    answer = await heuristic.get(f"{EXPERIMENTS}/trial/report?format=html")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "format")
