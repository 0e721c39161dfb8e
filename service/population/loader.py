"""Where a population comes from: the live bundle, else the last good one, else the database alone."""

from dataclasses import dataclass

import numpy as np
import structlog

from service.artifacts.bundle import Bundle
from service.artifacts.store import Store
from service.domain import BundleRecord, Profile
from service.errors import BundleInvalid
from service.population import snapshot
from service.population.build import Builder, StandingPairs
from service.population.population import Population
from service.population.tastes import Tastes
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.resilience import Deadline
from service.telemetry import BUNDLE_LOADS
from service.threads import ThreadDoor

_LOG = structlog.get_logger("amity.population")

_LOAD_S = 600.0
"""Time for work in a thread while loading: a bundle of a million people is fetched, verified and indexed in well under it."""


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
    """A population and the bundle it is from; None when there is none. The feed has still to be caught up with."""

    population: Population
    bundle: Bundle | None


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
        bundle, population = await origin.door.call("bundle", _open, origin.store, version, deadline=Deadline(_LOAD_S))
    except BundleInvalid:
        BUNDLE_LOADS.labels("refused").inc()
        raise
    if await origin.changes.has_gap(population.position):
        _LOG.warning("bundle older than the change feed", bundle_version=version)
        population = await from_database(origin, population)
    BUNDLE_LOADS.labels("loaded").inc()
    return Loaded(population, bundle)


async def from_database(origin: Origin, known: Population | None = None) -> Population:
    """Everyone as the database has them now, with the vectors of a population that knew some of them, if one is given."""
    position = await origin.changes.horizon()
    builder = Builder()
    profiles: list[Profile] = []
    async for batch in origin.users.stream():
        builder.add(batch)
        if known is not None and known.tastes is not None:
            profiles.extend(batch)
    pairs = StandingPairs.of_table(await origin.interactions.load_all())
    population: Population = await origin.door.call("bundle", _build, builder, pairs, profiles, known, deadline=Deadline(_LOAD_S))
    population.position = position
    return population


def _published_before(live: BundleRecord, records: list[BundleRecord]) -> list[BundleRecord]:
    """Newest first. Bundles published after the live one were rolled back, for some reason: they do not return by themselves."""
    earlier = [(record.published_at, record) for record in records if record.published_at and record.version != live.version]
    earlier.sort(key=lambda pair: pair[0], reverse=True)
    return [record for at, record in earlier if live.published_at is None or at < live.published_at]


def _open(store: Store, version: str) -> tuple[Bundle, Population]:
    bundle = store.open(version)
    return bundle, snapshot.load(bundle)


def _build(builder: Builder, pairs: StandingPairs, profiles: list[Profile], known: Population | None) -> Population:
    population = builder.build(pairs)
    if known is not None and known.tastes is not None:
        population.bundle_version = known.bundle_version
        population.tastes = carried_tastes(known, known.tastes, profiles)
    return population


def carried_tastes(known: Population, tastes: Tastes, profiles: list[Profile]) -> Tastes:
    """Vectors of `profiles`, in the order of ids: those known where it is the same person, content anew where it changed."""
    mutual = np.zeros((len(profiles), 2 * tastes.n_factors), np.float32)
    content = np.zeros((len(profiles), tastes.spaces["content"].n_dims), np.float32)
    for index, profile in enumerate(sorted(profiles, key=lambda person: person.id)):
        row = known.row(profile.id)
        before = known.profile(profile.id)
        same_person = before is not None and before.incarnation == profile.incarnation
        vectors = tastes.of_profile(profile, row if same_person else None, before == profile)
        for target, vector in zip((mutual, content), vectors, strict=True):
            if vector is not None:
                target[index] = vector
    return Tastes.of(mutual, content, tastes.encoder, tastes.fold_in)
