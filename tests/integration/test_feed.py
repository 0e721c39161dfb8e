"""Whatever is committed is in a replica's memory soon after, whatever happens to the replica or to the database."""

import asyncio
import random
from functools import partial

from sqlalchemy import text

from service.domain import Kind, Status
from service.metrics import FEED_LAG
from service.population.feed import ChangeFeed
from tests.integration.population_world import World, caught_up, eligible_ids, knows, running, soon
from tests.integration.repo_builders import did, person
from tests.population_people import asking


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


async def test_edit_pause_and_erasure_are_followed(world: World) -> None:
    await world.users.put_many([person(one) for one in (1, 2, 3, 4)])
    holder, feed = await world.replica()
    await world.users.patch(2, {"bio": "new words"})
    await world.users.patch(3, {"status": Status.PAUSED})
    await world.users.erase(4)
    await soon(lambda: caught_up(feed, lambda: holder.current.row(4) is None))
    await world.assert_mirrors(holder.current)
    assert eligible_ids(holder.current, asking(person(1))) == [2]


async def test_somebody_new_under_an_erased_id_is_somebody_new(world: World) -> None:
    await world.users.put_many([person(1), person(2)])
    await world.interactions.record([did(1, Kind.BLOCK, 2)])
    await world.publish("b1")
    holder, feed = await world.replica()
    await world.users.erase(2)
    await world.users.put(person(2, name="another"))
    await soon(lambda: caught_up(feed, lambda: holder.current.relations(1).blocked == frozenset()))
    await soon(lambda: caught_up(feed, lambda: holder.current.row(2) is not None))
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
        await soon(partial(caught_up, feed, partial(knows, holder, 99)))
        await world.assert_mirrors(holder.current)


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
    await soon(lambda: caught_up(feed, lambda: holder.current.profile(3) == person(3, age=44)))
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
        await soon(lambda: caught_up(feed, lambda: holder.current.profile(4000) == person(4000, bio="new")))
    assert turns > 4000 / 25
    await world.assert_mirrors(holder.current)


def lag_s() -> float:
    (metric,) = FEED_LAG.collect()
    return metric.samples[0].value


async def test_lag_is_the_age_of_what_a_long_transaction_holds_back(world: World) -> None:
    _, feed = await world.replica()
    async with running(feed.run()):
        await soon(lambda: lag_s() < 60)
    waits = "insert into changes (xid, entity, recorded_at) values (9000000000, 'experiment', now() - interval '1 hour')"
    async with world.database.sessions() as session:
        await session.execute(text(waits))
        await session.commit()
    _, feed = await world.replica()
    async with running(feed.run()):
        await soon(lambda: 3600 <= lag_s() < 3700)


async def test_listeners_hear_of_bundles_and_experiments(world: World) -> None:
    heard: list[str] = []
    listeners = {"bundle": lambda: heard.append("bundle"), "experiment": lambda: heard.append("experiment")}
    _, feed = await world.replica(listeners=listeners)
    await world.publish("b1")
    async with world.database.sessions() as session:
        await session.execute(text("insert into experiments (name, definition) values ('e', '{}')"))
        await session.commit()
    await soon(lambda: caught_up(feed, lambda: "experiment" in heard))
    assert heard == ["bundle", "experiment"]
