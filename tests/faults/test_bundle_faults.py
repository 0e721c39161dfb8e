"""Bundles published under load, damaged, and missing: no request notices, but for who ranks."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.repositories.bundles import Bundles
from service.repositories.database import Database
from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica, amity, shown
from tests.servers import run_now

SOON_S = 60.0
REFUSED = 'amity_bundle_loads_total{outcome="refused"}'
Start = Callable[[dict[str, str]], Replica]


async def point_at(database_url: str, version: str) -> None:
    """Move the pointer without the look at the bundle that `amity bundles promote` takes first."""
    database = Database(database_url)
    try:
        await Bundles(database.sessions).publish(version)
    finally:
        await database.close()


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def load(replica: Replica, first: int, over: threading.Event) -> list[tuple[int, Any]]:
    """Requests without a pause until it is over; status and body of each."""
    answers = []
    with httpx.Client(base_url=replica.url, timeout=60) as client:
        for turn in itertools.count(first):
            path = f"/api/v1/recommendations/users/{1 + turn % 290}/recommendations"
            answer = client.get(path, params={"use_cache": str(turn % 2 == 0).lower()})
            answers.append((answer.status_code, answer.json()))
            if over.is_set():
                break
    return answers


def serves(replica: Replica, version: str) -> bool:
    return eventually(lambda: replica.recommend(1)["bundle_version"] == version, SOON_S)


@pytest.mark.slow
def test_a_new_bundle_is_taken_under_load_without_a_failed_request(world: World, pair: list[Replica]) -> None:
    assert all(serves(replica, world.older) for replica in pair)
    over = threading.Event()
    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(load, replica, 37 * worker, over) for replica in pair for worker in range(4)]
        try:
            promoted = amity(world.settings, "bundles", "promote", world.newer)
            assert promoted.returncode == 0, promoted.stderr
            assert all(serves(replica, world.newer) for replica in pair)
        finally:
            over.set()
    answers = [answer for done in running for answer in done.result()]
    assert {status for status, _ in answers} == {200}
    assert {body["bundle_version"] for _, body in answers} == {world.older, world.newer}
    assert [body["degraded"] for _, body in answers if body["degraded"]] == []
    run_now(point_at(world.database_url, world.older))


@pytest.mark.slow
def test_a_damaged_live_bundle_is_left_alone_and_the_last_good_one_serves(
    world: World, pair: list[Replica], start: Start
) -> None:
    assert all(serves(replica, world.older) for replica in pair)
    refusals = [replica.metric(REFUSED) for replica in pair]
    damaged = world.artifacts / world.newer / "vectors.mutual.high.npy"
    whole = damaged.read_bytes()
    flip_a_byte(damaged)
    try:
        refused = amity(world.settings, "bundles", "promote", world.newer)
        assert (refused.returncode, "vectors.mutual.high.npy" in refused.stderr) == (1, True)
        run_now(point_at(world.database_url, world.newer))
        for replica, before in zip(pair, refusals, strict=True):
            assert eventually(lambda replica=replica, before=before: replica.metric(REFUSED) > before, SOON_S)  # type: ignore[misc]
        found = amity(world.settings, "doctor")
        assert (found.returncode, "vectors.mutual.high.npy" in found.stdout) == (1, True)
        for replica in (*pair, start(world.settings)):
            answer = replica.recommend(2, use_cache=False)
            assert (answer["bundle_version"], answer["algorithm_version"]) == (world.older, "v1")
            assert (answer["total_count"], answer["degraded"]) == (20, [])
    finally:
        damaged.write_bytes(whole)
        run_now(point_at(world.database_url, world.older))


def test_a_replica_without_any_bundle_serves_by_the_heuristic(world: World, start: Start, tmp_path: Path) -> None:
    alone = start(world.changed(ARTIFACTS=str(tmp_path / "empty")))
    answer = alone.recommend(3)
    assert (answer["algorithm_version"], answer["bundle_version"], answer["total_count"]) == ("heuristic", None, 20)
    assert answer["degraded"] == [{"stage": "ranking", "reason": "missing_bundle", "fallback": "heuristic"}]
    passed = shown(answer)[0]
    alone.act((3, passed, "pass"))
    assert passed not in shown(alone.recommend(3))
