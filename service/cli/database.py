"""Work on the database by a command: the operator's own, or the private one, started for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.cli.output import progress, say
from service.cli.servers import with_servers
from service.repositories import migrate
from service.repositories.database import Database
from service.settings import Settings
from service.telemetry import Progress

T = TypeVar("T")


def in_database(settings: Settings, work: Callable[[Database, Progress], Awaitable[T]]) -> T:
    """Run `work` on a database whose schema is brought up to date first if it is the private one."""
    private = not settings.database_url
    with with_servers(settings, redis=False) as joined:
        return asyncio.run(_run(joined.database_url, private, work))


async def _run(url: str, private: bool, work: Callable[[Database, Progress], Awaitable[T]]) -> T:
    if private:
        for revision in await migrate.upgrade(url, contract=True):
            say(f"Schema: applied {revision}")
    else:
        await migrate.require_current(url)
    database = Database(url)
    try:
        with progress() as report:
            return await work(database, report)
    finally:
        await database.close()
