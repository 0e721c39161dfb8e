"""The end of a replica: told to stop under load, and killed."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.misbehaving import install, plugins
from tests.replicas import Replica
from tests.servers import run_now

SOON_S = 60.0
LEFT_BEHIND = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%')
         + (SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
            WHERE locktype = 'advisory' AND datname = current_database())
"""
"""Transactions that nobody ends, and locks that keep others waiting."""
Start = Callable[[dict[str, str]], Replica]


def count(world: World, query: str, *values: Any) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(world.database_url)
        try:
            return int(await connection.fetchval(query, *values))
        finally:
            await connection.close()

    return run_now(ask())


def ask(replica: Replica, viewer: int) -> httpx.Response:
    """One request on a connection of its own."""
    path = f"/api/v1/recommendations/users/{viewer}/recommendations"
    return httpx.get(replica.url + path, params={"algorithm_version": "slow", "use_cache": False}, timeout=60)


def test_running_requests_are_answered_and_remembered_before_the_end(world: World, start: Start, tmp_path: Path) -> None:
    slow = install(tmp_path / "site", plugins(slow="Slow"), {})
    replica = start(world.changed(DEADLINE_MS="60000", IMPRESSIONS_FLUSH_MS="60000") | slow)
    early = replica.recommend(1)["slate_id"]
    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(ask, replica, viewer) for viewer in range(2, 8)]
        assert eventually(lambda: replica.metric("amity_recommendations_in_flight") == len(running), SOON_S)
        replica.client.close()
        replica.terminate()
        answers = [asked.result() for asked in running]
    assert [(answer.status_code, answer.json()["algorithm_version"]) for answer in answers] == [(200, "slow")] * 6
    assert replica.wait() == 0, replica.said
    slates = [early, *(answer.json()["slate_id"] for answer in answers)]
    assert count(world, "SELECT count(*) FROM impressions WHERE slate_id = ANY($1::uuid[])", slates) == len(slates)
    assert "Traceback" not in replica.said


def test_a_replica_told_to_stop_under_load_answers_or_refuses_the_connection(world: World, start: Start) -> None:
    replica = start(world.settings)
    answered: list[dict[str, Any]] = []
    broken: list[BaseException] = []
    url = f"{replica.url}/api/v1/recommendations/users"

    def knock(first: int) -> None:
        viewer = first
        while True:
            viewer = viewer % 290 + 1
            try:
                answer = httpx.get(f"{url}/{viewer}/recommendations", timeout=60)
                answered.append({"status": answer.status_code} | answer.json())
            except httpx.ConnectError:
                return
            except httpx.TransportError as exc:  # the connection stood in the listener's queue when it was closed
                broken.append(exc)
                return

    with ThreadPoolExecutor(4) as threads:
        knocking = [threads.submit(knock, 60 * worker) for worker in range(4)]
        assert eventually(lambda: len(answered) > 40, SOON_S)
        replica.terminate()
        for done in knocking:
            done.result()
    assert replica.wait() == 0, replica.said
    assert {answer["status"] for answer in answered} == {200}
    assert len(broken) <= 4
    slates = [answer["slate_id"] for answer in answered]
    assert count(world, "SELECT count(*) FROM impressions WHERE slate_id = ANY($1::uuid[])", slates) == len(slates)


def test_a_second_signal_does_not_make_the_end_a_crash(world: World, start: Start) -> None:
    replica = start(world.settings)
    replica.recommend(1)
    replica.client.close()
    replica.terminate()
    time.sleep(0.05)
    replica.terminate()
    replica.wait()
    assert "Traceback" not in replica.said


def test_a_killed_replica_leaves_nothing_that_hinders_the_other(world: World, start: Start, pair: list[Replica]) -> None:
    doomed = start(world.settings)
    before = doomed.recommend(9)
    over = threading.Event()

    def write() -> None:
        path, turn = f"{doomed.url}/api/v1/interactions", 0
        while not over.is_set():
            turn += 1
            row = {"actor_id": 9, "target_id": 10 + turn % 200, "kind": ("like", "pass")[turn % 2]}
            try:
                httpx.post(path, json={"interactions": [row]}, timeout=60)
            except httpx.TransportError:
                return

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write) for _ in range(4)]
        assert eventually(lambda: doomed.metric("amity_feed_changes_total") > 10, SOON_S)
        doomed.kill()
        over.set()
        for done in writing:
            done.result()
    assert before["total_count"] == 20
    for replica in pair:
        assert replica.recommend(9)["degraded"] == []
        assert replica.act((9, 250, "message"))["recorded"] == 1
    assert eventually(lambda: count(world, LEFT_BEHIND) == 0, SOON_S)
