"""Figures as people read them: one way for verdicts of guardrails, the table and the page."""

from service.experiments.ratios import Estimate, Lift

NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def part(share: float) -> str:
    """A share that somebody has chosen: as many digits as it has."""
    return f"{100 * share:g} %"


def change(lift: float | None) -> str:
    """A relative difference, such as +4.2 %, with a true minus."""
    if lift is None:
        return NOTHING
    text = f"{100 * lift:+.1f} %".replace("-", "−")
    return "0 %" if text[1:] == "0.0 %" else text


def rate(metric: str, value: float | None) -> str:
    """Matches per viewer are a number; the others are shares."""
    if value is None:
        return NOTHING
    return f"{value:.3g}" if metric == "matches_per_viewer" else percent(value, 2)


def rate_range(metric: str, estimate: Estimate) -> str:
    if estimate.low is None:
        return NOTHING
    return f"{rate(metric, estimate.low)} to {'any' if estimate.high is None else rate(metric, estimate.high)}"


def lift_range(lift: Lift | Estimate) -> str:
    if lift.low is None:
        return NOTHING
    return f"{change(lift.low)} to {'any' if lift.high is None else change(lift.high)}"


def milliseconds(ms: float | None) -> str:
    return NOTHING if ms is None else f"{ms:.3g} ms"


def count(number: int) -> str:
    return f"{number:,}"
