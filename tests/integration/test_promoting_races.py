"""Two operators at once: each is sure of a bundle before either moves the pointer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.domain import BundleRecord
from service.errors import LiveBundleMoved
from service.population.promoting import Promoting
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.threads import ThreadDoor
from tests.integration.population_world import World
from tests.integration.repo_builders import settle


class Meeting(ThreadDoor):
    """Whoever has verified a bundle waits here for the other."""

    def __init__(self) -> None:
        super().__init__(2)
        self._both = asyncio.Barrier(2)

    async def call(self, *args: Any, **options: Any) -> Any:
        result = await super().call(*args, **options)
        async with asyncio.timeout(10):
            await self._both.wait()
        return result


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Bundles b1 to b3, published in this order."""
    database = Database(database_url)
    made = World(database, tmp_path)
    await settle(database, 5)
    for version in ("b1", "b2", "b3"):
        await made.publish(version)
    yield made
    made.door.close()
    await database.close()


@pytest.fixture
async def operators(world: World) -> AsyncIterator[tuple[Promoting, Promoting]]:
    """Each with connections of its own."""
    door, databases = Meeting(), [Database(world.database.url) for _ in range(2)]
    one, other = (Promoting(world.store, Bundles(database.sessions), door) for database in databases)
    yield one, other
    door.close()
    for database in databases:
        await database.close()


def won_and_lost(outcomes: Sequence[BundleRecord | BaseException]) -> tuple[str, str]:
    """The version that the one made live, and what the other was told."""
    [won] = [each for each in outcomes if isinstance(each, BundleRecord)]
    [lost] = [each for each in outcomes if isinstance(each, LiveBundleMoved)]
    return won.version, lost.message


async def test_two_who_go_back_at_once_go_one_step(world: World, operators: tuple[Promoting, Promoting]) -> None:
    outcomes = await asyncio.gather(*(each.rollback("b3") for each in operators), return_exceptions=True)
    assert won_and_lost(outcomes) == ("b2", "meanwhile b2 went live in the place of b3; look again")
    assert await operators[0].live() == "b2"


async def test_who_goes_back_does_not_undo_what_another_promotes(world: World, operators: tuple[Promoting, Promoting]) -> None:
    one, other = operators
    outcomes = await asyncio.gather(one.rollback("b3"), other.promote("b1", "b3"), return_exceptions=True)
    won, _ = won_and_lost(outcomes)
    assert won in ("b1", "b2")
    assert await one.live() == won


async def test_of_two_who_promote_at_once_one_is_told_of_the_other(world: World, operators: tuple[Promoting, Promoting]) -> None:
    one, other = operators
    outcomes = await asyncio.gather(one.promote("b1", "b3"), other.promote("b2", "b3"), return_exceptions=True)
    won, told = won_and_lost(outcomes)
    assert told == f"meanwhile {won} went live in the place of b3; look again"
    assert await one.live() == won
