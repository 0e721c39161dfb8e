"""How the market does, as the rooms of the house hand it to one another: who is shown, and how long newcomers wait."""

from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

WINDOWS_DAYS = (1, 7, 28)
"""The windows that are looked at, ascending."""
QUANTILES = (0.5, 0.9)
"""Of the newcomers' waiting times."""

Event = Literal["impression", "match"]
Points = tuple[tuple[float, float], ...]


class TimesShown(msgspec.Struct, frozen=True, eq=False):
    """How often active people were shown within one window: `people[i]` of them `times[i]` times, 0 times too; int64 (n,)."""

    times: Ints
    people: Ints


class Arrivals(msgspec.Struct, frozen=True, eq=False):
    """One row for each active person who joined in the longest window; int64 (n,), microseconds. `age_us`: since joining;
    `shown_us`, `matched_us`: from joining to the first impression and the first match that stands, -1 where there is none yet."""

    age_us: Ints
    shown_us: Ints
    matched_us: Ints


class MarketCounts(msgspec.Struct, frozen=True, eq=False):
    """What the database counted up to `until`: times shown by days of the window, and who arrived."""

    until: datetime
    shown: dict[int, TimesShown]
    arrivals: Arrivals


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """How impressions are spread over the `people` who are active now; `unshown` of them had none. `gini`: 0 where all were shown
    equally often, towards 1 where one had everything. `lorenz`: from (0, 0) to (1, 1), the share of impressions that went to the
    least shown share of people. `top_tenth`, `top_hundredth`: the shares of impressions that went to the most shown 10 and 1 %.
    None where nobody was shown."""

    people: int
    unshown: int
    impressions: int
    gini: float | None
    top_tenth: float | None
    top_hundredth: float | None
    lorenz: Points

    @property
    def unshown_share(self) -> float | None:
        return self.unshown / self.people if self.people else None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """How long newcomers wait for an event. `seen`: for how many it has come. `hours`: by quantile, None where fewer than that
    share of newcomers can be told to have had it. `curve`: (hours since joining, share who have had it by
    then), a step at each."""

    seen: int
    hours: dict[str, float | None]
    curve: Points


class MarketWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of `days`. `newcomers`: active people who joined in it."""

    days: int
    exposure: Exposure
    newcomers: int
    waiting: dict[Event, Waiting]


class MarketFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All windows that end at `until`; those that reach further back than impressions are kept are left out."""

    until: datetime
    took_s: float
    windows: tuple[MarketWindow, ...]

    def window(self, days: int) -> MarketWindow | None:
        return next((each for each in self.windows if each.days == days), None)


class MarketPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The last figures of a day, for the curve over months."""

    until: datetime
    gini: float | None
    unshown_share: float | None
