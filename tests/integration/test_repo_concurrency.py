"""Writers at once, on connections of their own: none is lost, none sees half, none waits for ever."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from service.domain import Interaction, Kind
from service.errors import BadInput
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.locks import BUCKETS, WRITERS, bucket
from service.repositories.matches import Matches
from service.repositories.users import Users
from tests.integration.repo_builders import did, person, settle


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=8, timeout_s=60.0)
    yield opened
    await opened.close()


async def scalar(database: Database, query: str) -> int:
    async with database.sessions() as session:
        return int(await session.scalar(text(query)) or 0)


async def test_mutual_likes_at_once_make_exactly_one_match(database: Database) -> None:
    await settle(database, 200)
    interactions = Interactions(database.sessions)
    likes = [(one, one + 100) for one in range(1, 101)]
    both = [interactions.record([did(one, Kind.LIKE, other)]) for pair in likes for one, other in (pair, pair[::-1])]
    outcomes = await asyncio.gather(*both)

    assert sorted(match for outcome in outcomes for match in outcome.matches) == likes
    assert await scalar(database, "select count(*) from matches") == 100


async def test_a_like_waits_for_the_other_side_that_is_not_yet_committed(database: Database) -> None:
    """The interleaving that two snapshots would lose: the second begins before the first commits."""
    await settle(database, 2)
    interactions = Interactions(database.sessions)
    async with database.sessions() as held:
        await held.execute(text(f"select pg_advisory_xact_lock({WRITERS})"))
        both = [asyncio.ensure_future(interactions.record([did(a, Kind.LIKE, 3 - a)])) for a in (1, 2)]
        while await scalar(database, "select count(*) from pg_locks where not granted") < 2:  # noqa: ASYNC110 - PostgreSQL is waited for
            await asyncio.sleep(0.005)
    outcomes = await asyncio.gather(*both)

    assert [match for outcome in outcomes for match in outcome.matches] == [(1, 2)]


def crowd(seed: int) -> list[Interaction]:
    """A thousand likes among 60 people, in an order of their own: nearly all pairs are in every batch."""
    draw = random.Random(seed)
    pairs = [draw.sample(range(1, 61), 2) for _ in range(1000)]
    return [did(actor_id, Kind.LIKE, target_id) for actor_id, target_id in pairs]


async def test_batches_of_a_thousand_over_the_same_pairs_do_not_deadlock(database: Database) -> None:
    await settle(database, 60)
    interactions = Interactions(database.sessions)
    outcomes = await asyncio.gather(*(interactions.record(crowd(seed)) for seed in range(8)))
    likes = {(deed.actor_id, deed.target_id) for seed in range(8) for deed in crowd(seed)}
    mutual = sorted((low, high) for low, high in likes if low < high and (high, low) in likes)

    assert sorted(match for outcome in outcomes for match in outcome.matches) == mutual
    assert sum(outcome.recorded for outcome in outcomes) == len(likes)


async def test_a_like_during_an_erasure_is_recorded_before_it_or_refused(database: Database) -> None:
    interactions, users = Interactions(database.sessions), Users(database.sessions)
    refused = 0
    for _ in range(20):
        await users.put_many([person(1), person(2)])
        likes = [interactions.record([did(1 + turn % 2, Kind.LIKE, 2 - turn % 2)]) for turn in range(4)]
        results = await asyncio.gather(*likes[:2], users.erase(2), *likes[2:], return_exceptions=True)
        refused += sum(isinstance(result, BadInput) for result in results)

        assert {type(result).__name__ for result in results} <= {"Recorded", "bool", "BadInput"}
        assert await scalar(database, "select count(*) from interactions where 2 in (actor_id, target_id)") == 0
        assert await Matches(database.sessions).page(1, 10) == []
    assert refused > 0


async def test_a_put_during_an_erasure_is_gone_or_somebody_new(database: Database) -> None:
    users = Users(database.sessions)
    for incarnation in range(1, 21):
        await users.put(person(1))
        await asyncio.gather(users.erase(1), users.put(person(1, name="again")))
        one = await users.get(1)

        assert one is None or one.incarnation == incarnation + 1
        await users.erase(1)
        await _set_incarnation(database, incarnation)


async def _set_incarnation(database: Database, incarnation: int) -> None:
    async with database.sessions() as session:
        await session.execute(text(f"update tombstones set incarnation = {incarnation}"))
        await session.commit()


def test_a_pair_has_one_bucket_in_either_order_and_pairs_are_spread() -> None:
    pairs = [(low, high) for low in range(1, 100) for high in range(low + 1, 100)]

    assert all(bucket(low, high) == bucket(high, low) for low, high in pairs)
    assert len({bucket(*pair) for pair in pairs}) > 0.9 * BUCKETS
