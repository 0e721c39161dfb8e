"""A replica that the feed no longer reaches, or whose database is away, misses nothing in the end."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from service.domain import Kind
from service.population import loader
from service.population.build import StandingPairs
from service.population.relations import RelationMemory
from service.repositories.database import Database
from service.repositories.migrate import upgrade
from tests.integration.population_world import World, running, soon
from tests.integration.repo_builders import did, person, pruned
from tests.proxy import Proxy
from tests.servers import PrivatePostgres


async def test_gap_is_closed_by_reading_the_database_whole_and_keeps_the_vectors(world: World) -> None:
    await world.users.put_many([person(one, bio=f"w{one}") for one in (1, 2, 3)])
    await world.publish("b1")
    holder, feed = await world.replica()
    assert holder.current.tastes is not None
    before = holder.current.tastes.spaces["mutual"].gather(np.array([0]))[0]
    await world.users.erase(2)
    await world.users.put(person(7))
    async with world.database.sessions() as session:
        await session.execute(text("update changes set recorded_at = now() - interval '30 days'"))
        await session.commit()
    await soon(lambda: _pruned(world))
    await feed.close_gap()
    people = holder.current
    assert (people.bundle_version, holder.companion) == ("b1", "rankers of the start")
    await world.assert_mirrors(people)
    row = people.row(1)
    assert people.tastes is not None
    assert row is not None
    np.testing.assert_array_equal(people.tastes.spaces["mutual"].gather(np.array([row]))[0], before)
    assert not await world.changes.has_gap(people.position)


async def test_gap_is_compared_in_threads_and_leaves_the_loop_to_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.users.put_many([person(one) for one in (1, 2, 3)])
    await world.interactions.record([did(1, Kind.LIKE, 2)])
    holder, _ = await world.replica()
    await world.users.erase(3)
    at: dict[str, threading.Thread] = {}

    def traced(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            at[name] = threading.current_thread()
            return work(*args)

        return call

    for name in ("ranks", "counts_by_row"):
        monkeypatch.setattr(loader, name, traced(name, getattr(loader, name)))
    monkeypatch.setattr(RelationMemory, "counts", traced("counts", RelationMemory.counts))
    monkeypatch.setattr(StandingPairs, "of_table", traced("of_table", StandingPairs.of_table))
    monkeypatch.setattr(holder.current, "ids", traced("ids", holder.current.ids))
    await loader.reconcile(world.origin, holder.current)
    assert at.keys() == {"ranks", "counts", "counts_by_row", "of_table"}
    assert threading.current_thread() not in at.values()
    monkeypatch.undo()
    await world.assert_mirrors(holder.current)


async def _pruned(world: World) -> bool:
    await pruned(world.database, 14)
    return await world.changes.has_gap(msgspec.structs.replace(await world.changes.horizon(), xid=1))


async def test_feed_outlives_the_database_being_away_and_forgets_no_block(
    private_postgres: PrivatePostgres, tmp_path: Path
) -> None:
    await upgrade(private_postgres.url)
    async with Proxy(private_postgres.socket) as proxy:
        direct = World(Database(private_postgres.url), tmp_path)
        through = World(Database(f"postgresql://amity@127.0.0.1:{proxy.port}/amity", timeout_s=1.0), tmp_path)
        await direct.users.put_many([person(one) for one in (1, 2, 3)])
        await direct.interactions.record([did(1, Kind.BLOCK, 2)])
        holder, feed = await through.replica()
        async with running(feed.run()) as task:
            await proxy.refuse()
            await direct.interactions.record([did(3, Kind.BLOCK, 1)])
            await asyncio.sleep(0.2)
            assert holder.current.relations(1).blocked == {2}
            assert not task.done()
            await proxy.restore()
            await soon(lambda: holder.current.relations(1).blocked == {2, 3})
        for world in (direct, through):
            await world.database.close()
