"""The market's health: how evenly people are shown, how many are shown to nobody, how long newcomers wait."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.console.charts import Chart, Series, by_day, lorenz, steps
from service.console.frame import page
from service.console.words import hours, percent
from service.controllers.routes import AnyRequest, query_of
from service.domain_market import Exposure, MarketPoint, MarketWindow, Waiting
from service.errors import DatabaseUnavailable
from service.market.watching import MarketWatcher

Days = Literal["1", "7", "28"]
WINDOWS: dict[Days, str] = {"1": "1 day", "7": "7 days", "28": "28 days"}
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
_MOMENTS_H = (1, 3, 6, 12, 24, 72, 168, 336, 672)


class MarketQuery(msgspec.Struct, frozen=True, kw_only=True):
    days: Days = "7"


@get("/market")
async def market_page(request: AnyRequest, market: NamedDependency[SkipValidation[MarketWatcher]]) -> Response[bytes]:
    """What was last computed; the curve over months only while PostgreSQL is there."""
    asked, newest = query_of(request, MarketQuery), market.newest
    window = None if newest is None else newest.window(int(asked.days))
    return page(
        request,
        "market.html",
        asked=asked,
        windows=WINDOWS,
        newest=newest,
        window=window,
        every_s=market.every_s,
        kept_days=market.kept_days,
        exposure=None if window is None or not window.exposure.lorenz else exposure_chart(window.exposure),
        waiting=None if window is None or not window.newcomers else waiting_chart(window),
        trend=await _trend(market, int(asked.days)),
    )


async def _trend(market: MarketWatcher, days: int) -> Chart | None:
    try:
        points = await market.market.by_day(days)
    except DatabaseUnavailable:
        return None
    return trend_chart(points) if any(point.unshown_share is not None for point in points) else None


def exposure_chart(exposure: Exposure) -> Chart:
    """The Lorenz curve; its table by tenths of the people."""
    unshown = exposure.unshown_share or 0.0
    told = f"Gini {exposure.gini:.2f}; the least shown half got {percent(_held_by(exposure, 0.5))} of the impressions"
    return Chart(
        title="Who gets the impressions",
        note="Share of all impressions that went to the least shown share of people. The Gini coefficient is the shaded part "
        "of the triangle.",
        svg=lorenz(exposure.lorenz, unshown, f"Lorenz curve of exposure: {told}."),
        legend=(("line s1", "As it is"), ("equal", "All equally often"), ("nobody", "Shown to nobody")),
        heads=("Least shown", "Share of impressions"),
        rows=[(percent(tenth), percent(_held_by(exposure, tenth), 1)) for tenth in _TENTHS],
    )


def _held_by(exposure: Exposure, part: float) -> float:
    """The share of impressions of the least shown `part` of the people: straight between the points of the curve."""
    people = [x for x, _ in exposure.lorenz]
    place = min(bisect_right(people, part), len(people) - 1)
    (x0, y0), (x1, y1) = exposure.lorenz[place - 1], exposure.lorenz[place]
    return y0 + (y1 - y0) * (part - x0) / (x1 - x0) if x1 > x0 else y1


def waiting_chart(window: MarketWindow) -> Chart:
    """How many newcomers have been shown and have matched, by the time since they joined."""
    until_h = window.days * 24.0
    events = (("shown", 1, window.waiting["impression"]), ("matched", 2, window.waiting["match"]))
    told = "; ".join(f"{percent(_share_by(one, until_h))} {name} by the end" for name, _, one in events)
    return Chart(
        title="How long newcomers wait",
        note="Share of newcomers who were shown to somebody, and who have a match, by the time since they joined. Who still "
        "waits counts as waiting (Kaplan-Meier).",
        svg=steps([Series(name, colour, one.curve) for name, colour, one in events], until_h, f"Newcomers over time: {told}."),
        legend=(("line s1", "First impression"), ("line s2", "First match")),
        heads=("Within", "Shown", "Matched"),
        rows=[
            (hours(moment), *(percent(_share_by(one, moment), 1) for _, _, one in events))
            for moment in _MOMENTS_H
            if moment <= until_h
        ],
    )


def _share_by(waiting: Waiting, moment_h: float) -> float:
    place = bisect_right([at for at, _ in waiting.curve], moment_h)
    return waiting.curve[place - 1][1] if place else 0.0


def trend_chart(points: Sequence[MarketPoint]) -> Chart:
    """Gini and the share of the unshown, a point a day."""
    gini = [(point.until.timestamp(), point.gini) for point in points if point.gini is not None]
    unshown = [(point.until.timestamp(), point.unshown_share) for point in points if point.unshown_share is not None]
    return Chart(
        title="Day by day",
        note="The last figures of each day, for the same window, over the last three months.",
        svg=by_day(
            [Series("Gini", 1, gini), Series("Shown to nobody", 2, unshown)],
            f"Gini and share of people shown to nobody over {len(points)} days; the table has the figures.",
        ),
        legend=(("line s1", "Gini"), ("line s2", "Share shown to nobody")),
        heads=("Day", "Gini", "Shown to nobody"),
        rows=[
            (
                f"{point.until:%-d %b %Y}",
                "–" if point.gini is None else f"{point.gini:.3f}",
                percent(point.unshown_share, 1),
            )
            for point in reversed(points)
        ],
    )
