"""The parts of a replica, built in the order in which they need one another, and taken down in the reverse."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from service.app_experiments import Experimenting
from service.app_recommend import Answering, Shared, injected
from service.artifacts.store import Store
from service.background import Background
from service.console.held import ConsoleHeld
from service.controllers.operations import Readiness
from service.errors import AmityError
from service.experiments.registry import Registry
from service.fleet.client import Fleet
from service.fleet.figures import FleetFigures
from service.market.watching import MarketWatcher
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.population.loader import Origin, load
from service.population.promoting import Promoting
from service.population.watcher import BundleWatcher, tell_bundle
from service.ranker_stock import Rankers, RankerStock
from service.recommend.fleet_performance import FleetPerformance
from service.recommend.impressions import ImpressionQueue
from service.recommend.models import LiveModels
from service.recommend.renewals import WORKERS
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.impressions import Impressions
from service.repositories.interactions import Interactions
from service.repositories.maintenance import Maintenance
from service.repositories.matches import Matches
from service.repositories.users import Users
from service.resilience import Breaker, Deadline, left_behind
from service.settings import Settings
from service.threads import ThreadDoor
from service.tracing import start_tracing, stop_tracing

_LOG = structlog.get_logger("amity.app")

WRITE_TIMEOUT_S = 5.0
"""Bound on one statement of a write; reads within a request have their own, shorter one."""
FLUSH_S = 5.0
"""Time for writing the last impressions at the end."""
MAINTENANCE_S = 3600.0

Holder = PopulationHolder[Rankers]


@asynccontextmanager
async def running_parts(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Everything that handlers get injected, by name; stopped in good order at the end.

    Raises AmityError when the database is away or its schema is old, or when a plug-in that is needed is broken.
    """
    async with AsyncExitStack() as stack:
        stack.callback(stop_tracing, start_tracing(settings.otlp_endpoint))
        door = ThreadDoor(settings.threads)
        stack.callback(door.close)
        database = await _database(settings, stack)
        background = Background()
        stack.push_async_callback(background.stop)  # also when what follows fails
        origin = _origin(settings, database, door)
        experiments = Experiments(database.sessions)
        registry = Registry(experiments, door, settings.default_ranker)
        stock = RankerStock(settings, door)
        holder, feed = await _population(settings, origin, background, registry, stock)
        await registry.load()
        background.keep("experiments", registry.run)
        fleet = Fleet.open(settings.redis_url, settings.redis_timeout_ms / 1000, Breaker("redis"))
        stack.push_async_callback(fleet.close)
        shared, models = Shared.of(settings, fleet, origin, feed, registry), LiveModels(holder)
        background.keep("news", shared.news.run)
        await _open_connections(settings, origin, fleet)
        impressions = ImpressionQueue(
            Impressions(database.sessions), settings.impressions_flush_ms / 1000, settings.impressions_queue
        )
        background.keep("impressions", impressions.run)
        answering = Answering.of(settings, shared, origin, models, impressions)
        figures = FleetPerformance(answering.performance, FleetFigures(fleet))
        background.keep("performance", figures.run)
        maintenance = Maintenance(database.sessions, settings.impressions_retention_days, settings.changes_retention_days)
        background.keep("maintenance", lambda: _maintain(maintenance))
        stack.push_async_callback(lambda: impressions.close(Deadline(FLUSH_S)))
        stack.push_async_callback(figures.flush)
        stack.push_async_callback(background.stop)  # before the last flushes, which a running one would disturb
        experimenting = Experimenting.of(settings, experiments, database, shared, origin, models)
        background.keep("guardrails", experimenting.watcher.run)
        market = MarketWatcher.of(settings, database.sessions, door)
        background.keep("market", market.run)
        for _ in range(WORKERS):
            background.keep("renewals", answering.renewals.run)
        background.keep("shadow", answering.shadow.run)
        yield (
            injected(shared, answering, origin, models, feed)
            | experimenting.injected()
            | _for_console(origin, market, stack)
            | {
                "fleet_performance": figures,
                "stock": stock,
                "matches": Matches(database.sessions),
                "readiness": _readiness(settings, holder, database, fleet),
            }
        )


async def _database(settings: Settings, stack: AsyncExitStack) -> Database:
    """Answering, or else DatabaseUnavailable."""
    database = Database(settings.database_url, settings.database_pool_size, WRITE_TIMEOUT_S)
    stack.push_async_callback(database.close)
    stack.push_async_callback(left_behind, FLUSH_S)
    await database.ping()
    return database


def _for_console(origin: Origin, market: MarketWatcher, stack: AsyncExitStack) -> dict[str, Any]:
    """What only /console asks for, by name."""
    held = ConsoleHeld()
    stack.push_async_callback(held.close)
    return {"market": market, "console_held": held, "promoting": Promoting(origin.store, origin.bundles, origin.door)}


def _origin(settings: Settings, database: Database, door: ThreadDoor) -> Origin:
    sessions = database.sessions
    return Origin(
        store=Store(settings.artifacts_url, settings.cache_path),
        bundles=Bundles(sessions),
        users=Users(sessions),
        interactions=Interactions(sessions),
        changes=Changes(sessions),
        door=door,
    )


async def _population(
    settings: Settings, origin: Origin, background: Background, registry: Registry, stock: RankerStock
) -> tuple[Holder, ChangeFeed]:
    """Everyone, loaded and caught up with; then kept so."""
    loaded = await load(origin)
    holder: Holder = PopulationHolder(loaded.population, await stock.loaded(loaded.bundle), settings.overlay_max)
    feed = ChangeFeed(origin, holder, settings.feed_poll_ms, {"bundle": lambda: watcher.nudge(), "experiment": registry.nudge})
    tell_bundle(loaded.bundle)
    watcher = BundleWatcher(origin, holder, feed, stock.loaded, settings.bundle_poll_ms)
    await feed.catch_up()
    background.keep("feed", feed.run)
    background.keep("bundles", watcher.run)
    return holder, feed


async def _open_connections(settings: Settings, origin: Origin, fleet: Fleet) -> None:
    """What the first requests would wait for otherwise: 40 to 90 ms each on a busy machine, out of a deadline of 250."""
    await asyncio.gather(*(origin.users.many([]) for _ in range(settings.database_pool_size)))
    await fleet.ping()


def _readiness(settings: Settings, holder: Holder, database: Database, fleet: Fleet) -> Readiness:
    async def database_answers() -> bool:
        await database.ping()
        return True

    pings: dict[str, Callable[[], Any]] = {"database": database_answers, "redis": fleet.ping}
    return Readiness(holder, pings, settings.database_timeout_ms / 1000)


async def _maintain(maintenance: Maintenance) -> None:
    """The hourly housekeeping; a round that the database did not let happen is left to the next one."""
    while True:
        try:
            await maintenance.run()
        except AmityError as exc:
            _LOG.warning("maintenance put off", reason=exc.message)
        await asyncio.sleep(MAINTENANCE_S)
