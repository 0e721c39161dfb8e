"""Where a population comes from: the live bundle, else the last good one, else the database alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import Store
from service.domain import BundleRecord, FeedPosition, Profile
from service.errors import BundleInvalid
from service.metrics import BUNDLE_LOADS
from service.population import snapshot
from service.population.build import Builder, StandingPairs
from service.population.population import Population
from service.population.relations import RelationMemory
from service.population.sides import ranks
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.columns import InteractionTable
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.resilience import Deadline
from service.threads import ThreadDoor

Ids = NDArray[np.int64]
Counts = dict[str, NDArray[np.int32]]

_LOG = structlog.get_logger("amity.population")

LOAD_S = 600.0
"""Time for work in a thread while loading: a bundle of a million people is fetched, verified and indexed in well under it."""

PEOPLE_A_READ, PROFILES_AT_ONCE, ERASURES_AT_ONCE = 100, 34, 10
"""Read from the database, applied and erased before other tasks get their turn: 2 ms at most. A hundred profiles take three turns
of 1.5 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The stores that a population is read from, and the door to the threads that do the work."""

    store: Store
    bundles: Bundles
    users: Users
    interactions: Interactions
    changes: Changes
    door: ThreadDoor


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A population and the bundle it is from; None when there is none. The feed has still to be caught up with. `compared`: with
    the database whole, past changes that the feed has told nobody of."""

    population: Population
    bundle: Bundle | None
    compared: bool = False


async def load(origin: Origin) -> Loaded:
    """The population to start with. Raises DatabaseUnavailable: without the database nobody knows which bundle is live.

    A bundle that cannot be used is logged and counted, and the one published before it serves instead.
    """
    live = await origin.bundles.live()
    for record in [live, *_published_before(live, await origin.bundles.list())] if live else []:
        try:
            return await load_bundle(origin, record.version)
        except BundleInvalid as exc:
            _LOG.error("bundle refused", bundle_version=record.version, reason=exc.message)
    return Loaded(await from_database(origin), None)


async def load_bundle(origin: Origin, version: str) -> Loaded:
    """The population of one bundle; where the feed no longer reaches back to it, with everyone as the database has them.

    Raises BundleInvalid when it is missing, damaged or of another schema.
    """
    try:
        bundle, population = await origin.door.call("bundle", opened, origin.store, version, deadline=Deadline(LOAD_S))
    except BundleInvalid:
        BUNDLE_LOADS.labels("refused").inc()
        raise
    has_gap = await origin.changes.has_gap(population.position)
    if has_gap:
        _LOG.warning("bundle older than the change feed", bundle_version=version)
        await reconcile(origin, population)
    BUNDLE_LOADS.labels("loaded").inc()
    return Loaded(population, bundle, compared=has_gap)


async def from_database(origin: Origin) -> Population:
    """Everyone as the database has them now, without vectors."""
    position = await origin.changes.horizon()
    builder = Builder()
    async for batch in origin.users.stream():
        builder.add(batch)
    table = await origin.interactions.load_all()
    return await origin.door.call("bundle", _built, builder, table, position, deadline=Deadline(LOAD_S))


async def reconcile(origin: Origin, people: Population) -> None:
    """Make a population what the database says, without the feed: with its vectors, its index and its rows, which stay where
    nothing has changed, and without a second copy of everyone. It may serve meanwhile. The feed goes on from the position.

    What is committed meanwhile may be in here already; the feed brings it once more, which changes nothing.
    """
    position = await origin.changes.horizon()
    pages = [np.empty(0, np.int64)]
    async for batch in origin.users.stream(PEOPLE_A_READ):
        pages.append(np.array([profile.id for profile in batch], np.int64))
        await apply_profiles(people, batch)
    there, gone = await origin.door.call("bundle", _there_and_gone, people, pages, deadline=Deadline(LOAD_S))
    await erase(people, gone)
    table, n_rows = await origin.interactions.load_all(), people.columns.n
    made = await origin.door.call("bundle", _relations, table, there, people, n_rows, deadline=Deadline(LOAD_S))
    people.replace_relations(*made)
    people.position = position


async def apply_profiles(people: Population, profiles: Sequence[Profile]) -> None:
    """Take in people by pieces that let others run."""
    for start in range(0, len(profiles), PROFILES_AT_ONCE):
        people.apply_profiles(profiles[start : start + PROFILES_AT_ONCE])
        await asyncio.sleep(0)


async def erase(people: Population, ids: Sequence[int]) -> None:
    """Forget people by pieces that let others run."""
    for start in range(0, len(ids), ERASURES_AT_ONCE):
        people.erase(ids[start : start + ERASURES_AT_ONCE])
        await asyncio.sleep(0)


def _published_before(live: BundleRecord, records: list[BundleRecord]) -> list[BundleRecord]:
    """Newest first. Bundles published after the live one were rolled back, for some reason: they do not return by themselves."""
    earlier = [(record.published_at, record) for record in records if record.published_at and record.version != live.version]
    earlier.sort(key=lambda pair: pair[0], reverse=True)
    return [record for at, record in earlier if live.published_at is None or at < live.published_at]


def opened(store: Store, version: str) -> tuple[Bundle, Population]:
    """A bundle, verified, and the people of it, mapped. Raises BundleInvalid."""
    bundle = store.open(version)
    population = snapshot.load(bundle)
    bundle.release()
    return bundle, population


def _built(builder: Builder, table: InteractionTable, position: FeedPosition) -> Population:
    return builder.build(StandingPairs.of_table(table), position)


def _there_and_gone(people: Population, pages: list[Ids]) -> tuple[Ids, list[int]]:
    """Everyone there, whose ids ascend from page to page, and whoever is known here and not there."""
    there = np.concatenate(pages)
    known = np.concatenate((people.directory.base_ids, people.columns.added("id")))
    gone = np.unique(known[ranks(there, known) < 0])
    return there, gone[people.rows(gone) >= 0].tolist()


def _relations(table: InteractionTable, ids: Ids, people: Population, n_rows: int) -> tuple[RelationMemory, Counts]:
    memory = StandingPairs.of_table(table).memory(ids)
    return memory, counts_by_row(memory, people, n_rows)


def counts_by_row(memory: RelationMemory, people: Population, n_rows: int) -> Counts:
    """`counts` of a memory for the first rows of a population, as many as it had between two turns of the event loop."""
    rows = people.rows(memory.ids)
    here = np.flatnonzero((rows >= 0) & (rows < n_rows))
    found = {}
    for name, values in memory.counts().items():
        found[name] = np.zeros(n_rows, np.int32)
        found[name][rows[here]] = values[here]
    return found
