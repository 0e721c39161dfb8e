"""Requests while PostgreSQL hangs, dies and comes back: pools and memory serve, the same rules hold, and it is named."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.domain import RecommendationRequest, Slate
from service.recommend.orchestrator import Orchestrator
from service.recommend.profiles import Truth
from service.repositories.database import Database
from service.repositories.migrate import upgrade
from service.repositories.users import Users
from service.resilience import Breaker
from tests.fakes import FakePopulation, World, person
from tests.servers import PrivatePostgres

REQUEST = RecommendationRequest(viewer_id=1, limit=5)
PEOPLE = [person(one) for one in range(1, 31)]


class RealWorld(World):
    """A World whose truth is in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        super().__init__(PEOPLE)
        self.breaker = Breaker("database", 3, 2.0, self.clock.monotonic)
        self.truth = Truth(Users(database.sessions), self.breaker, timeout_s=0.15)
        self.orchestrator = self.build()


@asynccontextmanager
async def world_on(postgres: PrivatePostgres) -> AsyncIterator[RealWorld]:
    await upgrade(postgres.url)
    database = Database(postgres.url, 4, 5.0)
    try:
        await Users(database.sessions).put_many(PEOPLE)
        world = RealWorld(database)
        await world.orchestrator.recommend(REQUEST)
        yield world
        world.door.close()
    finally:
        await database.close()


async def ask(orchestrator: Orchestrator, times: int = 1) -> list[Slate]:
    return [await orchestrator.recommend(REQUEST) for _ in range(times)]


def bent(slate: Slate) -> set[tuple[str, str, str | None]]:
    return {(one.stage, one.reason, one.fallback) for one in slate.degraded}


FAULTS = pytest.mark.parametrize("fault", ["pause", "kill"])


@FAULTS
async def test_pools_and_memory_serve_and_each_thing_from_memory_is_named(private_postgres: PrivatePostgres, fault: str) -> None:
    async with world_on(private_postgres) as world:
        getattr(private_postgres, fault)()
        world.first.lost()
        slates = await ask(world.orchestrator, 6)
        if fault == "pause":
            private_postgres.resume()
        assert all([one.id for one in slate.recommendations] == [30, 29, 28, 27, 26] for slate in slates)
        assert bent(slates[-1]) == {(name, "unavailable", "memory") for name in ("viewer", "relations", "profiles")}
        assert all(slate.cached for slate in slates)


@FAULTS
async def test_what_is_held_under_unchanged_tokens_serves_and_nothing_is_bent(
    private_postgres: PrivatePostgres, fault: str
) -> None:
    async with world_on(private_postgres) as world:
        getattr(private_postgres, fault)()
        slates = await ask(world.orchestrator, 2)
        ready = await world.orchestrator.ready(REQUEST)
        if fault == "pause":
            private_postgres.resume()
        assert [(slate.cached, slate.degraded, slate.total_count) for slate in slates] == [(True, (), 5)] * 2
        assert ready is not None


async def test_a_database_that_hangs_costs_its_timeout_only_a_few_times(private_postgres: PrivatePostgres) -> None:
    async with world_on(private_postgres) as world:
        private_postgres.pause()
        world.redis.away = True
        started = time.monotonic()
        await ask(world.orchestrator, 20)
        spent_s = time.monotonic() - started
        private_postgres.resume()
        assert spent_s < 20 * 0.15 / 2


async def test_when_it_is_back_the_database_is_believed_again(private_postgres: PrivatePostgres) -> None:
    async with world_on(private_postgres) as world:
        private_postgres.kill()
        world.first.lost()
        await ask(world.orchestrator, 3)
        world.memory = FakePopulation(PEOPLE[:1])
        private_postgres.start()
        world.clock.elapsed_s = 3.0
        (slate,) = await ask(world.orchestrator)
        assert (slate.degraded, slate.total_count) == ((), 5)
