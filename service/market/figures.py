"""The figures of all windows out of what the database counted. Pure; a quarter of a second for a million newcomers."""

from service.domain_market import Arrivals, MarketCounts, MarketWindow
from service.market.exposure import spread
from service.market.survival import waiting

_US_PER_DAY = 86_400_000_000


def figures(counts: MarketCounts) -> tuple[MarketWindow, ...]:
    """One for each window that was counted, the shortest first."""
    return tuple(_window(days, counts) for days in sorted(counts.shown))


def _window(days: int, counts: MarketCounts) -> MarketWindow:
    arrivals = _within(days, counts.arrivals)
    return MarketWindow(
        days=days,
        exposure=spread(counts.shown[days]),
        newcomers=len(arrivals.age_us),
        waiting={
            "impression": waiting(arrivals.shown_us, arrivals.age_us),
            "match": waiting(arrivals.matched_us, arrivals.age_us),
        },
    )


def _within(days: int, arrivals: Arrivals) -> Arrivals:
    those = arrivals.age_us <= days * _US_PER_DAY
    return Arrivals(arrivals.age_us[those], arrivals.shown_us[those], arrivals.matched_us[those])
