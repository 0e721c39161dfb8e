"""`amity train` and `amity bundles`."""

from collections.abc import Awaitable, Callable

from service.artifacts.store import Store
from service.cli.database import in_database
from service.cli.output import answer
from service.domain import BundleRecord
from service.population.promoting import Promoting
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.settings import Settings
from service.telemetry import Progress
from service.threads import ThreadDoor


def train(settings: Settings, force: bool, seed: int, as_json: bool) -> None:
    """Train, evaluate, publish; PublishRefused when the live bundle is better."""
    from service.training import pipeline  # a second to import, which the other commands do without

    result = in_database(settings, lambda database, report: pipeline.train(settings, database, force, seed, report))
    answer(result, as_json, result.lines())


def show(settings: Settings, as_json: bool) -> None:
    """The registry, newest first."""

    async def work(database: Database, report: Progress) -> list[BundleRecord]:
        return await Bundles(database.sessions).list()

    records = in_database(settings, work)
    lines = [_line(record) for record in records] or ["no bundle yet; `amity train` makes one"]
    answer(records, as_json, lines)


def promote(settings: Settings, version: str, as_json: bool) -> None:
    """Open the bundle, check it, and point at it."""
    _move(settings, lambda promoting, live: promoting.promote(version, live), as_json)


def rollback(settings: Settings, as_json: bool) -> None:
    """Point at the bundle published before the live one."""
    _move(settings, lambda promoting, live: promoting.rollback(live), as_json)


def _move(settings: Settings, move: Callable[[Promoting, str | None], Awaitable[BundleRecord]], as_json: bool) -> None:
    async def work(database: Database, report: Progress) -> BundleRecord:
        door = ThreadDoor(1)
        try:
            promoting = Promoting(Store(settings.artifacts_url, settings.cache_path), Bundles(database.sessions), door)
            return await move(promoting, await promoting.live())
        finally:
            door.close()

    record = in_database(settings, work)
    answer(record, as_json, [f"live: {record.version}"])


def _line(record: BundleRecord) -> str:
    state = "live" if record.live else "published" if record.published_at else "not published"
    ndcg = record.metrics.get("ndcg20")
    quality = "" if ndcg is None else f"  NDCG@20 {ndcg:.3f}"
    return f"{record.version}  {record.created_at:%Y-%m-%d %H:%M}  {state}{quality}"
