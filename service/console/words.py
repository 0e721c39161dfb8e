"""Figures and times as people read them; the filters of the templates."""

import math
from datetime import UTC, datetime

NONE = "–"
"""Stands for what is not known, or not there."""

_AGES = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (48 * 3600, 3600, "hour"),
    (60 * 86400, 86400, "day"),
    (730 * 86400, 30 * 86400, "month"),
)
_YEAR_S = 365 * 86400


def number(value: float | None, digits: int = 0) -> str:
    """1234.5 as `1,234` or, with one digit, `1,234.5`."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    """.256 as `26 %`."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def milliseconds(value: float | None) -> str:
    """Three significant digits: `0.43 ms`, `12.3 ms`, `1.24 s`."""
    if value is None or not math.isfinite(value):
        return NONE
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} ms"


def when(at: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return NONE if at is None else f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def ago(at: datetime | None) -> str:
    """How long ago a moment was, in its largest unit: `3 hours ago`; `in 2 days` for one to come."""
    if at is None:
        return NONE
    seconds = (datetime.now(UTC) - at).total_seconds()
    size = abs(seconds)
    if size < 5:
        return "just now"
    unit_s, name = next(((unit, name) for below, unit, name in _AGES if size < below), (_YEAR_S, "year"))
    count = int(size // unit_s)
    told = f"{count} {name}{'' if count == 1 else 's'}"
    return f"{told} ago" if seconds > 0 else f"in {told}"


def iso(at: datetime) -> str:
    """For the attribute `datetime` of a `<time>`."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def hours(value: float | None) -> str:
    """A waiting time, in the unit that suits it: `25 min`, `5.5 hours`, `3 days`."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 1:
        return f"{round(value * 60)} min" if value * 60 >= 1 else f"{value * 3600:.0f} s"
    size, unit = (value, "hour") if value < 48 else (value / 24, "day")
    told = f"{size:.1f}".removesuffix(".0")
    return f"{told} {unit}{'' if told == '1' else 's'}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 person`, `2 people`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """With a capital letter and a full stop; the rest as it is, names among it."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


FILTERS = {
    "number": number,
    "percent": percent,
    "milliseconds": milliseconds,
    "when": when,
    "ago": ago,
    "iso": iso,
    "hours": hours,
    "plural": plural,
    "sentence": sentence,
}
