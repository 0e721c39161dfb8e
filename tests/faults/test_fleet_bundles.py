"""A new bundle goes live while three replicas are asked without a pause: nobody notices but for the version."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.fleet_wire import Reply, Wire
from tests.replicas import Replica, amity, replicas

COMPUTED = 'amity_stage_seconds_count{outcome="ok",stage="ranking"'
VIEWERS = range(1, 201)
N_ASKING = 2
"""Of each replica at a time."""
SLICE = 100
LEAST_CACHED = 0.5
"""Of each hundred answers in a row: at any moment more come from pools than not."""
SOON_S = 60.0


@pytest.fixture(scope="module")
def fleet(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    with replicas(world.settings, tmp_path_factory.mktemp("fleet"), 3) as three:
        yield three
        for replica in three:
            replica.assert_unharmed()


async def ask_on(wire: Wire, turns: Iterator[int], over: asyncio.Event) -> list[Reply]:
    replies = []
    while not over.is_set():
        replies.append(await wire.recommend(VIEWERS[next(turns) % len(VIEWERS)]))
    return replies


@pytest.mark.slow
async def test_a_new_bundle_under_load_costs_no_answer_its_pool(world: World, fleet: list[Replica]) -> None:
    for viewer in VIEWERS:
        fleet[viewer % 3].recommend(viewer)
    assert all(fleet[viewer % 2].recommend(viewer)["cached"] for viewer in VIEWERS)
    over, turns = asyncio.Event(), itertools.count()
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire(replica.address)) for replica in fleet]
        before = sum([await wire.metric(COMPUTED) for wire in wires])
        asking = [asyncio.create_task(ask_on(wire, turns, over)) for wire in wires for _ in range(N_ASKING)]
        promoted = await asyncio.to_thread(amity, world.settings, "bundles", "promote", world.newer)
        assert promoted.returncode == 0, promoted.stderr
        assert await asyncio.to_thread(
            eventually, lambda: all(replica.ready()["bundle_version"] == world.newer for replica in fleet), SOON_S
        )
        assert await asyncio.to_thread(eventually, lambda: renewed(fleet[0], world.newer), SOON_S)
        over.set()
        replies = sorted(itertools.chain(*await asyncio.gather(*asking)), key=lambda reply: reply.ended_s)
        after = sum([await wire.metric(COMPUTED) for wire in wires])
    assert {reply.status for reply in replies} == {200}
    assert [reply.body["degraded"] for reply in replies if reply.body["degraded"]] == []
    assert {reply.body["bundle_version"] for reply in replies} == {world.older, world.newer}
    cached = [reply.body["cached"] for reply in replies]
    shares = [sum(part) / SLICE for start in range(0, len(cached) - SLICE, SLICE) if (part := cached[start : start + SLICE])]
    assert min(shares) >= LEAST_CACHED, shares
    assert after - before <= len(fleet) * len(VIEWERS)


def renewed(replica: Replica, version: str) -> bool:
    """Whether the last of the old pools has been renewed."""
    answers = [replica.recommend(viewer) for viewer in VIEWERS[::20]]
    return all(answer["bundle_version"] == version and answer["cached"] for answer in answers)
