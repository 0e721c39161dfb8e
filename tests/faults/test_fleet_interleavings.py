"""Three replicas, and many who write and read through all of them at once: no answer is older than the interface allows.

`AMITY_TRIALS` sets how many trials the tests here make together, 1,000 unless set; `AMITY_SEED` draws others.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.embedded import eventually
from tests.faults import fleet_storms as storms
from tests.faults.conftest import World
from tests.faults.fleet_crowd import Crowd
from tests.faults.fleet_model import FEED_S
from tests.faults.fleet_storms import Storm
from tests.faults.rules import Rules
from tests.proxy import Proxy
from tests.replicas import Replica, replicas, shown
from tests.servers import PrivateValkey

_LOG = logging.getLogger(__name__)

N_TRIALS = int(os.environ.get("AMITY_TRIALS", "1000"))
SEED = int(os.environ.get("AMITY_SEED", "1"))
TIMEOUT_S = 120 + N_TRIALS // 5
SETTLED_S = 60.0
HASTY = {"AMITY_REDIS_TIMEOUT_MS": "1000", "AMITY_FEED_POLL_MS": "500"}
"""The feed at half of its bound, so that a fleet whose news never came would not pass by the feed's quickness."""

STORMS: dict[str, Callable[[Crowd, PrivateValkey], Storm]] = {
    "killed and restarted": lambda crowd, valkey: storms.killed(crowd.weather, valkey),
    "frozen and thawed": lambda crowd, valkey: storms.frozen(crowd.weather, valkey),
    "flushed": lambda _, valkey: storms.flushed(valkey),
}


@pytest.fixture(scope="module")
def valkey(world: World) -> Iterator[PrivateValkey]:
    with PrivateValkey() as own:
        yield own


@pytest.fixture(scope="module")
def fleet(world: World, valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    settings = world.changed(REDIS_URL=valkey.url) | HASTY
    with replicas(settings, tmp_path_factory.mktemp("fleet"), 3) as three:
        yield three
        for replica in three:
            replica.assert_unharmed()


async def crowd_of(world: World, fleet: list[Replica]) -> Crowd:
    await asyncio.sleep(2 * FEED_S)  # until every replica has heard of what was written before
    return Crowd([replica.address for replica in fleet], await Rules.of(world.database_url), SEED)


def assert_settles(crowd: Crowd, fleet: list[Replica]) -> None:
    """In the end every replica shows everyone who may be shown: nobody is lost for good to a stale memory, state or pool."""
    rules = crowd.model.rules
    for viewer in crowd.viewers:
        allowed = rules.allowed(viewer)
        for index, replica in enumerate(fleet):

            def answer(replica: Replica = replica, viewer: int = viewer) -> set[int]:
                return set(shown(replica.recommend(viewer, limit=100)))

            def settled(answer: Callable[[], set[int]] = answer, allowed: set[int] = allowed) -> bool:
                return (ids := answer()) <= allowed and len(ids) == min(100, len(allowed))

            assert eventually(settled, SETTLED_S), (viewer, index, "lost", allowed - answer(), "wrong", answer() - allowed)
    _LOG.info("%s", dict(crowd.judged))
    assert crowd.judged["admittedly short"] <= 1 + crowd.judged["short"] / 10, crowd.judged


@pytest.mark.timeout(TIMEOUT_S)
async def test_no_answer_breaks_a_bound(world: World, fleet: list[Replica]) -> None:
    crowd = await crowd_of(world, fleet)
    await crowd.run(N_TRIALS // 3)
    assert_settles(crowd, fleet)
    assert crowd.judged["from a pool"] > crowd.judged["computed"] / 10


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("storm", STORMS)
async def test_no_answer_breaks_a_bound_while_redis_is(
    world: World, fleet: list[Replica], valkey: PrivateValkey, storm: str
) -> None:
    crowd = await crowd_of(world, fleet)
    async with storms.beside(STORMS[storm](crowd, valkey)):
        await crowd.run(N_TRIALS // 10)
    assert_settles(crowd, fleet)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
async def test_no_answer_breaks_a_bound_while_one_replica_is_cut_off_redis(
    world: World, fleet: list[Replica], valkey: PrivateValkey, tmp_path: Path
) -> None:
    async with Proxy(valkey.socket) as proxy:
        settings = world.changed(REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") | HASTY
        with Replica(settings, tmp_path / "replica.log") as cut:
            three = [*fleet[:2], cut]
            crowd = await crowd_of(world, three)
            async with storms.beside(storms.cut_off(crowd.weather, proxy, 2)):
                await crowd.run(N_TRIALS // 10)
            assert_settles(crowd, three)
            cut.assert_unharmed()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
async def test_no_answer_breaks_a_bound_without_redis(world: World, fleet: list[Replica], valkey: PrivateValkey) -> None:
    crowd = await crowd_of(world, fleet)
    crowd.weather.worsen(range(3), clean=True)
    valkey.kill()
    try:
        await crowd.run(N_TRIALS // 3)
        assert_settles(crowd, fleet)
    finally:
        valkey.start()
