"""`refresh` for one, several and all: whatever pools replicas hold, in Redis or in process, are gone at the next request."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.fleet_gate import Gate, install
from tests.faults.fleet_wire import Wire
from tests.replicas import Replica, replicas, shown

SOON_S = 30.0
BODIES = {"one": {"user_ids": [11]}, "several": {"user_ids": [11, 12, 13]}, "all": {"all": True}}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gates") / "gate")


@pytest.fixture(scope="module")
def fleet(world: World, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    settings = world.changed(DEADLINE_MS="60000", RANKING_SHARE="0.9") | install(tmp_path_factory.mktemp("gated") / "site")
    with replicas(settings | gate.settings, tmp_path_factory.mktemp("fleet"), 3) as three:
        yield three
        for replica in three:
            replica.assert_unharmed()


def warm(fleet: Sequence[Replica], viewers: Sequence[int], **query: Any) -> None:
    """Every replica holds the pools of these, in process too where it does that."""
    for viewer in viewers:
        for replica in (*fleet, *fleet):
            replica.recommend(viewer, **query)
        assert all(replica.recommend(viewer, **query)["cached"] for replica in fleet)


def refresh(replica: Replica, body: Any) -> None:
    answer = replica.client.post("/api/v1/recommendations/refresh", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("asked_first", [0, 1, 2])
@pytest.mark.parametrize("whose", BODIES)
def test_refreshed_pools_are_gone_from_every_replica_at_its_next_request(
    fleet: list[Replica], whose: str, asked_first: int
) -> None:
    viewers = (11, 12, 13, 14)
    warm(fleet, viewers)
    refresh(fleet[0], BODIES[whose])
    refreshed = {"one": viewers[:1], "several": viewers[:3], "all": viewers}[whose]
    for viewer in viewers:
        first = fleet[asked_first].recommend(viewer)
        assert first["cached"] is (viewer not in refreshed)
        for replica in fleet:  # which hold the new pool, if any: another one explores others
            answer = replica.recommend(viewer)
            assert (answer["cached"], shown(answer)) == (True, shown(first))


async def test_a_pool_whose_computation_began_before_a_refresh_is_not_shown_after_it(fleet: list[Replica], gate: Gate) -> None:
    viewer, query = 15, {"algorithm_version": "gated"}
    async with Wire(fleet[0].address) as wire:
        with gate.closed():
            early = asyncio.create_task(wire.recommend(viewer, **query))
            assert await asyncio.to_thread(eventually, lambda: gate.entered, SOON_S)
            await asyncio.to_thread(refresh, fleet[1], {"user_ids": [viewer]})
        assert (await early).status == 200
    for replica in (fleet[0], fleet[2]):
        first = replica.recommend(viewer, **query)
        assert (first["cached"], first["degraded"]) == (replica is fleet[2], [])
