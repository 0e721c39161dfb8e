"""A replica serves the live bundle, the last good one when that is damaged, the database when there is none."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from service.artifacts.bundle import Bundle
from service.artifacts.store import Store
from service.domain import Kind
from service.errors import PluginBroken
from service.metrics import BUNDLE_CREATED
from service.population.loader import load
from service.population.watcher import BundleWatcher, tell_bundle
from service.repositories.database import Database
from tests.integration.population_world import World, eligible_ids, prepare, running, soon
from tests.integration.repo_builders import NOON, did, person, pruned
from tests.population_people import asking


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = Database(database_url)
    made = World(database, tmp_path)
    await made.users.put_many([person(one, bio=f"w{one}") for one in (1, 2, 3)])
    await made.interactions.record([did(1, Kind.LIKE, 2), did(3, Kind.BLOCK, 1)])
    yield made
    await database.close()


async def test_nothing_published_is_served_from_the_database_without_vectors(world: World) -> None:
    loaded = await load(world.origin)
    assert (loaded.bundle, loaded.population.bundle_version, loaded.population.tastes) == (None, None, None)
    await world.assert_mirrors(loaded.population)


async def test_live_bundle_is_loaded_with_vectors(world: World) -> None:
    await world.publish("b1")
    holder, _ = await world.replica()
    assert holder.current.bundle_version == "b1"
    assert holder.current.eligible(asking(person(2))).viewer_vector("mutual") is not None
    await world.assert_mirrors(holder.current)


async def test_who_joined_or_left_after_the_bundle_is_known_before_the_replica_is_ready(world: World) -> None:
    await world.publish("b1")
    await world.users.put(person(4, bio="late"))
    await world.users.erase(2)
    await world.interactions.record([did(4, Kind.LIKE, 1)])
    loaded = await load(world.origin)
    assert loaded.population.row(4) is None
    holder, feed = await world.replica()

    async def arrived() -> bool:
        await feed.catch_up()
        return holder.current.relations(1).liked_by == {4}

    await soon(arrived)
    await world.assert_mirrors(holder.current)
    assert 4 in holder.current.eligible(asking(person(1))).search("mutual", np.ones(8, np.float32), 9).ids


@pytest.mark.parametrize("harm", ["damaged", "missing"])
async def test_last_good_bundle_serves_when_the_live_one_cannot(world: World, harm: str) -> None:
    for version in ("b1", "b2", "b3"):
        await world.publish(version)
    if harm == "damaged":
        world.damage("b3")
    else:
        world.store.delete("b3")
    assert (await load(world.origin)).population.bundle_version == "b2"


async def test_bundle_that_was_rolled_back_from_does_not_return_by_itself(world: World) -> None:
    await world.publish("b1")
    await world.publish("b2")
    await world.bundles.rollback("b2", "b1")
    world.damage("b1")
    assert (await load(world.origin)).population.bundle_version is None


async def test_bundle_older_than_the_feed_serves_the_people_of_the_database(world: World) -> None:
    await world.publish("b1")
    await world.users.erase(2)
    await world.users.put(person(2, name="somebody new"))
    await world.users.put(person(5))
    async with world.database.sessions() as session:
        await session.execute(text("update changes set recorded_at = now() - interval '30 days'"))
        await session.commit()
    await pruned(world.database, 14)
    loaded = await load(world.origin)
    assert loaded.population.bundle_version == "b1"
    await world.assert_mirrors(loaded.population)
    view = loaded.population.eligible(asking(person(1)))
    assert sorted(view.search("content", np.ones(8, np.float32), 9).ids.tolist()) == [2, 3, 5]


async def test_new_bundle_takes_over_while_old_views_go_on(world: World) -> None:
    await world.publish("b1")
    holder, feed = await world.replica()
    before, view = holder.pair, holder.current.eligible(asking(person(2)))
    watcher = BundleWatcher(world.origin, holder, feed, prepare, poll_ms=10)
    async with running(watcher.run()):
        await world.publish("b2")
        watcher.nudge()
        await soon(lambda: holder.current.bundle_version == "b2")
    assert holder.companion == "rankers of b2"
    assert before[0].bundle_version == "b1"
    assert len(view.search("mutual", np.ones(8, np.float32), 9).ids) == 2
    await world.assert_mirrors(holder.current)


async def test_metrics_tell_which_bundle_serves_and_when_it_was_made(world: World) -> None:
    await world.publish("b1")
    holder, feed = await world.replica()
    await world.publish("b2")
    watcher = BundleWatcher(world.origin, holder, feed, prepare, poll_ms=10)
    assert await watcher.look()
    assert [(sample.labels, sample.value) for metric in BUNDLE_CREATED.collect() for sample in metric.samples] == [
        ({"bundle_version": "b2"}, NOON.timestamp())
    ]
    tell_bundle(None)
    assert [metric.samples for metric in BUNDLE_CREATED.collect()] == [[]]


async def test_copies_of_the_live_bundle_and_the_one_before_it_are_kept(world: World, tmp_path: Path) -> None:
    world.store = Store(f"memory://{tmp_path.name}", tmp_path / "cache")
    world.origin = replace(world.origin, store=world.store)
    await world.publish("b1")
    holder, feed = await world.replica()
    watcher = BundleWatcher(world.origin, holder, feed, prepare, poll_ms=10)
    for version in ("b2", "b3"):
        await world.publish(version)
        assert await watcher.look()
    assert sorted(path.name for path in world.store.folder.iterdir()) == ["b2", "b3"]


async def test_rollback_brings_the_earlier_bundle_back_and_nobody_who_was_erased(world: World) -> None:
    await world.publish("b1")
    await world.users.erase(3)
    await world.publish("b2")
    holder, feed = await world.replica()
    await world.bundles.rollback("b2", "b1")
    watcher = BundleWatcher(world.origin, holder, feed, prepare, poll_ms=10)
    assert await watcher.look()
    assert holder.current.bundle_version == "b1"
    assert eligible_ids(holder.current, asking(person(1))) == [2]


async def test_bundle_that_cannot_be_loaded_leaves_the_present_one_and_is_tried_once(world: World) -> None:
    await world.publish("b1")
    holder, feed = await world.replica()
    watcher = BundleWatcher(world.origin, holder, feed, prepare, poll_ms=10)
    await world.publish("b2")
    intact = (world.store.folder / "b2" / "vectors.mutual.high.npy").read_bytes()
    world.damage("b2")
    assert not await watcher.look()
    (world.store.folder / "b2" / "vectors.mutual.high.npy").write_bytes(intact)
    assert not await watcher.look(), "tried again before the minute was over"
    await world.publish("b3")
    assert await watcher.look()
    assert holder.current.bundle_version == "b3"


async def test_refused_bundle_is_tried_again_a_minute_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, feed = await world.replica()
    tries: list[str] = []

    async def fails_once(bundle: Bundle) -> str:
        tries.append(bundle.version)
        if len(tries) == 1:
            raise PluginBroken("no")
        return "rankers"

    watcher = BundleWatcher(world.origin, holder, feed, fails_once, poll_ms=10)
    await world.publish("b1")
    assert not await watcher.look()
    monkeypatch.setattr("service.population.watcher._RETRY_S", 0.0)
    assert await watcher.look()
    assert (holder.companion, tries) == ("rankers", ["b1", "b1"])
