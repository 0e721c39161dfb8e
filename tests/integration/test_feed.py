"""Whatever is committed is in a replica's memory soon after, whatever happens to the replica or to the database."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from service.domain import FeedPosition, Kind, Status
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.repositories import bulk
from service.repositories.bulk import Mark, Steps
from service.repositories.bulk_sql import PERSON_COLUMNS
from service.repositories.columns import CODES
from service.repositories.database import Database
from service.repositories.locks import WRITERS
from service.repositories.migrate import upgrade
from tests.integration.population_world import World, eligible_ids, running, soon
from tests.integration.repo_builders import did, person, pruned
from tests.population_people import asking
from tests.proxy import Proxy
from tests.servers import PrivatePostgres


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = Database(database_url)
    yield World(database, tmp_path)
    await database.close()


async def test_new_person_is_eligible_a_moment_after_the_commit(world: World) -> None:
    await world.users.put(person(1))
    holder, feed = await world.replica()
    async with running(feed.run()):
        await world.users.put(person(2))
        feed.nudge()
        await soon(lambda: eligible_ids(holder.current, asking(person(1))) == [2])


async def test_nudge_wakes_a_feed_that_sleeps(world: World) -> None:
    holder, feed = await world.replica(poll_ms=3_600_000)
    async with running(feed.run()):
        await asyncio.sleep(0.05)
        await world.users.put(person(2))
        await soon(lambda: _nudged(feed) and holder.current.row(2) is not None)


def _nudged(feed: ChangeFeed) -> bool:
    feed.nudge()
    return True


async def test_feed_stops_when_it_is_nudged_and_cancelled_at_once(world: World) -> None:
    _, feed = await world.replica(poll_ms=3_600_000)
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(0.2)
    feed.nudge()
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({task})
    assert task.cancelled()


async def overtaken(world: World, writer: Awaitable[object], batch: Awaitable[object]) -> None:
    """Both wait for the lock, the writer first, the batch of an import with its rows already staged."""
    async with world.database.sessions() as held:
        await held.execute(text(f"select pg_advisory_xact_lock({WRITERS})"))
        tasks = []
        for n_waiting, work in enumerate((writer, batch), start=1):
            tasks.append(asyncio.ensure_future(work))
            await soon(partial(_waiting, world, n_waiting))
    await asyncio.gather(*tasks)


async def _waiting(world: World, n: int) -> bool:
    async with world.database.sessions() as session:
        found = await session.scalar(text("select count(*) from pg_locks where not granted and locktype = 'advisory'"))
    return int(found or 0) >= n


async def _n_changes(world: World, n: int) -> bool:
    return len(await world.changes.read(FeedPosition())) == n


NO_STEPS = Steps(staged=lambda: None, settle=lambda outcome: Mark("file", 1, {}))


async def test_person_erased_while_an_import_that_brings_them_is_staged_is_somebody_new(world: World) -> None:
    await world.users.put_many([person(1), person(2)])
    await world.interactions.record([did(1, Kind.LIKE, 2)])
    holder, feed = await world.replica()
    fields = {"id": "1", "name": "new", "bio": "", "interests": "{}", "seeks_genders": "{}"}
    row = ",".join(fields.get(name, "") for name in PERSON_COLUMNS).replace(",,{}", ',"",{}', 1)
    await overtaken(world, world.users.erase(1), bulk.put_people(world.database.sessions, row.encode(), NO_STEPS))
    await soon(lambda: _n_changes(world, 4))
    assert [change.entity for change in (await world.changes.read(FeedPosition()))[-2:]] == ["erasure", "user"]
    await soon(lambda: _caught_up(feed, lambda: (known := holder.current.profile(1)) is not None and known.incarnation == 2))
    await world.assert_mirrors(holder.current)


async def test_block_of_an_import_that_waited_for_an_unblock_stands_on_replicas(world: World) -> None:
    await world.users.put_many([person(1), person(2)])
    await world.interactions.record([did(1, Kind.BLOCK, 2)])
    holder, feed = await world.replica()
    at = did(1, Kind.BLOCK, 2, 2).occurred_at.isoformat()
    row = f'0,0,1,2,2,"",block,{at}\n'.encode()
    lifting = world.interactions.record([did(1, Kind.UNBLOCK, 2, 1)])
    await overtaken(world, lifting, bulk.record_interactions(world.database.sessions, row, 1, NO_STEPS))
    await soon(lambda: _n_changes(world, 4))
    await feed.catch_up()
    said = [change.kinds.tolist() for change in await world.changes.read(FeedPosition()) if change.entity == "interaction"]
    assert said == [[CODES[Kind.BLOCK]], [CODES[Kind.UNBLOCK]], [CODES[Kind.BLOCK]]]
    await world.assert_mirrors(holder.current)


async def test_erasure_that_the_feed_brings_late_leaves_the_newcomer(world: World) -> None:
    await world.users.put_many([person(1), person(2)])
    await world.interactions.record([did(1, Kind.LIKE, 2)])
    holder, feed = await world.replica()
    await world.users.erase(1)
    await world.users.put(person(1, name="new"))
    async with world.database.sessions() as session:
        await session.execute(text("insert into changes (entity, ids) values ('erasure', '{1}'), ('bundle', '{}')"))
        await session.commit()
    await soon(lambda: _caught_up(feed, lambda: (known := holder.current.profile(1)) is not None and known.name == "new"))
    await world.assert_mirrors(holder.current)


OPINE = (
    "insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at) values (1, 2, 1, '', $1, now()) "
    "on conflict (actor_id, target_id, family, event_key) do update set kind = excluded.kind"
)


@pytest.mark.parametrize("held", [False, True], ids=["read together", "read one after the other"])
async def test_row_written_last_by_the_transaction_that_began_first_ends_as_that_left_it(
    private_postgres: PrivatePostgres, tmp_path: Path, held: bool
) -> None:
    """On a server of its own: a transaction that is held open holds up the feeds of all databases."""
    await upgrade(private_postgres.url)
    world = World(Database(private_postgres.url), tmp_path)
    await world.users.put_many([person(1), person(2)])
    holder, feed = await world.replica()
    first, between, second = [await asyncpg.connect(private_postgres.url) for _ in range(3)]
    for connection in (first, between, second) if held else (first, second):
        await connection.execute("begin")
        await connection.fetchval("select pg_current_xact_id()")
    await second.execute(OPINE, "like")
    await second.execute("commit")
    await first.execute(OPINE, "pass")
    await first.execute("commit")
    if held:
        await soon(lambda: _caught_up(feed, lambda: holder.current.relations(1).passed == {2}))
    later_holder, later_feed = await world.replica()
    await between.execute("commit" if held else "select")
    await world.users.put(person(3))
    for each, its_feed in ((holder, feed), (later_holder, later_feed)):
        await soon(partial(_caught_up, its_feed, partial(_knows, each, 3)))
        await world.assert_mirrors(each.current)
    await world.database.close()
    await asyncio.gather(*(connection.close() for connection in (first, between, second)))


async def test_edit_pause_and_erasure_are_followed(world: World) -> None:
    await world.users.put_many([person(one) for one in (1, 2, 3, 4)])
    holder, feed = await world.replica()
    await world.users.patch(2, {"bio": "new words"})
    await world.users.patch(3, {"status": Status.PAUSED})
    await world.users.erase(4)
    await soon(lambda: _caught_up(feed, lambda: holder.current.row(4) is None))
    await world.assert_mirrors(holder.current)
    assert eligible_ids(holder.current, asking(person(1))) == [2]


async def _caught_up(feed: ChangeFeed, condition: Callable[[], bool]) -> bool:
    """Other tests' transactions, in the same server, may hold the feed back for a moment."""
    await feed.catch_up()
    return condition()


async def test_somebody_new_under_an_erased_id_is_somebody_new(world: World) -> None:
    await world.users.put_many([person(1), person(2)])
    await world.interactions.record([did(1, Kind.BLOCK, 2)])
    await world.publish("b1")
    holder, feed = await world.replica()
    await world.users.erase(2)
    await world.users.put(person(2, name="another"))
    await soon(lambda: _caught_up(feed, lambda: holder.current.relations(1).blocked == frozenset()))
    await soon(lambda: _caught_up(feed, lambda: holder.current.row(2) is not None))
    await world.assert_mirrors(holder.current)


async def test_random_history_is_mirrored_on_a_bundle_and_on_the_bare_database(world: World) -> None:
    draw = random.Random(5)
    await world.users.put_many([person(one) for one in range(1, 9)])
    bare, bare_feed = await world.replica()
    await act(world, draw, 60)
    await world.publish("b1")
    held, held_feed = await world.replica()
    assert held.current.bundle_version == "b1"
    await act(world, draw, 60)
    await world.users.put(person(99))
    for holder, feed in ((bare, bare_feed), (held, held_feed)):
        await soon(partial(_caught_up, feed, partial(_knows, holder, 99)))
        await world.assert_mirrors(holder.current)


def _knows(holder: PopulationHolder[str], person_id: int) -> bool:
    return holder.current.row(person_id) is not None


async def act(world: World, draw: random.Random, n_steps: int) -> None:
    for step in range(n_steps):
        one, other = draw.sample(range(1, 9), 2)
        match draw.randrange(8):
            case 0:
                await world.users.erase(one)
            case 1 | 2:
                await world.users.put(person(one, bio=f"step {step}"))
            case _:
                if await world.users.exists([one, other]) == {one, other}:
                    kind = draw.choice([kind for kind in Kind if kind != Kind.UNMATCH])
                    await world.interactions.record([did(one, kind, other, minute=step)])


async def test_changes_applied_twice_change_nothing(world: World) -> None:
    await world.users.put_many([person(one) for one in (1, 2, 3)])
    holder, feed = await world.replica()
    start = holder.current.position
    for minute, kind in enumerate((Kind.MESSAGE, Kind.LIKE, Kind.UNLIKE, Kind.PASS, Kind.BLOCK)):
        await world.interactions.record([did(1, kind, 2, minute)])
    await world.users.patch(3, {"age": 44})
    await soon(lambda: _caught_up(feed, lambda: holder.current.profile(3) == person(3, age=44)))
    holder.current.position = start
    assert await feed.catch_up() >= 6
    await world.assert_mirrors(holder.current)


async def test_large_statements_are_applied_in_pieces_that_let_others_run(world: World) -> None:
    await world.users.put_many([person(one) for one in range(1, 2001)])
    await world.users.put_many([person(one) for one in range(2001, 4001)])
    holder, feed = await world.replica()
    await world.users.put_many([person(one, bio="new") for one in range(1, 4001)])
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running(count_turns()):
        await soon(lambda: _caught_up(feed, lambda: holder.current.profile(4000) == person(4000, bio="new")))
    assert turns > 4000 / 25
    await world.assert_mirrors(holder.current)


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


async def _pruned(world: World) -> bool:
    await pruned(world.database, 14)
    return await world.changes.has_gap(msgspec.structs.replace(await world.changes.horizon(), xid=1))


async def test_listeners_hear_of_bundles_and_experiments(world: World) -> None:
    heard: list[str] = []
    listeners = {"bundle": lambda: heard.append("bundle"), "experiment": lambda: heard.append("experiment")}
    _, feed = await world.replica(listeners=listeners)
    await world.publish("b1")
    async with world.database.sessions() as session:
        await session.execute(text("insert into experiments (name, definition) values ('e', '{}')"))
        await session.commit()
    await soon(lambda: _caught_up(feed, lambda: "experiment" in heard))
    assert heard == ["bundle", "experiment"]


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
