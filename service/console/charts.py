"""Charts as SVG that takes its colours from the page's style: Lorenz curves, steps, lines over days, spans of times. Pure.

Every chart comes with its rows as text: what cannot be seen can be read.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from markupsafe import Markup

from service.reporting.plots import ticks

WIDTH, HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 14, 46

Points = Sequence[tuple[float, float]]
Say = Callable[[float], str]


class Series(NamedTuple):
    """One line: its name, the number of its colour from 1 to 6, and its points, ascending by x."""

    name: str
    colour: int
    points: Points


class Chart(NamedTuple):
    """What a page shows of it: `svg`, what its kinds of lines (classes) mean, and the same as a table."""

    title: str
    note: str
    svg: Markup
    legend: Sequence[tuple[str, str]]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


class _Scale(NamedTuple):
    """From values to places in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - self.y_low) / (self.y_high - self.y_low)

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def lorenz(points: Points, unshown: float, described: str) -> Markup:
    """The share of impressions that the least shown share of people got, against the diagonal where all get the same. `unshown`:
    the share of people who got none, drawn at the foot."""
    scale = _Scale(0, 1, 0, 1)
    quarters = [0, 0.25, 0.5, 0.75, 1]
    parts = [
        *_frame(scale, [(each, _percent(each)) for each in quarters], [(each, _percent(each)) for each in quarters]),
        f'<polygon class="area s1" points="{scale.path([(0, 0), *points, (1, 1)])}"/>',
        f'<line class="equal" x1="{scale.x(0)}" y1="{scale.y(0)}" x2="{scale.x(1)}" y2="{scale.y(1)}"/>',
        f'<polyline class="line s1" points="{scale.path(points)}"/>',
        _named_x("people, the least shown first"),
    ]
    if unshown > 0:
        parts.append(f'<line class="nobody" x1="{scale.x(0)}" x2="{scale.x(unshown):.1f}" y1="{scale.y(0)}" y2="{scale.y(0)}"/>')
    return _svg(described, parts)


def steps(series: Sequence[Series], until_h: float, described: str) -> Markup:
    """The share of newcomers who have had an event, by hours since joining, up to `until_h`."""
    scale = _Scale(0, until_h, 0, 1)
    unit, name = (24.0, "days") if until_h > 48 else (1.0, "hours")
    marks = [(each * unit, f"{each:g}") for each in ticks(0, until_h / unit)]
    parts = _frame(scale, marks, [(each, _percent(each)) for each in (0, 0.25, 0.5, 0.75, 1)])
    for one in series:
        stairs = _stairs(one.points, until_h)
        parts.append(f'<polygon class="area s{one.colour}" points="{scale.path([*stairs, (until_h, 0)])}"/>')
        parts.append(f'<polyline class="line s{one.colour}" points="{scale.path(stairs)}"/>')
    return _svg(described, [*parts, _named_x(f"{name} since joining")])


def _stairs(points: Points, until: float) -> list[tuple[float, float]]:
    """From nobody at once, level until each step, to the end."""
    corners, level = [(0.0, 0.0)], 0.0
    for at, share in points:
        if at > until:
            break
        corners += [(at, level), (at, share)]
        level = share
    return [*corners, (until, level)]


def by_day(series: Sequence[Series], described: str) -> Markup:
    """Shares over days; x in seconds since 1970. One day alone is a dot."""
    known = [point for one in series for point in one.points]
    first, last = min(x for x, _ in known), max(x for x, _ in known)
    scale = _Scale(first, last if last > first else first + 86_400, 0, 1)
    marks = [(at, f"{datetime.fromtimestamp(at, UTC):%-d %b}") for at in _days(first, last)]
    parts = _frame(scale, marks, [(each, f"{each:g}") for each in (0, 0.25, 0.5, 0.75, 1)])
    for one in series:
        if len(one.points) > 1:
            parts.append(f'<polyline class="line s{one.colour}" points="{scale.path(one.points)}"/>')
        if one.points:
            x, y = one.points[-1]
            parts.append(f'<circle class="dot s{one.colour}" cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="4"/>')
    return _svg(described, parts)


def _days(first: float, last: float) -> list[float]:
    """At most five of the moments between, evenly."""
    n = min(4, int((last - first) / 86_400))
    return [first + (last - first) * place / n for place in range(n + 1)] if n else [first]


class SpanScale(NamedTuple):
    """Times in ms, by their logarithm, from `low` to `high`: powers of ten."""

    low: float
    high: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "SpanScale":
        """Wide enough for all of them; the least that is told apart is a hundredth of a ms."""
        known = [max(each, 0.01) for each in times_ms] or [1.0]
        low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
        return cls(10.0**low, 10.0 ** max(high, low + 1))

    @property
    def marks(self) -> list[float]:
        n = round(math.log10(self.high / self.low))
        return [self.low * 10**place for place in range(n + 1)]

    def at(self, time_ms: float) -> float:
        """0 to 1."""
        return math.log10(max(time_ms, self.low) / self.low) / math.log10(self.high / self.low)


_SPAN_WIDTH, _SPAN_HEIGHT, _SPAN_PAD = 240, 20, 8


def span(p50: float | None, p95: float | None, p99: float | None, scale: SpanScale) -> Markup:
    """The quantiles of one stage on a line. For the eyes alone: the same numbers stand beside it."""
    if p50 is None or p95 is None or p99 is None:
        return Markup()
    x50, x95, x99 = (_span_x(scale.at(each)) for each in (p50, p95, p99))
    y = _SPAN_HEIGHT / 2
    rules = "".join(
        f'<line class="gridline" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_SPAN_HEIGHT}"/>'
        for at in (_span_x(scale.at(mark)) for mark in scale.marks)
    )
    return Markup(
        f'<svg class="span" viewBox="0 0 {_SPAN_WIDTH} {_SPAN_HEIGHT}" aria-hidden="true" focusable="false">{rules}'
        f'<line class="reach s1" x1="{x50:.1f}" x2="{x99:.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot s1" cx="{x50:.1f}" cy="{y}" r="5"/>'
        f'<circle class="dot mid s1" cx="{x95:.1f}" cy="{y}" r="4"/>'
        f'<circle class="dot hollow s1" cx="{x99:.1f}" cy="{y}" r="4"/></svg>'
    )


def span_axis(scale: SpanScale) -> Markup:
    """The marks above a column of spans."""
    named = "".join(
        f'<text x="{_span_x(scale.at(mark)):.1f}" y="14" text-anchor="{_anchor(place, len(scale.marks))}">{_time(mark)}</text>'
        for place, mark in enumerate(scale.marks)
    )
    return Markup(
        f'<svg class="span" viewBox="0 0 {_SPAN_WIDTH} {_SPAN_HEIGHT}" aria-hidden="true" focusable="false">{named}</svg>'
    )


def _span_x(share: float) -> float:
    return _SPAN_PAD + (_SPAN_WIDTH - 2 * _SPAN_PAD) * min(share, 1.0)


def _anchor(place: int, n: int) -> str:
    return "start" if place == 0 else "end" if place == n - 1 else "middle"


def _time(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _frame(scale: _Scale, x_marks: Sequence[tuple[float, str]], y_marks: Sequence[tuple[float, str]]) -> list[str]:
    right, foot = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value, name in y_marks:
        y = scale.y(value)
        parts.append(f'<line class="gridline" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
    for place, (value, name) in enumerate(x_marks):
        anchor = "end" if place and scale.x(value) > right - 12 else "middle"
        parts.append(f'<text x="{scale.x(value):.1f}" y="{foot + 18}" text-anchor="{anchor}">{escape(name)}</text>')
    return parts


def _named_x(name: str) -> str:
    return f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(name)}</text>'


def _svg(described: str, parts: Sequence[str]) -> Markup:
    drawn = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(described)}">{drawn}</svg>')


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
