"""A pool that many ask for at once, wherever they ask: it is computed once, and nobody waits long for another's computation."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from service.embedded.lease import Lease
from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.fleet_gate import Gate, install
from tests.faults.fleet_wire import Reply, Wire
from tests.replicas import Replica

COMPUTED = 'amity_stage_seconds_count{outcome="ok",stage="ranking"'
N_AT_ONCE, N_KEYS = 500, 8
PATIENCE_S = 0.05
"""How long a request may wait for another's computation before it starts its own."""
MARGIN_S = 0.4
"""For a busy machine. What this must be told from is a lease that nobody gives back, whose life is a second."""
MAKING = ("mask", "retrieval", "ranking", "store")
"""Stages of a computation."""
LINGERING_S = 0.015
"""Of a ranking, so that all replicas are asked before it has ended."""
SOON_S, WARM_S = 30.0, 1.5

Start = Callable[[dict[str, str]], Replica]

_viewers = itertools.count(1)
"""Each test asks for keys that nobody has asked for."""


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> list[Gate]:
    folder = tmp_path_factory.mktemp("gates")
    return [Gate(folder / str(index)) for index in range(3)]


@pytest.fixture(scope="module")
def settings(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With room for all, a deadline that no gate comes near, and the ranker `gated`."""
    roomy = world.changed(MAX_QUEUED="1000", DEADLINE_MS="60000", RETRIEVAL_SHARE="0.9", RANKING_SHARE="0.9")
    return roomy | install(tmp_path_factory.mktemp("gated") / "site")


@pytest.fixture(scope="module")
def fleet(settings: dict[str, str], gates: list[Gate], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        three = [
            stack.enter_context(Replica(settings | gate.settings, folder / f"replica-{index}.log"))
            for index, gate in enumerate(gates)
        ]
        assert all(replica.url for replica in three)
        yield three
        for replica in three:
            replica.assert_unharmed()


@asynccontextmanager
async def wires_to(fleet: Sequence[Replica]) -> AsyncIterator[list[Wire]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Wire(replica.address)) for replica in fleet]


async def computed(wires: Sequence[Wire]) -> list[int]:
    """Computations so far, by replica."""
    return [int(await wire.metric(COMPUTED)) for wire in wires]


async def all_at_once(wires: Sequence[Wire], viewer: int, **query: Any) -> list[Reply]:
    await asyncio.gather(*(wire.open(N_AT_ONCE // len(wires) + 1) for wire in wires))
    return await asyncio.gather(*(wires[turn % len(wires)].recommend(viewer, **query) for turn in range(N_AT_ONCE)))


def assert_full(replies: Sequence[Reply]) -> None:
    assert {reply.status for reply in replies} == {200}
    assert [reply.body["degraded"] for reply in replies if reply.body["degraded"]] == []
    assert {reply.body["total_count"] for reply in replies} == {20}


@pytest.mark.slow
async def test_five_hundred_misses_of_one_key_on_three_replicas_compute_once(fleet: list[Replica], gates: list[Gate]) -> None:
    counts, took_s = [], []
    async with wires_to(fleet) as wires:
        for _ in range(N_KEYS):
            before = await computed(wires)
            with gates[0].slow(LINGERING_S), gates[1].slow(LINGERING_S), gates[2].slow(LINGERING_S):
                replies = await all_at_once(wires, next(_viewers), algorithm_version="gated")
            counts.append([now - then for now, then in zip(await computed(wires), before, strict=True)])
            took_s.append(sorted(took for reply in replies if (took := computation_s(reply))))
            assert_full(replies)
    assert max(max(count) for count in counts) == 1, counts
    # One that takes longer than others may wait for it is made by them, too; and 500 requests at once leave little of two cores
    # for it. Without leases each replica makes it, for it takes long enough that all have been asked meanwhile.
    assert [sum(count) for count in counts].count(1) >= N_KEYS / 4, (counts, took_s)


def computation_s(reply: Reply) -> float:
    """How long the computation took that this request made, 0 when it made none."""
    stages = dict(part.split(";dur=") for part in reply.headers["server-timing"].split(", "))
    return sum(float(stages.get(name, 0)) for name in MAKING) / 1000 if "ranking" in stages else 0.0


@pytest.mark.slow
async def test_after_flushall_under_load_each_replica_computes_a_key_once_at_most(fleet: list[Replica], servers: Lease) -> None:
    viewers = [next(_viewers) for _ in range(12)]
    async with wires_to(fleet) as wires, redis.asyncio.Redis.from_url(servers.redis_url) as client:
        over = asyncio.Event()
        loads = [asyncio.create_task(load(wire, viewers, over)) for wire in wires for _ in range(3)]
        await asyncio.sleep(WARM_S)
        for _ in range(3):
            before = await computed(wires)
            await client.flushall()
            await asyncio.sleep(WARM_S)
            counts = [now - then for now, then in zip(await computed(wires), before, strict=True)]
            assert max(counts) <= len(viewers), counts
        over.set()
        for done in await asyncio.gather(*loads):
            assert_full(done)


async def load(wire: Wire, viewers: Sequence[int], over: asyncio.Event) -> list[Reply]:
    """Requests without a pause until it is over."""
    replies = []
    while not over.is_set():
        replies.append(await wire.recommend(random.choice(viewers)))
    return replies


async def test_nobody_waits_long_for_a_slow_holder_of_the_lease(fleet: list[Replica], gates: list[Gate]) -> None:
    own_s, beside_s = [], []
    async with wires_to(fleet) as (held, *others):
        for _ in range(5):
            own_s.append(longest_s(await twenty_of(others, next(_viewers))))
            viewer = next(_viewers)
            with gates[0].closed():
                holder = asyncio.create_task(held.recommend(viewer, algorithm_version="gated"))
                await until_entered(gates[0])
                before = await computed(others)
                replies = await twenty_of(others, viewer)
                assert not holder.done()
            counts = [now - then for now, then in zip(await computed(others), before, strict=True)]
            assert max(counts) == 1, counts
            assert_full([*replies, await holder])
            beside_s.append(longest_s(replies))
    assert min(beside_s) <= min(own_s) + PATIENCE_S + MARGIN_S, (own_s, beside_s)


async def test_a_replica_that_dies_while_it_computes_holds_nobody_up(
    fleet: list[Replica], settings: dict[str, str], start: Start, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    doomed = start(settings | gate.settings)
    viewers = [next(_viewers), next(_viewers)]
    async with wires_to([doomed, *fleet]) as (dying, *others):
        own_s = [longest_s(await twenty_of(others, next(_viewers))) for _ in viewers]
        with gate.closed():
            lost = [asyncio.create_task(dying.recommend(viewer, algorithm_version="gated")) for viewer in viewers]
            await until_entered(gate)
            doomed.kill()
            replies = [await twenty_of(others, viewer) for viewer in viewers]
            died = await asyncio.gather(*lost, return_exceptions=True)
        assert all(isinstance(end, (ConnectionError, asyncio.IncompleteReadError)) for end in died), died
        assert_full(list(itertools.chain(*replies)))
        assert min(map(longest_s, replies)) <= min(own_s) + PATIENCE_S + MARGIN_S, own_s


async def twenty_of(wires: Sequence[Wire], viewer: int) -> list[Reply]:
    """Twenty requests for one key at once."""
    return await asyncio.gather(*(wires[turn % len(wires)].recommend(viewer, algorithm_version="gated") for turn in range(20)))


async def until_entered(gate: Gate) -> None:
    assert await asyncio.to_thread(eventually, lambda: gate.entered, SOON_S)


def longest_s(replies: Sequence[Reply]) -> float:
    return max(reply.ended_s - reply.begun_s for reply in replies)
