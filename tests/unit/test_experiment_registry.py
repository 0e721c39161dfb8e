"""A replica's knowledge of what runs: up to date, and as last known while the database is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from service.domain import ExperimentArm
from service.domain_experiments import Arm, ClusterMap, Experiment
from service.errors import DatabaseUnavailable
from service.experiments import registry as module
from service.experiments.registry import Registry
from service.experiments.routing import Router
from service.repositories.clusters import PackedClusters, pack
from service.threads import ThreadDoor
from tests.fakes import NOW

ARMS = tuple(Arm(name=name, algorithm_version="v1") for name in ("control", "treatment"))
CLUSTERS = ClusterMap(np.array([1, 2, 5], np.int64), np.array([0, 0, 1], np.int32))


class Store:
    """What the database has; `down` makes it refuse."""

    def __init__(self, *running: Experiment) -> None:
        self.held: Sequence[Experiment] = running
        self.down = False
        self.reads: list[str] = []
        self.erased: list[tuple[int, datetime]] = []

    async def running(self) -> Sequence[Experiment]:
        self.reads.append("running")
        if self.down:
            raise DatabaseUnavailable
        return self.held

    async def packed_clusters(self, name: str, /) -> PackedClusters | None:
        self.reads.append(name)
        if name == "late":
            raise DatabaseUnavailable
        return pack(CLUSTERS) if name != "lost" else None

    async def erased_since(self, since: datetime, /) -> Sequence[tuple[int, datetime]]:
        return [(who, at) for who, at in self.erased if at >= since]


def trial(name: str = "trial", by_cluster: bool = False) -> Experiment:
    return Experiment(
        name=name,
        salt="s",
        traffic=1.0,
        unit="cluster" if by_cluster else "viewer",
        arms=ARMS,
        buckets=((0, 10_000),),
        status="running",
        started_at=NOW,
        created_at=NOW,
    )


@pytest.fixture
async def door() -> AsyncIterator[ThreadDoor]:
    opened = ThreadDoor(1)
    yield opened
    opened.close()


def names(router: Router, *viewers: int) -> list[str | None]:
    arms: list[ExperimentArm | None] = [router.of_viewer(viewer).arm for viewer in viewers]
    return [None if arm is None else arm.name for arm in arms]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never came true")


async def test_it_routes_as_the_database_says_once_loaded(door: ThreadDoor) -> None:
    store = Store(trial())
    registry = Registry(store, door, "v1")
    assert names(registry.router, 1) == [None]
    await registry.load()
    assert (names(registry.router, 1), registry.running) == (["trial"], (trial(),))


async def test_what_has_not_changed_is_not_made_anew(door: ThreadDoor) -> None:
    store = Store(trial(by_cluster=True))
    registry = Registry(store, door, "v1")
    await registry.load()
    router = registry.router
    await registry.load()
    assert registry.router is router
    store.held = (trial(by_cluster=True), trial("other"))
    await registry.load()
    assert store.reads.count("trial") == 1, "a map of clusters is fixed from the start on"


async def test_who_is_in_no_cluster_and_an_experiment_without_its_map_are_left_out(door: ThreadDoor) -> None:
    registry = Registry(Store(trial(by_cluster=True), trial("lost", by_cluster=True)), door, "v1")
    await registry.load()
    assert names(registry.router, 1, 2, 5, 3) == ["trial", "trial", "trial", None]


async def test_an_id_used_again_after_an_erasure_is_in_no_cluster(door: ThreadDoor) -> None:
    store = Store(trial(by_cluster=True))
    store.erased = [(1, NOW - timedelta(days=1)), (2, NOW - timedelta(minutes=5))]
    registry = Registry(store, door, "v1")
    await registry.load()
    assert names(registry.router, 1, 2, 5) == ["trial", None, "trial"], "who was erased long before is in it anew"
    store.erased.append((5, NOW + timedelta(days=3)))
    await registry.load()
    assert names(registry.router, 1, 2, 5) == ["trial", None, None]
    store.erased[0] = (1, NOW + timedelta(days=3))
    await registry.load()
    assert names(registry.router, 1) == [None], "the same id, once more"


async def test_without_news_of_erasures_nothing_is_made_anew(door: ThreadDoor) -> None:
    store = Store(trial(by_cluster=True))
    store.erased = [(1, NOW)]
    registry = Registry(store, door, "v1")
    await registry.load()
    router = registry.router
    await registry.load()
    assert registry.router is router


async def test_a_map_that_does_not_come_keeps_no_other_experiment_from_stopping(door: ThreadDoor) -> None:
    store = Store(trial())
    registry = Registry(store, door, "v1")
    await registry.load()
    store.held = (trial("late", by_cluster=True),)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await registry.load()
    assert names(registry.router, 1) == [None]
    assert store.reads.count("late") == 2, "it is asked for until it comes"


async def test_while_the_database_is_away_it_routes_as_last_known(door: ThreadDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    store = Store(trial())
    registry = Registry(store, door, "v1")
    await registry.load()
    store.down, reads = True, len(store.reads)
    keeping = asyncio.create_task(registry.run())
    await until(lambda: len(store.reads) >= reads + 3)
    assert names(registry.router, 1) == ["trial"]
    store.held, store.down = (), False
    await until(lambda: not registry.running)
    assert names(registry.router, 1) == [None]
    keeping.cancel()


async def test_a_nudge_makes_it_look_at_once(door: ThreadDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 3600.0)
    registry = Registry(Store(trial()), door, "v1")
    keeping = asyncio.create_task(registry.run())
    await asyncio.sleep(0)
    registry.nudge()
    await until(lambda: bool(registry.running))
    keeping.cancel()
