"""How fast and how whole answers are, all replicas together, or this one."""

from typing import Any, Literal, NamedTuple

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.console.charts import SpanScale, span, span_axis
from service.console.frame import page
from service.console.held import ConsoleHeld
from service.controllers.routes import AnyRequest, query_of
from service.errors import Unavailable
from service.recommend.fleet_performance import FleetPerformance
from service.recommend.performance import Performance, PerformanceReport

Window = Literal["60", "600", "3600"]
Scope = Literal["fleet", "replica"]


class _Pace(NamedTuple):
    """`every_s`: how often a page that is looked at asks anew. Figures of an hour are up to 5 MB a busy replica in Redis, so
    they are asked for seldom, and in all cases once for everybody who looks."""

    label: str
    every_s: int


WINDOWS: dict[Window, _Pace] = {
    "60": _Pace("1 minute", 2),
    "600": _Pace("10 minutes", 5),
    "3600": _Pace("1 hour", 30),
}
_STAGES = (
    *("pool", "viewer", "relations", "mask", "retrieval", "source", "features", "ranking", "store"),
    *("eligibility", "selection", "profiles"),
)
"""In the order of a request; what is not named here comes after. `source` is that of each source, `source:explore` say."""


class PerformanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    window: Window = "60"
    scope: Scope = "fleet"
    live: Literal["on", "off"] = "on"


@get("/performance")
async def performance_page(
    request: AnyRequest,
    performance: NamedDependency[SkipValidation[Performance]],
    fleet_performance: NamedDependency[SkipValidation[FleetPerformance]],
    console_held: NamedDependency[SkipValidation[ConsoleHeld]],
) -> Response[bytes]:
    asked = query_of(request, PerformanceQuery)
    report, is_alone = await _report(asked, performance, fleet_performance, console_held)
    return page(
        request,
        "performance.html",
        asked=asked,
        windows=WINDOWS,
        pace=WINDOWS[asked.window],
        report=report,
        is_alone=is_alone,
        **_drawn(report),
    )


async def _report(
    asked: PerformanceQuery, own: Performance, fleet: FleetPerformance, held: ConsoleHeld
) -> tuple[PerformanceReport, bool]:
    """The report, and whether it is this replica's though the fleet's was asked for: Redis is away."""
    window_s = int(asked.window)
    if asked.scope == "replica":
        return own.report(window_s), False
    try:
        return await held.performance.get(asked.window, WINDOWS[asked.window].every_s, lambda: fleet.report(window_s)), False
    except Unavailable:
        return own.report(window_s), True


def _drawn(report: PerformanceReport) -> dict[str, Any]:
    """The rows of both tables, their quantiles drawn on one scale each."""
    stages = sorted(report.stages.items(), key=_order)
    stage_scale = SpanScale.of([each for _, one in stages for each in (one.p50_ms, one.p99_ms) if each is not None])
    return {
        "stages": [(name, one, span(one.p50_ms, one.p95_ms, one.p99_ms, stage_scale)) for name, one in stages],
        "stage_axis": span_axis(stage_scale),
        "algorithms": list(report.by_algorithm_version.items()),
    }


def _order(named: tuple[str, object]) -> tuple[int, str]:
    name, kind = named[0], named[0].partition(":")[0]
    return (_STAGES.index(kind) if kind in _STAGES else len(_STAGES), name)
