"""Looks at the market now and then: one replica of the fleet computes the figures, and all of them tell the newest."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from service.domain_market import QUANTILES, WINDOWS_DAYS, MarketFigures
from service.errors import AmityError
from service.market.figures import figures
from service.metrics import MARKET_COMPUTED, MARKET_GINI, MARKET_NEWCOMER_HOURS, MARKET_ROUNDS, MARKET_UNSHOWN
from service.repositories.calls import Sessions
from service.repositories.market import Market
from service.repositories.rounds import Rounds
from service.resilience import Deadline
from service.settings import Settings
from service.threads import ThreadDoor

FACT = "market_due_at"
GAUGE_DAYS = 7
"""The window that the metrics tell: a day is noisy, and a month is slow to show what went wrong."""
_LOOK_S = 30.0
"""How soon a replica tells what another one has computed."""
_LONGEST_S = 60.0

_log = structlog.get_logger("amity.market")


def now_utc() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, eq=False, kw_only=True)
class MarketWatcher:
    """One in each replica; whichever comes first when a round is due makes it. `kept_days`: of impressions. `newest`: what was
    last computed by anyone, None before the first round."""

    market: Market
    rounds: Rounds
    door: ThreadDoor
    every_s: float
    kept_days: int
    now: Callable[[], datetime] = now_utc
    newest: MarketFigures | None = field(default=None, init=False)

    @classmethod
    def of(cls, settings: Settings, sessions: Sessions, door: ThreadDoor) -> "MarketWatcher":
        return cls(
            market=Market(sessions),
            rounds=Rounds(sessions, FACT),
            door=door,
            every_s=settings.market_every_s,
            kept_days=settings.impressions_retention_days,
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        tell(None)
        while True:
            try:
                done = await self.rounds.run(self.every_s, self.round)
                MARKET_ROUNDS.labels("done" if done else "elsewhere").inc()
                await self.look()
            except AmityError as exc:
                MARKET_ROUNDS.labels("failed").inc()
                _log.warning("the market cannot be watched", reason=exc.message)
            await asyncio.sleep(min(self.every_s, _LOOK_S))

    async def round(self) -> None:
        """Compute the figures of now, and keep them for everybody. Windows that reach beyond the oldest impressions are left
        out: they would say that hardly anybody was shown."""
        began_s, until = time.monotonic(), self.now()
        windows_days = [days for days in WINDOWS_DAYS if days <= self.kept_days]
        counts = await self.market.count(until, windows_days)
        windows = await self.door.call("market", figures, counts, deadline=Deadline(_LONGEST_S), at_most=1)
        took_s = time.monotonic() - began_s
        await self.market.keep(MarketFigures(until=until, took_s=round(took_s, 3), windows=windows))
        _log.info("market computed", took_s=round(took_s, 3), newcomers=windows[-1].newcomers)

    async def look(self) -> None:
        """Read and tell what is newest."""
        self.newest = await self.market.newest()
        tell(self.newest)


def tell(newest: MarketFigures | None) -> None:
    """Set the metrics; what is not known is NaN, which no alert takes for a figure, where 0 would be one."""
    window = None if newest is None else newest.window(GAUGE_DAYS)
    exposure = None if window is None else window.exposure
    MARKET_GINI.set(_or_nan(None if exposure is None else exposure.gini))
    MARKET_UNSHOWN.set(_or_nan(None if exposure is None else exposure.unshown_share))
    MARKET_COMPUTED.set(math.nan if newest is None else newest.until.timestamp())
    for event in ("impression", "match"):
        for quantile in (f"{each:g}" for each in QUANTILES):
            hours = None if window is None else window.waiting[event].hours[quantile]
            MARKET_NEWCOMER_HOURS.labels(event, quantile).set(_or_nan(hours))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
