"""Health, algorithms, metrics, keys, and the one log line, on the whole application."""

import hashlib
import json

import httpx
import msgspec
import structlog

from service.app import create_app
from service.domain import Profile
from service.settings import Settings
from tests.http.conftest import serving

RECOMMENDATIONS = "/api/v1/recommendations/users/1/recommendations"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def test_live_and_ready_say_so(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "live"}
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "degraded": [], "bundle_version": None, "people": 60})


async def test_before_the_population_is_loaded_it_is_live_and_not_ready() -> None:
    app = create_app(Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://amity") as client:  # type: ignore[arg-type]
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The population is not loaded yet")
    assert "retry-after" in answer.headers


async def test_installed_rankers_are_listed_with_what_is_wrong_with_them(client: httpx.AsyncClient) -> None:
    body = (await client.get("/api/v1/algorithms")).json()
    assert (body["default"], body["fallback"], body["bundle_version"]) == ("v1", "heuristic", None)
    listed = {ranker["name"]: ranker for ranker in body["algorithms"]}
    assert (listed["heuristic"]["loaded"], listed["heuristic"]["needs_bundle"], listed["heuristic"]["breaker"]) == (
        True,
        False,
        "closed",
    )
    assert (listed["v1"]["loaded"], listed["v1"]["problem"]) == (False, "no bundle is live")
    assert listed["v1"]["distribution"] == "amity-rankers"


async def test_metrics_are_those_of_prometheus_and_know_no_ids(client: httpx.AsyncClient) -> None:
    await client.get(RECOMMENDATIONS)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'route="/api/v1/recommendations/users/{user_id}/recommendations"' in answer.text
    assert "users/1/" not in answer.text


async def test_a_recommendation_leaves_one_log_line_with_ids_and_no_texts(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logs:
        await client.get(f"{RECOMMENDATIONS}?gender=female&location=Berlin")
    line = next(line for line in logs if line["event"] == "recommendations generated")
    assert len([line for line in logs if line["log_level"] == "info" and "route" in line]) == 1
    assert {"viewer_id", "count", "algorithm_version", "cached", "degraded"} <= set(line)
    for text in ("Person", "Likes tea", "Berlin", "female"):
        assert text not in json.dumps(logs, default=str)


async def test_each_scope_opens_its_own_routes(settings: Settings, people: list[Profile]) -> None:
    keys = ",".join(f"{scope}-key:{scope}:{digest(scope)}" for scope in ("read", "write", "admin"))
    async with serving(msgspec.structs.replace(settings, api_keys=keys, metrics_open=False)) as client:

        async def status(method: str, path: str, token: str, body: object = None) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return (await client.request(method, path, headers=headers, json=body)).status_code

        person = {"name": "Al"}
        refresh_all = "/api/v1/recommendations/refresh"
        asked = [
            (await status("GET", RECOMMENDATIONS, "read"), 200),
            (await status("GET", RECOMMENDATIONS, "write"), 403),
            (await status("GET", RECOMMENDATIONS, "none"), 401),
            (await status("PUT", "/api/v1/users/500", "read", person), 403),
            (await status("PUT", "/api/v1/users/500", "write", person), 201),
            (await status("DELETE", "/api/v1/users/500", "write"), 403),
            (await status("DELETE", "/api/v1/users/500", "admin"), 204),
            (await status("POST", refresh_all, "write", {"user_ids": [1]}), 200),
            (await status("POST", refresh_all, "write", {"all": True}), 403),
            (await status("GET", "/api/v1/recommendations/performance", "read"), 403),
            (await status("GET", "/api/v1/recommendations/performance", "admin"), 200),
            (await status("GET", "/metrics", "none"), 401),
            (await status("GET", "/metrics", "read"), 200),
            (await status("GET", "/health/ready", "none"), 200),
            (await status("GET", "/schema", "none"), 200),
        ]
    assert [got for got, _ in asked] == [wanted for _, wanted in asked]


async def test_a_key_that_may_only_write_drops_no_pools_of_everybody_but_one_with_both_scopes_does(
    settings: Settings, people: list[Profile]
) -> None:
    async with serving(msgspec.structs.replace(settings, api_keys=f"ops:write+admin:{digest('ops')}")) as client:
        headers = {"Authorization": "Bearer ops"}
        answer = await client.post("/api/v1/recommendations/refresh", json={"all": True}, headers=headers)
    assert answer.status_code == 200
