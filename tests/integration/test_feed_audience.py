"""What the change feed tells those who hold something that it may contradict."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from service.domain import Kind
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.population.loader import load
from service.population.population import Population
from service.repositories.columns import KINDS
from tests.integration.population_world import World, caught_up, running, soon
from tests.integration.repo_builders import did, person


class Audience:
    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    @property
    def now(self) -> int:
        return len(self.told)

    def changed(self, people: Sequence[int]) -> None:
        self.told.append(("changed", sorted(people)))

    def erased(self, people: Sequence[int]) -> None:
        self.told.append(("erased", sorted(people)))

    def heard(self, actors: Any, targets: Any, kinds: Any) -> None:
        events = zip(actors.tolist(), targets.tolist(), kinds.tolist(), strict=True)
        self.told.append(("heard", [(actor, target, KINDS[code]) for actor, target, code in events]))

    def lost(self) -> None:
        self.told.append(("lost", None))

    def caught_up(self, people: Population, since: int) -> None:
        self.told.append(("caught up", (people, since)))

    @property
    def n_heard(self) -> int:
        return sum(map(len, self.of("heard")))

    def of(self, what: str) -> list[Any]:
        return [said for name, said in self.told if name == what]


@pytest.fixture
async def followed(world: World) -> tuple[ChangeFeed, Audience]:
    """A feed that has caught up with three people."""
    await world.users.put_many([person(one) for one in (1, 2, 3)])
    loaded = await load(world.origin)
    audience = Audience()
    feed = ChangeFeed(world.origin, PopulationHolder(loaded.population, None), 10, audience=audience)
    await soon(lambda: caught_up(feed, lambda: loaded.population.n_people == 3))
    audience.told.clear()
    return feed, audience


async def test_who_changed_and_who_was_erased_are_told(world: World, followed: tuple[ChangeFeed, Audience]) -> None:
    feed, audience = followed
    await world.users.put(person(2, bio="new"))
    await world.users.erase(3)
    await soon(lambda: caught_up(feed, lambda: bool(audience.of("erased"))))
    assert 2 in audience.of("changed")[0]
    assert audience.of("erased") == [[3]]


async def test_interactions_are_told_in_the_order_in_which_they_were_written(
    world: World, followed: tuple[ChangeFeed, Audience]
) -> None:
    feed, audience = followed
    kinds = (Kind.LIKE, Kind.UNLIKE, Kind.BLOCK)
    for minute, kind in enumerate(kinds):
        await world.interactions.record([did(1, kind, 2, minute)])
    await soon(lambda: caught_up(feed, lambda: audience.n_heard == len(kinds)))
    assert [event for events in audience.of("heard") for event in events] == [(1, 2, kind) for kind in kinds]


async def waits(world: World, entity: str) -> None:
    """A change that a transaction holds back for ever."""
    async with world.database.sessions() as session:
        await session.execute(text(f"insert into changes (xid, entity, ids) values (9000000000, '{entity}', '{{2}}')"))
        await session.commit()


async def test_that_everybody_is_known_is_told_with_the_time_before_the_look(
    world: World, followed: tuple[ChangeFeed, Audience]
) -> None:
    feed, audience = followed
    await world.users.put(person(2, bio="new"))
    audience.told.append(("news", 2))
    async with running(feed.run()):
        await soon(lambda: bool(audience.of("caught up")))
    people, since = audience.of("caught up")[0]
    assert (people.profile(2), since) == (person(2, bio="new"), 1)


@pytest.mark.parametrize(("entity", "told"), [("user", False), ("erasure", False), ("interaction", True)])
async def test_nobody_is_said_to_be_known_while_a_change_of_people_is_held_back(
    world: World, followed: tuple[ChangeFeed, Audience], entity: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.population.feed._LOOK_BEYOND_S", 0.0)
    feed, audience = followed
    await waits(world, entity)
    looks = 0

    def lagging(seconds: float) -> None:
        nonlocal looks
        looks += seconds > 0

    monkeypatch.setattr("service.population.feed.FEED_LAG.set", lagging)
    async with running(feed.run()):
        await soon(lambda: looks >= 3)
    assert bool(audience.of("caught up")) is told


async def test_a_gap_is_told_since_anything_may_have_happened_in_it(
    world: World, followed: tuple[ChangeFeed, Audience], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, audience = followed

    async def gap(*_: object) -> bool:
        return True

    monkeypatch.setattr(type(world.origin.changes), "has_gap", gap)
    await feed.close_gap()
    assert audience.told == [("lost", None)]
