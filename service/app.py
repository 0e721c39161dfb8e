"""create_app(settings): the only place where routes and parts are joined."""

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import uvicorn
from litestar import Litestar

from service.app_parts import running_parts
from service.artifacts.store import Store
from service.console.routes import console
from service.controllers.algorithms import Algorithms
from service.controllers.experiment_reports import ExperimentReports
from service.controllers.experiments import Experiments
from service.controllers.interactions import InteractionsController
from service.controllers.keys import require_safe_bind
from service.controllers.operations import Health, metrics, schema
from service.controllers.people import People
from service.controllers.rankings import Rankings
from service.controllers.recommendations import Recommendations
from service.controllers.shell import shell
from service.controllers.wire import OurHttp
from service.errors import BadSetting
from service.features.definitions import FEATURES
from service.fleet.client import Fleet
from service.logs import configure_logging
from service.plugins import load_rankers, load_sources
from service.repositories.database import Database
from service.repositories.migrate import require_current
from service.resilience import Breaker
from service.settings import Settings, variable

HANDLERS = (
    Recommendations,
    Rankings,
    People,
    InteractionsController,
    Algorithms,
    Experiments,
    ExperimentReports,
    Health,
    metrics,
    schema,
)
INJECTED = (
    "orchestrator",
    "rank_given",
    "why",
    "performance",
    "fleet_performance",
    "models",
    "breakers",
    "stock",
    "sources",
    "promoting",
    "readiness",
    "management",
    "reports",
    "users",
    "interactions",
    "matches",
    "aftermath",
    "settings",
    "market",
    "console_held",
)


KEEP_ALIVE_S = 75
"""Longer than balancers keep a connection that is idle, 60 s as a rule: whoever closes it first must be the one who asks. With
uvicorn's 5 s a request now and then met a connection that was just being closed, and became somebody's 502."""

MAX_CONNECTIONS = 10_000
"""Far more than balancers open to a replica. An idle one takes 6 kB."""


def create_app(settings: Settings) -> Litestar:
    """The application; its parts live from the lifespan's start to its end. Raises BadSetting for keys that cannot be read."""

    @asynccontextmanager
    async def parts(app: Litestar) -> AsyncIterator[None]:
        async with running_parts(settings) as running:
            app.state.update(running)
            yield
            app.state.pop("readiness")

    app = shell(settings, (*HANDLERS, console()), INJECTED, [parts])
    app.state.version = version("amity")
    return app


async def preflight(settings: Settings) -> None:
    """Everything that would keep a replica from starting, each as one clear line: an OperatorError or DatabaseUnavailable."""
    require_safe_bind(settings)
    for name in ("database_url", "redis_url"):
        if not getattr(settings, name):
            raise BadSetting(f"{variable(name)} must be set")
    await Fleet.open(settings.redis_url, settings.redis_timeout_ms / 1000, Breaker("redis")).close()
    Store(settings.artifacts_url, settings.cache_path)
    load_rankers(settings, FEATURES)
    load_sources(settings)
    database = Database(settings.database_url, pool_size=1)
    try:
        await database.ping()
    finally:
        await database.close()
    await require_current(settings.database_url)


def connections_at_most() -> int:
    """Each is an open file. A quarter of those that the process may have is left for PostgreSQL, Redis and bundles."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files - files // 4)


def build_server(settings: Settings) -> uvicorn.Server:
    """uvicorn around the application. `await server.serve(sockets=[...])`, or `server.run()`; SIGTERM drains for `drain_s`."""
    configure_logging(settings.log_format, settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=cast(Any, partial(OurHttp, early=app.state.early, at_most=connections_at_most())),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=settings.drain_s,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return uvicorn.Server(config)
