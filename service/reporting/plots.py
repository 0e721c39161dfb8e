"""Plots as SVG that takes its colours from the page around it: lines over days, with their intervals as bands. Pure."""

import math
from collections.abc import Callable, Sequence
from html import escape

import msgspec

from service.experiments.ratios import Estimate

WIDTH, HEIGHT = 560, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 110, 14, 38
_N_COLOURS = 6
_LABEL_PX = 15
"""Least distance of two names beside the lines."""
_LABEL_LETTERS = 15
"""As many have room beside the lines."""
_BAR_PX = 12

Say = Callable[[float], str]


class Line(msgspec.Struct, frozen=True):
    """One arm: its estimates by day, and the number of its colour."""

    name: str
    days: tuple[float, ...]
    estimates: tuple[Estimate, ...]
    colour: int


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """`baseline`: where nothing differs. `say`: a value in words. `floor` and `ceiling`: beyond which no value makes sense."""

    title: str
    lines: tuple[Line, ...]
    say: Say
    baseline: float | None = None
    floor: float = -math.inf
    ceiling: float = math.inf


class _Scale(msgspec.Struct, frozen=True):
    """From days and values to places on the picture. `last_day`: 1 at the least."""

    last_day: float
    low: float
    high: float

    def x(self, day: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (day / self.last_day)

    def y(self, value: float) -> float:
        """Cut where it would leave the picture by far, as the first days' intervals do."""
        span = self.high - self.low
        inside = min(max(value, self.low - span), self.high + span)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (inside - self.low) / span


def draw(plot: Plot, identity: str) -> str:
    """The picture; `identity` is unique on its page. Says its last values to those who cannot see it."""
    told = [line for line in plot.lines if any(estimate.value is not None for estimate in line.estimates)]
    if not told:
        return '<p class="nothing">Nothing to draw yet.</p>'
    scale = _scale(plot, told)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity}">',
        f'<title id="{identity}">{escape(_summary(plot, told))}</title>',
        f'<clipPath id="{identity}-inside"><rect x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}" '
        f'height="{HEIGHT - _TOP - _BOTTOM}"/></clipPath>',
        *_axes(plot, scale),
        f'<g clip-path="url(#{identity}-inside)">',
        *(_band(line, scale) for line in told),
        *(_path(line, scale) for line in told),
        "</g>",
        *(_points(line, scale, plot.say) for line in told),
        *_names(told, scale),
        "</svg>",
    ]
    return "\n".join(parts)


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round values from `low` to `high`, about so many."""
    raw = (high - low) / n
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * by for by in (1, 2, 2.5, 5, 10) if size * by >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(plot: Plot, lines: Sequence[Line]) -> _Scale:
    """High enough for all values, and for the intervals of the last third: the first ones are as wide as a barn door."""
    last_day = max(line.days[-1] for line in lines)
    shown: list[float] = [] if plot.baseline is None else [plot.baseline]
    for line in lines:
        for day, estimate in zip(line.days, line.estimates, strict=True):
            late = day > last_day * 2 / 3
            bounds = (estimate.value, *((estimate.low, estimate.high) if late else ()))
            shown += [value for value in bounds if value is not None]
    low, high = max(min(shown), plot.floor), min(max(shown), plot.ceiling)
    room = (high - low) * 0.08 or abs(high) * 0.5 or 1.0
    return _Scale(max(last_day, 1.0), max(low - room, plot.floor), min(high + room, plot.ceiling))


def _axes(plot: Plot, scale: _Scale) -> list[str]:
    right = WIDTH - _RIGHT
    parts = []
    for value in ticks(scale.low, scale.high):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(plot.say(value))}</text>')
    if plot.baseline is not None:
        y = scale.y(plot.baseline)
        parts.append(f'<line class="baseline" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for day in ticks(0, scale.last_day):
        x = scale.x(day)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{day:g}</text>')
    middle = (_LEFT + right) / 2
    return [*parts, f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">days since the start</text>']


def _band(line: Line, scale: _Scale) -> str:
    """The area between the intervals' ends, where there are any; open above where an end is out of sight. One alone is a bar."""
    pairs = zip(line.days, line.estimates, strict=True)
    known = [(scale.x(day), each) for day, each in pairs if each.low is not None]
    if not known:
        return ""
    if len(known) == 1:
        ((x, alone),) = known
        known = [(x - _BAR_PX / 2, alone), (x + _BAR_PX / 2, alone)]
    upper = [f"{x:.1f},{scale.y(_or_far(each.high)):.1f}" for x, each in known]
    lower = [f"{x:.1f},{scale.y(each.low or 0.0):.1f}" for x, each in reversed(known)]
    return f'<polygon class="band c{line.colour % _N_COLOURS}" points="{" ".join([*upper, *lower])}"/>'


def _or_far(value: float | None) -> float:
    return math.inf if value is None else value


def _path(line: Line, scale: _Scale) -> str:
    points = [f"{scale.x(day):.1f},{scale.y(value):.1f}" for day, value in _values(line)]
    return f'<polyline class="line c{line.colour % _N_COLOURS}" points="{" ".join(points)}"/>'


def _points(line: Line, scale: _Scale, say: Say) -> str:
    """A place to point at for each look, with what it says; the last one is drawn."""
    named = [(day, each) for day, each in zip(line.days, line.estimates, strict=True) if each.value is not None]
    dots = []
    for place, (day, each) in enumerate(named):
        last = " last" if place == len(named) - 1 else ""
        at = f'cx="{scale.x(day):.1f}" cy="{scale.y(each.value or 0.0):.1f}"'
        said = escape(f"{line.name}, day {day:.2g}: {_said(each, say)}")
        dots.append(f'<circle class="dot{last} c{line.colour % _N_COLOURS}" {at} r="4"><title>{said}</title></circle>')
    return "".join(dots)


def _names(lines: Sequence[Line], scale: _Scale) -> list[str]:
    """Beside the ends of the lines."""
    ends = sorted(((scale.y(_values(line)[-1][1]) + 4, line) for line in lines), key=lambda end: end[0])
    parts = []
    for y, (_, line) in zip(_apart([y for y, _ in ends]), ends, strict=True):
        x = scale.x(_values(line)[-1][0]) + 10
        parts.append(f'<text class="name c{line.colour % _N_COLOURS}" x="{x:.1f}" y="{y:.1f}">{escape(_short(line.name))}</text>')
    return parts


def _apart(places: list[float]) -> list[float]:
    """Ascending places pushed down where they would touch, and up again where they would leave the picture."""
    lowest = HEIGHT - 4.0
    gap = min(_LABEL_PX, (lowest - _TOP) / len(places))
    for place in range(1, len(places)):
        places[place] = max(places[place], places[place - 1] + gap)
    for place in reversed(range(len(places))):
        places[place] = min(places[place], lowest)
        lowest = places[place] - gap
    return places


def _short(name: str) -> str:
    return name if len(name) <= _LABEL_LETTERS else f"{name[: _LABEL_LETTERS - 1]}…"


def _values(line: Line) -> list[tuple[float, float]]:
    pairs = zip(line.days, line.estimates, strict=True)
    return [(day, estimate.value) for day, estimate in pairs if estimate.value is not None]


def _summary(plot: Plot, lines: Sequence[Line]) -> str:
    last = [(line.name, [each for each in line.estimates if each.value is not None][-1]) for line in lines]
    return f"{plot.title}: " + "; ".join(f"{name} {_said(estimate, plot.say)}" for name, estimate in last)


def _said(estimate: Estimate, say: Say) -> str:
    value = say(estimate.value or 0.0)
    if estimate.low is None:
        return value
    return f"{value}, between {say(estimate.low)} and {'any' if estimate.high is None else say(estimate.high)}"
