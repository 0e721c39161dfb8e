"""A database, a store of bundles and a replica's population on them, for the tests of loading and of the feed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from service.artifacts.bundle import Bundle, Manifest
from service.artifacts.store import BundleWriter, Store
from service.domain import Kind, Relations, Status
from service.population import snapshot
from service.population.build import Builder, StandingPairs
from service.population.columns import COUNTS
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.population.loader import Origin, load
from service.population.population import Population
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.columns import CODES
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.threads import ThreadDoor
from tests.integration.repo_builders import NOON, person
from tests.population_people import asking, tastes

STRANGER = 2**40
"""Somebody whom nobody knows, and who seeks nobody in particular."""

NAMES = ("liked", "passed", "liked_by", "passed_by", "blocked")


class World:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.users, self.interactions = Users(database.sessions), Interactions(database.sessions)
        self.bundles, self.changes = Bundles(database.sessions), Changes(database.sessions)
        self.store = Store(folder / "bundles", folder / "cache")
        self.door = ThreadDoor(2)
        self.origin = Origin(self.store, self.bundles, self.users, self.interactions, self.changes, self.door)

    async def publish(self, version: str) -> None:
        """A bundle of everyone there is, with random vectors, made live."""
        position = await self.changes.horizon()
        people = [profile async for batch in self.users.stream() for profile in batch]
        builder = Builder()
        builder.add(people)
        population = builder.build(StandingPairs.of_table(await self.interactions.load_all()))
        with BundleWriter(self.store, version) as writer:
            snapshot.write(writer, population, tastes(people))
            writer.publish(
                Manifest(
                    created_at=NOON,
                    window_start=None,
                    window_end=None,
                    seed=1,
                    feed_position=position,
                    n_people=len(people),
                    n_interactions=0,
                )
            )
        await self.bundles.register(version, NOON, {})
        await self.bundles.publish(version)

    def damage(self, version: str) -> None:
        path = self.store.folder / version / "vectors.mutual.high.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    async def replica(self, **options: Any) -> tuple[PopulationHolder[str], ChangeFeed]:
        """A population that has caught up, and the feed that keeps it so."""
        loaded = await load(self.origin)
        holder = PopulationHolder(loaded.population, "rankers of the start")
        feed = ChangeFeed(self.origin, holder, **{"poll_ms": 10} | options)
        await feed.catch_up()
        return holder, feed

    async def assert_mirrors(self, people: Population) -> None:
        """The population says of everyone what the database says, and shows those whom it should."""
        events = await self.interactions.load_all()
        said = events.kind == CODES[Kind.MESSAGE]
        messages = set(zip(events.actor[said].tolist(), events.target[said].tolist(), strict=True))
        there = [profile async for batch in self.users.stream() for profile in batch]
        assert sorted(people.ids().tolist()) == [profile.id for profile in there]
        assert people.n_people == len(there)
        for profile in there:
            assert people.profile(profile.id) == profile
            viewer = await self.users.viewer(profile.id)
            assert viewer is not None
            relations = viewer[1]
            assert plain(people.relations(profile.id)) == plain(relations), profile.id
            wrote_to = {b for a, b in messages if a == profile.id} - relations.passed
            heard_from = {a for a, b in messages if b == profile.id} - relations.passed_by
            counts = (relations.liked_by | heard_from, relations.passed_by, relations.liked | wrote_to, relations.passed)
            found = counts_of(people, profile.id)
            assert found == [len(those) for those in counts], f"{profile.id}: {found} instead of {[*map(len, counts)]}"
        shown = [profile.id for profile in there if profile.status is Status.ACTIVE]
        assert eligible_ids(people, asking(person(STRANGER))) == shown


def plain(relations: Relations) -> dict[str, frozenset[int]]:
    return {name: getattr(relations, name) for name in NAMES}


async def prepare(bundle: Bundle) -> str:
    """A companion, as the rankers of a bundle are one."""
    return f"rankers of {bundle.version}"


def counts_of(people: Population, person_id: int) -> list[int]:
    """Likes received, passes received, likes given, passes given."""
    row = people.row(person_id)
    assert row is not None
    return [int(people.columns.take(name, np.array([row]))[0]) for name in COUNTS]


def eligible_ids(people: Population, asking: Any) -> list[int]:
    return sorted(np.asarray(people.eligible(asking).eligible_ids()).tolist())


async def soon(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20.0) -> None:
    """Returns when the condition holds; the limit is generous because the machine is shared."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if found is True or (found is not False and await found):
                return
            await asyncio.sleep(0.01)


async def caught_up(feed: ChangeFeed, condition: Callable[[], bool]) -> bool:
    """Whether the condition holds after a look at the feed, which transactions of other tests, in the same server, may hold
    back for a moment."""
    await feed.catch_up()
    return condition()


def knows(holder: PopulationHolder[str], person_id: int) -> bool:
    return holder.current.row(person_id) is not None


@asynccontextmanager
async def running(work: Any) -> Any:
    """Runs a task beside the body."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
