"""What commits in another order than it was written in ends on replicas as it does in the database."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from service.domain import FeedPosition, Kind
from service.repositories import bulk
from service.repositories.bulk import Mark, Steps
from service.repositories.bulk_sql import PERSON_COLUMNS
from service.repositories.columns import CODES
from service.repositories.database import Database
from service.repositories.locks import WRITERS
from service.repositories.migrate import upgrade
from tests.integration.population_world import World, caught_up, knows, soon
from tests.integration.repo_builders import did, person
from tests.servers import PrivatePostgres


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
    await soon(lambda: caught_up(feed, lambda: (known := holder.current.profile(1)) is not None and known.incarnation == 2))
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
    await soon(lambda: caught_up(feed, lambda: (known := holder.current.profile(1)) is not None and known.name == "new"))
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
        await soon(lambda: caught_up(feed, lambda: holder.current.relations(1).passed == {2}))
    later_holder, later_feed = await world.replica()
    await between.execute("commit" if held else "select")
    await world.users.put(person(3))
    for each, its_feed in ((holder, feed), (later_holder, later_feed)):
        await soon(partial(caught_up, its_feed, partial(knows, each, 3)))
        await world.assert_mirrors(each.current)
    await world.database.close()
    await asyncio.gather(*(connection.close() for connection in (first, between, second)))
