"""How things stand, at a glance: what serves, what is away, and what somebody should look at."""

from datetime import UTC, datetime, timedelta

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.console.frame import page
from service.console.plugins import RankerRow, SourceRow, ranker_rows, source_rows
from service.controllers.operations import Readiness
from service.controllers.routes import AnyRequest
from service.controllers.shapes import Ready
from service.domain import BundleRecord
from service.errors import AmityError
from service.plugins import Installed, InstalledSource
from service.population.promoting import Promoting, live_of
from service.recommend.performance import Performance
from service.recommend.ports import ModelSource
from service.recommend.stages import Breakers
from service.settings import Settings

WINDOW_S = 60
OLD = timedelta(days=7)
"""Age of a live bundle from which on it is worth a word: taste and people have moved on."""
_AWAY = {
    "database": "PostgreSQL does not answer: recommendations come from memory, and writes are refused.",
    "redis": "Redis does not answer: every recommendation is computed afresh.",
}


class Concern(msgspec.Struct, frozen=True):
    """Something to look at; `level` is `bad` or `warn`, `path` the page that tells more."""

    level: str
    message: str
    path: str | None = None


class Overview(Controller):
    path = "/"

    @get("/")
    async def show(
        self,
        request: AnyRequest,
        readiness: NamedDependency[SkipValidation[Readiness]],
        promoting: NamedDependency[SkipValidation[Promoting]],
        performance: NamedDependency[SkipValidation[Performance]],
        models: NamedDependency[SkipValidation[ModelSource]],
        breakers: NamedDependency[SkipValidation[Breakers]],
        sources: NamedDependency[SkipValidation[Installed[InstalledSource]]],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> Response[bytes]:
        ready = await readiness.report()
        live = await _live(promoting)
        rankers, sourced = ranker_rows(models, breakers, settings), source_rows(sources, breakers)
        return page(
            request,
            "overview.html",
            ready=ready,
            live=live,
            figures=performance.report(WINDOW_S),
            rankers=rankers,
            sources=sourced,
            concerns=concerns(ready, live, rankers, sourced),
        )


def concerns(
    ready: Ready, live: BundleRecord | None, rankers: list[RankerRow], sources: list[SourceRow], now: datetime | None = None
) -> list[Concern]:
    """What somebody should look at, the worst first. Empty: all is well. `live` may be None, too, because the database is
    away."""
    found = [Concern("bad", _AWAY.get(name, f"{name} does not answer.")) for name in ready.degraded]
    found += [_open(f"The ranker {one.name}", one.breaker) for one in rankers if one.breaker != "closed"]
    found += [_open(f"The reasons of {one.name}", one.explain_breaker) for one in rankers if one.explain_breaker == "open"]
    found += [_open(f"The source {one.name}", one.breaker) for one in sources if one.breaker != "closed"]
    if ready.bundle_version is None:
        message = "No bundle serves: people are ranked without anything learnt. The command amity train makes one."
        return [*found, Concern("warn", message, "/console/bundles")]
    if live is not None and live.version != ready.bundle_version:
        found.append(
            Concern("warn", f"{live.version} is live, and this replica serves {ready.bundle_version}.", "/console/bundles")
        )
    if live is not None and (now or datetime.now(UTC)) - live.created_at > OLD:
        found.append(Concern("warn", "The live bundle is more than a week old.", "/console/bundles"))
    found += [Concern("warn", f"The ranker {one.name} is not loaded.", "/console/plug-ins") for one in rankers if one.problem]
    return found


def _open(what: str, breaker: str | None) -> Concern:
    told = "failed lately and is not asked" if breaker == "open" else "failed lately and is asked once more"
    return Concern("bad" if breaker == "open" else "warn", f"{what} {told}.", "/console/plug-ins")


async def _live(promoting: Promoting) -> BundleRecord | None:
    try:
        return live_of(await promoting.records())
    except AmityError:
        return None  # the database is away, which the page says already
