"""PostgreSQL hung or killed and back: recommendations from memory, no write taken, and recovery without a hand's help."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from service.embedded import binaries
from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica, replicas, shown
from tests.servers import PrivatePostgres, run_now

BACK_S = 60.0
Fault = Callable[[PrivatePostgres], None]
FAULTS: dict[str, tuple[Fault, Fault]] = {
    "hung": (lambda postgres: postgres.pause(), lambda postgres: postgres.resume()),
    "killed": (lambda postgres: postgres.kill(), lambda postgres: postgres.start()),
}


@pytest.fixture(scope="module")
def postgres(world: World) -> Iterator[PrivatePostgres]:
    """A server of the module's own with the world in it. Its transaction numbers are not those that the changes bear."""
    programs = binaries.postgres_folder() / "bin"
    with PrivatePostgres() as own:
        command = [str(programs / "pg_dump"), "--no-owner", "--exclude-table-data=changes*", world.database_url]
        dump = subprocess.run(command, capture_output=True, check=True).stdout
        subprocess.run([str(programs / "psql"), "-q", "-v", "ON_ERROR_STOP=1", own.url], input=dump, check=True)
        yield own


@pytest.fixture(scope="module")
def on_own_postgres(
    world: World, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    settings = world.changed(DATABASE_URL=postgres.url, DATABASE_TIMEOUT_MS="400", FEED_POLL_MS="50")
    with replicas(settings, tmp_path_factory.mktemp("postgres")) as (one, other):
        yield one, other
        assert one.metric("amity_unexpected_errors_total") + other.metric("amity_unexpected_errors_total") == 0


def count(postgres: PrivatePostgres, query: str, *values: Any) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(postgres.url)
        try:
            return int(await connection.fetchval(query, *values))
        finally:
            await connection.close()

    return run_now(ask())


def refused(replica: Replica, method: str, path: str, body: Any) -> bool:
    answer = replica.client.request(method, path, json=body)
    return answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_postgres_away_costs_writes_and_no_recommendation(
    on_own_postgres: tuple[Replica, Replica], postgres: PrivatePostgres, fault: str
) -> None:
    writer, reader = on_own_postgres
    viewer = 10 + 50 * list(FAULTS).index(fault)
    blocked, paused, liked = shown(reader.recommend(viewer))[:3]
    heard = reader.metric("amity_feed_changes_total")
    writer.act((blocked, viewer, "block"))
    writer.patch(paused, status="paused")
    assert eventually(lambda: reader.metric("amity_feed_changes_total") >= heard + 2, BACK_S)
    new = viewer + 7000
    strike, undo = FAULTS[fault]
    strike(postgres)
    try:
        for replica in on_own_postgres:
            answer = replica.recommend(viewer, limit=100)
            assert not {blocked, paused} & set(shown(answer))
            assert answer["total_count"] >= 20
            assert {bent["stage"] for bent in answer["degraded"]} >= {"viewer", "relations"}
            assert replica.ready()["degraded"] == ["database"]
        like = {"interactions": [{"actor_id": viewer, "target_id": liked, "kind": "like"}]}
        writes = [
            ("PUT", f"/api/v1/users/{new}", {"name": "Nobody"}),
            ("PATCH", f"/api/v1/users/{liked}", {"bio": "unsaid"}),
            ("DELETE", f"/api/v1/users/{liked}", None),
            ("POST", "/api/v1/interactions", like),
        ]
        with ThreadPoolExecutor(len(writes)) as threads:
            assert list(threads.map(lambda write: refused(writer, *write), writes)) == [True] * len(writes)
    finally:
        undo(postgres)
    assert eventually(lambda: reader.ready()["degraded"] == [] and writer.ready()["degraded"] == [], BACK_S)
    assert count(postgres, "SELECT count(*) FROM users WHERE id = $1 OR bio = 'unsaid'", new) == 0
    assert count(postgres, "SELECT count(*) FROM users WHERE id = $1", liked) == 1
    assert count(postgres, "SELECT count(*) FROM interactions WHERE actor_id = $1 AND target_id = $2", viewer, liked) == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_replicas_recover_by_themselves(on_own_postgres: tuple[Replica, Replica], postgres: PrivatePostgres, fault: str) -> None:
    writer, reader = on_own_postgres
    viewer = 20 + 50 * list(FAULTS).index(fault)
    strike, undo = FAULTS[fault]
    strike(postgres)
    try:
        answered = [replica.recommend(viewer) for replica in on_own_postgres]
        assert all(answer["degraded"] for answer in answered)
    finally:
        undo(postgres)
    for replica in on_own_postgres:
        assert eventually(lambda replica=replica: replica.recommend(viewer)["degraded"] == [], BACK_S)  # type: ignore[misc]
    passed = shown(reader.recommend(viewer))[0]
    writer.act((viewer, passed, "pass"))
    assert passed not in shown(reader.recommend(viewer))
    new = viewer + 8000
    assert writer.client.put(f"/api/v1/users/{new}", json={"name": "Newcomer"}).status_code == 201
    assert eventually(lambda: new in shown(reader.recommend(viewer, limit=100, use_cache=False)), BACK_S)
    slates = [answer["slate_id"] for answer in answered]
    written = "SELECT count(*) FROM impressions WHERE slate_id = ANY($1::uuid[])"
    assert eventually(lambda: count(postgres, written, slates) == len(slates), BACK_S)


@pytest.mark.slow
def test_a_replica_told_to_stop_while_postgres_hangs_ends_in_order(
    world: World, postgres: PrivatePostgres, start: Callable[[dict[str, str]], Replica]
) -> None:
    replica = start(world.changed(DATABASE_URL=postgres.url))
    replica.recommend(1)
    replica.client.close()
    postgres.pause()
    try:
        replica.terminate()
        assert replica.wait() == 0
    finally:
        postgres.resume()
    assert '"level":"error"' not in replica.said, replica.said
