"""The feed brings every committed change once, in an order in which nothing appears behind the reader."""

import asyncio
import random

import asyncpg
import pytest
from sqlalchemy import text

from service.domain import Change, FeedPosition, Kind
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes, is_all
from service.repositories.columns import CODES, KINDS
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from tests.integration.repo_builders import NOON, did, person, pruned, settle

START = FeedPosition()
PUT = "insert into users (id, name) values ($1, 'x')"


@pytest.fixture
def changes(database: Database) -> Changes:
    return Changes(database.sessions)


def briefly(found: list[Change]) -> list[tuple[str, tuple[int, ...]]]:
    return [(change.entity, tuple(change.ids.tolist())) for change in found]


def said(change: Change) -> tuple[Kind, ...]:
    return tuple(KINDS[code] for code in change.kinds.tolist())


async def test_each_statement_is_one_change(database: Database, changes: Changes) -> None:
    users = Users(database.sessions)
    await users.put_many([person(1), person(2), person(3)])
    await users.patch(2, {"age": 30})
    await Interactions(database.sessions).record([did(1, Kind.LIKE, 2), did(3, Kind.BLOCK, 1)])
    await Bundles(database.sessions).register("b", NOON, {})
    await Bundles(database.sessions).publish("b")

    found = await changes.read(START)
    assert briefly(found) == [("user", (1, 2, 3)), ("user", (2,)), ("interaction", (1, 3)), ("bundle", ())]
    assert (found[2].others.tolist(), said(found[2])) == ([2, 1], (Kind.LIKE, Kind.BLOCK))
    assert [(str(each.dtype), len(each)) for each in (found[3].ids, found[3].kinds)] == [("int64", 0), ("int8", 0)]


async def test_a_replaced_opinion_is_a_change_and_what_is_sent_again_is_none(database: Database, changes: Changes) -> None:
    await settle(database, 2)
    for kind, minute in ((Kind.LIKE, 1), (Kind.LIKE, 1), (Kind.LIKE, 0), (Kind.PASS, 2)):
        await Interactions(database.sessions).record([did(1, kind, 2, minute)])

    assert [said(change) for change in await changes.read(START)] == [(), (Kind.LIKE,), (Kind.PASS,)]


async def test_whoever_writes_is_in_the_feed(database_url: str, changes: Changes) -> None:
    writer = await asyncpg.connect(database_url)
    await writer.copy_records_to_table("users", records=[(5, "x"), (6, "y")], columns=["id", "name"])
    await writer.execute("insert into experiments (name, definition) values ('e', '{}')")
    await writer.close()

    assert briefly(await changes.read(START)) == [("user", (5, 6)), ("experiment", ())]


async def test_big_statements_are_cut_into_changes_of_ten_thousand(database_url: str, changes: Changes) -> None:
    writer = await asyncpg.connect(database_url)
    await writer.execute("insert into users (id, name) select id, 'x' from generate_series(1, 25000) id")
    await writer.close()
    found: list[Change] = []
    while part := await changes.read(found[-1].position if found else START):
        found += part

    assert [len(change.ids) for change in found] == [10_000, 10_000, 5_000]
    assert sorted(user_id for change in found for user_id in change.ids) == list(range(1, 25_001))


async def test_a_read_ends_with_the_change_that_fills_its_measure_and_says_whether_there_is_more(
    database_url: str, changes: Changes
) -> None:
    writer = await asyncpg.connect(database_url)
    for first, last in ((1, 300), (301, 600), (601, 601), (602, 602)):
        await writer.execute(f"insert into users (id, name) select id, 'x' from generate_series({first}, {last}) id")
    await writer.close()
    lengths, whole = {}, {}
    for bounds in ((500, 299), (500, 300), (500, 301), (500, 602), (500, 603), (4, 900), (5, 900)):
        found = await changes.read(START, *bounds)
        lengths[bounds], whole[bounds] = len(found), is_all(found, *bounds)

    assert list(lengths.values()) == [1, 1, 2, 4, 4, 4, 4]
    assert [bounds for bounds, is_whole in whole.items() if is_whole] == [(500, 603), (5, 900)]


async def test_every_kind_is_read_and_one_of_a_newer_version_is_unknown(database_url: str, changes: Changes) -> None:
    words = [*(str(kind) for kind in KINDS), "superlike", "lik", "messages", "é"]
    writer = await asyncpg.connect(database_url)
    columns = ["actor_id", "target_id", "family", "event_key", "kind", "occurred_at"]
    rows = [(place, 99, 1, "", word, NOON) for place, word in enumerate(words, start=1)]
    await writer.copy_records_to_table("interactions", records=rows, columns=columns)
    await writer.close()
    (found,) = await changes.read(START)

    assert found.ids.tolist() == [row[0] for row in rows]
    assert found.kinds.tolist() == [*(CODES[kind] for kind in KINDS), -1, -1, -1, -1]


async def test_reading_goes_on_after_a_position(database: Database, changes: Changes) -> None:
    for user_id in (1, 2, 3):
        await Users(database.sessions).put(person(user_id))
    first = await changes.read(START, limit=2)

    assert briefly(first) == [("user", (1,)), ("user", (2,))]
    assert briefly(await changes.read(first[-1].position)) == [("user", (3,))]


async def test_a_lower_id_that_commits_later_is_not_passed_over(database_url: str, changes: Changes) -> None:
    early, late = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    transaction = early.transaction()
    await transaction.start()
    await early.execute(PUT, 1)
    await late.execute(PUT, 2)
    before = await changes.read(START)
    await transaction.commit()
    after = await changes.read(before[-1].position if before else START)

    assert briefly(before + after) == [("user", (1,)), ("user", (2,))]
    await asyncio.gather(early.close(), late.close())


async def test_a_rolled_back_change_never_appears_and_holds_nothing_up(database_url: str, changes: Changes) -> None:
    undone, done = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    transaction = undone.transaction()
    await transaction.start()
    await undone.execute(PUT, 1)
    await done.execute(PUT, 2)
    await transaction.rollback()

    assert briefly(await changes.read(START)) == [("user", (2,))]
    await asyncio.gather(undone.close(), done.close())


async def test_a_snapshot_taken_after_the_horizon_misses_nothing_of_a_long_transaction(
    database_url: str, database: Database
) -> None:
    changes, users = Changes(database.sessions), Users(database.sessions)
    long = await asyncpg.connect(database_url)
    transaction = long.transaction()
    await transaction.start()
    await long.execute(PUT, 1)
    horizon = await changes.horizon()
    await users.put(person(2))
    snapshot = await users.exists([1, 2])
    await transaction.commit()

    followed = {user_id for change in await changes.read(horizon) for user_id in change.ids}
    assert snapshot == {2}
    assert snapshot | followed == {1, 2}
    await long.close()


async def test_every_change_of_writers_at_once_is_read_once_while_they_write(database_url: str, database: Database) -> None:
    """Eight writers with transactions of different length; the reader's positions never go back, and it misses none."""
    changes = Changes(database.sessions)

    async def write(first_id: int) -> None:
        draw = random.Random(first_id)
        writer = await asyncpg.connect(database_url)
        for user_id in range(first_id, first_id + 40):
            async with writer.transaction():
                await writer.execute(PUT, user_id)
                await asyncio.sleep(draw.random() * 0.01)
        await writer.close()

    writers = asyncio.gather(*(write(first_id) for first_id in range(1, 800, 100)))
    seen: list[Change] = []
    finished = False
    while not finished:
        finished = writers.done()
        seen += await changes.read(seen[-1].position if seen else START, limit=50)
    seen += await changes.read(seen[-1].position)

    assert sorted(int(change.ids[0]) for change in seen) == [first + n for first in range(1, 800, 100) for n in range(40)]
    assert [change.position for change in seen] == sorted(change.position for change in seen)


async def age_all(database: Database, days: int) -> None:
    async with database.sessions() as session:
        await session.execute(text(f"update changes set recorded_at = now() - interval '{days} days'"))
        await session.commit()


async def test_pruning_leaves_a_gap_only_for_readers_behind_it(database: Database, changes: Changes) -> None:
    await Users(database.sessions).put(person(1))
    await Users(database.sessions).put(person(2))
    old = await changes.read(START)
    assert (await changes.oldest(), await changes.has_gap(old[0].position)) == (None, False)
    await age_all(database, days=15)
    await Users(database.sessions).put(person(3))

    assert await pruned(database, 14) == 2
    assert await pruned(database, 14) == 0
    assert await changes.oldest() == old[-1].position
    assert [await changes.has_gap(change.position) for change in old] == [True, False]
    assert briefly(await changes.read(old[-1].position)) == [("user", (3,))]


async def test_a_position_of_the_future_is_a_gap(changes: Changes) -> None:
    horizon = await changes.horizon()

    assert await changes.has_gap(horizon) is False
    assert await changes.has_gap(FeedPosition(horizon.xid + 1000, 1)) is True
