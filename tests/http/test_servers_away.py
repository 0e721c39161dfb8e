"""What callers get while PostgreSQL or Valkey is gone, and after it came back."""

import asyncio
from typing import Any

import msgspec
import pytest

from service import metrics
from service.repositories.migrate import upgrade
from service.settings import Settings
from tests.http.conftest import person, serving, store
from tests.proxy import Proxy
from tests.servers import PrivatePostgres, PrivateValkey, fetch

RECOMMENDATIONS = "/api/v1/recommendations/users/1/recommendations?algorithm_version=heuristic"
LIKE = {"interactions": [{"actor_id": 1, "target_id": 2, "kind": "like"}]}


def interactions_heard() -> float:
    return metrics.REGISTRY.get_sample_value("amity_feed_changes_total", {"entity": "interaction"}) or 0


async def connections(database_url: str) -> int:
    """How many the server has, but for the one that asks."""
    clients = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return int((await fetch(database_url, f"SELECT count(*) {clients}"))[0][0])


@pytest.fixture
async def on_own_postgres(settings: Settings, private_postgres: PrivatePostgres) -> Settings:
    await upgrade(private_postgres.url)
    await store(private_postgres.url, [person(i) for i in range(1, 31)])
    return msgspec.structs.replace(settings, database_url=private_postgres.url, database_timeout_ms=300)


async def test_without_postgres_people_are_recommended_from_memory_and_nothing_is_written(
    on_own_postgres: Settings, private_postgres: PrivatePostgres
) -> None:
    async with serving(on_own_postgres) as client:
        heard = interactions_heard()
        await client.post("/api/v1/interactions", json={"interactions": [{"actor_id": 3, "target_id": 1, "kind": "block"}]})
        for _ in range(2000):  # the feed brings it to memory a moment after the reply
            if interactions_heard() > heard:
                break
            await asyncio.sleep(0.005)
        private_postgres.kill()
        answer = await client.get(f"{RECOMMENDATIONS}&limit=100")
        body = answer.json()
        assert (answer.status_code, body["total_count"] > 20) == (200, True)
        assert 3 not in {shown["id"] for shown in body["recommendations"]}
        assert {"viewer", "relations"} <= {bent["stage"] for bent in body["degraded"]}
        assert (await client.get("/api/v1/users/2")).json()["name"] == "Person 2"
        for call in (
            client.put("/api/v1/users/500", json={"name": "Al"}),
            client.patch("/api/v1/users/2", json={"bio": "x"}),
            client.delete("/api/v1/users/2"),
            client.post("/api/v1/interactions", json=LIKE),
            client.get("/api/v1/users/1/matches"),
        ):
            refused = await call
            assert (refused.status_code, refused.json()["error"]) == (503, "Service Unavailable")
            assert int(refused.headers["retry-after"]) >= 1
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["database"])


async def test_writes_are_taken_again_when_postgres_is_back(on_own_postgres: Settings, private_postgres: PrivatePostgres) -> None:
    async with serving(on_own_postgres) as client:
        private_postgres.kill()
        assert (await client.post("/api/v1/interactions", json=LIKE)).status_code == 503
        private_postgres.start()
        assert (await client.post("/api/v1/interactions", json=LIKE)).json()["recorded"] == 1
        assert (await client.get("/health/ready")).json()["degraded"] == []


async def test_a_frozen_postgres_delays_no_recommendation_beyond_its_timeouts(
    on_own_postgres: Settings, private_postgres: PrivatePostgres
) -> None:
    async with serving(msgspec.structs.replace(on_own_postgres, deadline_ms=2000)) as client:
        private_postgres.pause()
        body = (await client.get(RECOMMENDATIONS)).json()
        private_postgres.resume()
    assert body["total_count"] == 20
    assert {bent["reason"] for bent in body["degraded"] if bent["stage"] == "viewer"} == {"timeout"}


async def test_connections_into_a_black_hole_bend_answers_for_as_long_as_it_lasts_and_none_is_left_over(
    on_own_postgres: Settings, private_postgres: PrivatePostgres
) -> None:
    async with Proxy(private_postgres.socket) as proxy:
        url = f"postgresql://amity@127.0.0.1:{proxy.port}/amity"
        through = msgspec.structs.replace(on_own_postgres, database_url=url, deadline_ms=2000)
        async with serving(through) as client:

            async def recommend(viewers: range) -> list[dict[str, Any]]:
                """To all at once, so that every connection for reads is open, and idle afterwards."""
                query = "recommendations?algorithm_version=heuristic&use_cache=false"
                paths = [f"/api/v1/recommendations/users/{viewer}/{query}" for viewer in viewers]
                return [answer.json() for answer in await asyncio.gather(*map(client.get, paths))]

            assert all(body["degraded"] == [] for body in await recommend(range(1, 11)))
            proxy.freeze()
            bent = await recommend(range(11, 31))
            proxy.thaw()
            assert {body["total_count"] for body in bent} == {20}
            assert {one["reason"] for body in bent for one in body["degraded"] if one["stage"] == "viewer"} >= {"timeout"}
            while any(body["degraded"] for body in await recommend(range(11, 31))):  # noqa: ASYNC110 - the breaker is waited for
                await asyncio.sleep(0.05)
            while await connections(private_postgres.url) > through.database_pool_size:  # noqa: ASYNC110 - the server is
                await asyncio.sleep(0.05)


async def test_without_redis_all_is_answered_and_nothing_is_bent(
    settings: Settings, people: object, private_valkey: PrivateValkey
) -> None:
    async with serving(msgspec.structs.replace(settings, redis_url=private_valkey.url, redis_timeout_ms=300)) as client:
        private_valkey.kill()
        body = (await client.get(RECOMMENDATIONS)).json()
        assert (body["total_count"], body["cached"], body["degraded"]) == (20, False, [])
        assert (await client.post("/api/v1/interactions", json=LIKE)).status_code == 201
        assert (await client.put("/api/v1/users/500", json={"name": "Al"})).status_code == 201
        refused = await client.post("/api/v1/recommendations/refresh", json={"all": True})
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["redis"])
