"""Two replicas on one PostgreSQL and one Valkey: whatever comes between two reads, no answered write is overlooked."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from service.controllers.writes import Aftermath
from service.domain import Interaction, Kind, Profile, Relations
from service.fleet.client import Fleet
from service.fleet.news import News
from service.fleet.tokens import ViewerTokens
from service.recommend.first_level import FirstLevel
from service.recommend.fragments import Fragments
from service.recommend.ports import Trail
from service.recommend.profiles import Faces, Truth
from service.recommend.settled import Settled
from service.recommend.viewers import Viewers
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.resilience import Breaker, Deadline
from tests.fakes import FakePopulation, person

PEOPLE = range(1, 9)
NOBODY = FakePopulation()
Hook = Callable[[], Awaitable[Any]]


class Replica:
    """What one replica holds, and its way to write. `before_reading` is awaited between its read of tokens and of PostgreSQL,
    `after_reading` between that and what is held of it."""

    def __init__(self, database: Database, fleet: Fleet) -> None:
        self.users, self.interactions = Users(database.sessions), Interactions(database.sessions)
        self.tokens = ViewerTokens(fleet, 600)
        truth = Truth(self, Breaker("database"), 30.0)
        self.viewers, self.fragments = Viewers(truth, 1 << 20), Fragments(1 << 20, lambda: self.news.is_live)
        settled = Settled(self.fragments.drops)
        self.faces = Faces(truth, self.fragments, settled)
        self.first = FirstLevel(self.fragments, self.viewers, settled)
        self.news = News(fleet, [self.first.changed], self.first.lost)
        self.aftermath = Aftermath(self, self.tokens, self.news, self.viewers)
        self.before_reading: Hook | None = None
        self.after_reading: Hook | None = None
        self.n_reads = 0

    def nudge(self) -> None:
        """No feed runs here: tokens and news alone have to do."""

    async def many(self, ids: Any, /) -> Any:
        found = await self.users.many(ids)
        if self.after_reading is not None:
            hook, self.after_reading = self.after_reading, None
            await hook()
        return found

    async def viewer(self, person_id: int, /) -> tuple[Profile, Relations] | None:
        self.n_reads += 1
        if self.before_reading is not None:
            hook, self.before_reading = self.before_reading, None
            await hook()
        found = await self.users.viewer(person_id)
        if self.after_reading is not None:
            hook, self.after_reading = self.after_reading, None
            await hook()
        return found

    async def write(self, actor_id: int, target_id: int, kind: Kind) -> None:
        """As the controller does: answered when this returns."""
        given = Interaction(actor_id=actor_id, target_id=target_id, kind=kind, occurred_at=datetime.now(UTC))
        await self.aftermath.of_interactions([given], await self.interactions.record([given]))

    async def read(self, viewer_id: int = 1) -> Relations:
        """The relations that a request would go by."""
        read = await self.tokens.read(viewer_id, (), Deadline(30))
        assert read is not None
        state = await self.viewers.state(viewer_id, read[0].version, NOBODY, Deadline(30), Trail())
        assert state is not None
        return state.relations

    async def bio(self, person_id: int) -> str:
        found = await self.faces.many([person_id], NOBODY, Deadline(30), Trail())
        return found[person_id].profile.bio


@asynccontextmanager
async def listening(replica: Replica) -> AsyncIterator[None]:
    task = asyncio.create_task(replica.news.run())
    while not replica.news.is_live:  # noqa: ASYNC110 - a heartbeat has to come back first
        await asyncio.sleep(0.01)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def replicas(database: Database, redis_url: str) -> AsyncIterator[list[Replica]]:
    await Users(database.sessions).put_many([person(one) for one in PEOPLE])
    fleets = [Fleet.open(redis_url, 30.0, Breaker("redis")) for _ in range(2)]
    yield [Replica(database, fleet) for fleet in fleets]
    for fleet in fleets:
        await fleet.close()


async def test_what_one_replica_holds_is_read_again_after_a_write_through_the_other(replicas: list[Replica]) -> None:
    one, other = replicas
    await one.read()
    await one.read()
    assert one.n_reads == 1
    await other.write(1, 2, Kind.LIKE)
    assert (await one.read()).liked == {2}
    await other.write(3, 1, Kind.BLOCK)
    assert (await one.read()).blocked == {3}


async def test_a_write_between_the_read_of_tokens_and_of_postgresql_is_seen_and_read_again(replicas: list[Replica]) -> None:
    one, other = replicas
    one.before_reading = lambda: other.write(1, 2, Kind.LIKE)
    assert (await one.read()).liked == {2}
    assert (await one.read()).liked == {2}
    assert one.n_reads == 2


async def test_a_redis_that_takes_no_token_passes_on_that_it_would_have_had_to(replicas: list[Replica], redis_url: str) -> None:
    one, other = replicas
    async with listening(one):
        await one.read()
        with redis.Redis.from_url(redis_url) as client:
            client.config_set("min-replicas-to-write", 1)  # reads and publishes, and refuses writes
            try:
                await other.write(1, 2, Kind.LIKE)
            finally:
                client.config_set("min-replicas-to-write", 0)
        async with asyncio.timeout(20):
            while (await one.read()).liked != {2}:  # noqa: ASYNC110 - news takes its way
                await asyncio.sleep(0.005)


async def test_what_was_read_before_a_write_and_held_after_it_is_used_by_nobody(replicas: list[Replica]) -> None:
    one, other = replicas
    one.after_reading = lambda: other.write(1, 2, Kind.BLOCK)
    assert (await one.read()).blocked == frozenset()  # the request began before the write was answered
    assert (await one.read()).blocked == {2}


async def test_a_profile_read_before_news_of_it_and_kept_after_it_is_used_by_nobody(replicas: list[Replica]) -> None:
    one, other = replicas

    async def edit() -> None:
        await other.users.put(person(2, bio="new"))
        await other.aftermath.of_people([2])
        await asyncio.sleep(0.2)  # pub/sub needs a moment; the read above is still not over

    async with listening(one):
        one.after_reading = edit
        await one.bio(2)
        assert await one.bio(2) == "new"


async def test_profiles_are_held_while_news_is_live_and_read_while_it_is_not(replicas: list[Replica]) -> None:
    one, other = replicas
    async with listening(one):
        await one.bio(2)
        assert len(one.fragments) == 1
        await other.users.put(person(2, bio="silent"))
        assert await one.bio(2) == ""  # nobody has told
    assert len(one.fragments) == 0
    assert await one.bio(2) == "silent"


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_writes_and_reads_at_once_through_two_replicas_overlook_nothing_that_was_answered(
    replicas: list[Replica], seed: int
) -> None:
    """Each reader notes what was answered before it began, and must find it."""
    chance = random.Random(seed)
    answered: dict[int, set[int]] = {viewer: set() for viewer in PEOPLE}

    async def write() -> None:
        for _ in range(40):
            actor, target = chance.sample(PEOPLE, 2)
            await chance.choice(replicas).write(actor, target, Kind.BLOCK)
            answered[actor].add(target)
            answered[target].add(actor)

    async def read() -> None:
        for _ in range(60):
            viewer = chance.choice(PEOPLE)
            expected = set(answered[viewer])
            assert expected <= (await chance.choice(replicas).read(viewer)).blocked

    await asyncio.gather(write(), write(), *(read() for _ in range(4)))
    for viewer in PEOPLE:
        for replica in replicas:
            assert (await replica.read(viewer)).blocked == answered[viewer]
