"""A report as a page that stands by itself: no script, no request, readable without seeing the plots. Pure."""

from collections.abc import Iterable, Sequence
from functools import partial
from html import escape

from service.experiments import figures
from service.experiments.ratios import Estimate
from service.experiments.reports import ArmReport, Report
from service.experiments.verdict import Verdict
from service.reporting import words
from service.reporting.plots import Line, Plot, draw
from service.reporting.style import CSS

_KINDS = {
    "better": "Better",
    "worse": "Worse",
    "no_difference": "No difference that matters",
    "not_enough_data": "Not enough data",
    "mismatch": "Do not trust this experiment",
    "stopped": "Stopped",
}
_SERVED = ("median", "p95", "degraded", "empty", "newcomers")
_NOT_YET = Estimate(value=None)


def page(report: Report) -> str:
    """The whole document. Names are escaped; what they are made of is bounded elsewhere."""
    title = f"{report.name}: report of an experiment"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + f"{_head(report)}\n{sections(report)}\n</main>\n</body>\n</html>\n"
    )


def sections(report: Report) -> str:
    """All that stands under the heading, for pages that have a head and a look of their own."""
    parts = (
        *(_verdict(verdict) for verdict in report.verdicts),
        _plots(report),
        _rates(report),
        _arms(report),
        _guardrails(report),
        _trust(report),
    )
    return "\n".join(part for part in parts if part)


def _head(report: Report) -> str:
    design = "interleaving" if report.design == "interleaving" else f"A/B by {report.randomisation.unit}"
    until = "now" if report.status == "running" else "the stop"
    facts = [
        design,
        report.status,
        f"{figures.part(report.traffic)} of {'viewers' if report.layer is None else f'layer {report.layer}'}",
        f"{report.started_at:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC ({until}), {report.days:.1f} days",
    ]
    return f'<h1>{escape(report.name)}</h1>\n<p class="soft">{escape(" · ".join(facts))}</p>'


def _verdict(verdict: Verdict) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in verdict.notes)
    listed = f"<ul>{notes}</ul>" if notes else ""
    heading = f"{verdict.arm}: {_KINDS[verdict.kind]}"
    said = f"<strong>{escape(heading)}</strong><p>{escape(verdict.text)}</p>{listed}"
    return f'<section class="verdict {verdict.kind}">{said}</section>'


def _plots(report: Report) -> str:
    plots = _preference_plots(report) if report.interleaved is not None else _arm_plots(report)
    drawn = "\n".join(
        f"<figure><figcaption>{escape(plot.title)} <span>{escape(told)}</span></figcaption>{draw(plot, f'plot{number}')}</figure>"
        for number, (plot, told) in enumerate(plots)
    )
    return f'<h2>Day by day</h2>\n<div class="plots">{drawn}</div>\n{_looks(report, [plot for plot, _ in plots])}'


def _arm_plots(report: Report) -> list[tuple[Plot, str]]:
    names, days = [arm.name for arm in report.arms], tuple(look.days for look in report.looks)
    plots = []
    for metric, name in words.METRICS.items():
        lifts = tuple(
            Line(arm, days, tuple(look.lifts.get(arm, {}).get(metric, _NOT_YET) for look in report.looks), colour)
            for colour, arm in enumerate(names)
            if colour
        )
        rates = tuple(
            Line(arm, days, tuple(look.rates.get(arm, {}).get(metric, _NOT_YET) for look in report.looks), colour)
            for colour, arm in enumerate(names)
        )
        lift = Plot(title=f"Lift of {name}", lines=lifts, say=figures.change, baseline=0.0, floor=-1.0)
        rate = Plot(title=name.capitalize(), lines=rates, say=partial(figures.rate, metric), floor=0.0)
        plots += [(lift, "against the control, with its interval"), (rate, "so far, with intervals")]
    return plots


def _preference_plots(report: Report) -> list[tuple[Plot, str]]:
    """As the share of the second arm: a preference of -1 to 1 is 0 to 100 %."""
    days, new = tuple(look.days for look in report.looks), report.arms[1].name
    return [
        (
            Plot(
                title=f"Share of {kind} that went to {new}'s people",
                lines=(Line(new, days, tuple(_share(look.preferences.get(kind, _NOT_YET)) for look in report.looks), 1),),
                say=figures.percent,
                baseline=0.5,
                floor=0.0,
                ceiling=1.0,
            ),
            "50 % is no preference",
        )
        for kind in ("likes", "matches")
    ]


def _share(preference: Estimate) -> Estimate:
    low, value, high = (
        None if bound is None else (1 + bound) / 2 for bound in (preference.low, preference.value, preference.high)
    )
    return Estimate(value=value, low=low, high=high)


def _looks(report: Report, plots: Sequence[Plot]) -> str:
    """The plots' figures, for who would rather read."""
    columns = [(plot, line) for plot in plots for line in plot.lines]
    heads = ["day", *(f"{plot.title}: {line.name}" for plot, line in columns)]
    rows = [
        [f"{look.days:g}", *(_told(line.estimates[number], plot) for plot, line in columns)]
        for number, look in enumerate(report.looks)
    ]
    return f"<details><summary>The same as a table</summary>{_table('Looks', heads, rows)}</details>"


def _told(estimate: Estimate, plot: Plot) -> str:
    if estimate.value is None:
        return figures.NOTHING
    if estimate.low is None:
        return plot.say(estimate.value)
    high = "any" if estimate.high is None else plot.say(estimate.high)
    return f"{plot.say(estimate.value)} ({plot.say(estimate.low)} to {high})"


def _rates(report: Report) -> str:
    """Two rankers that share their slates have no lifts."""
    compared = any(arm.lifts for arm in report.arms)
    heads = ["Metric", "Arm", "Rate", "Interval", *(["Lift", "Interval", "p"] if compared else [])]
    rows = []
    for metric, name in words.METRICS.items():
        for place, arm in enumerate(report.arms):
            label = f"{name.capitalize()}{' (decides)' if metric == report.primary else ''}" if not place else ""
            lifts = _lift_cells(arm, metric) if compared else []
            rate = arm.rates[metric]
            rows.append([label, arm.name, figures.rate(metric, rate.value), figures.rate_range(metric, rate), *lifts])
    heading = "Rates and lifts" if compared else "Rates"
    return f"<h2>{heading}</h2>\n{_table(heading, heads, rows, n_text=2)}"


def _lift_cells(arm: ArmReport, metric: str) -> list[str]:
    lift = arm.lifts.get(metric)
    if lift is None:
        return [""] * 3
    return [figures.change(lift.value), figures.lift_range(lift), _p(lift.p_value)]


def _p(p_value: float | None) -> str:
    if p_value is None:
        return figures.NOTHING
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _arms(report: Report) -> str:
    heads = ["Arm", "Ranker", "Viewers", "Slates", "Impressions", "Likes", "Matches", *(name.capitalize() for name in _SERVED)]
    rows = [
        [
            f"{arm.name} (stopped)" if arm.stopped else arm.name,
            arm.algorithm_version,
            *map(figures.count, (arm.viewers, arm.slates, arm.impressions, arm.likes, arm.matches)),
            *map(figures.milliseconds, (arm.p50_ms, arm.p95_ms)),
            *map(figures.percent, (arm.degraded_share, arm.empty_share, arm.newcomer_share)),
        ]
        for arm in report.arms
    ]
    return f"<h2>Arms</h2>\n{_table('Arms', heads, rows, n_text=2)}"


def _guardrails(report: Report) -> str:
    if not report.guardrails:
        return ""
    rows = [[kept.guardrail, kept.arm, kept.state, kept.text] for kept in report.guardrails]
    return f"<h2>Guardrails</h2>\n{_table('Guardrails', ['Guardrail', 'Arm', 'State', 'What is seen'], rows, n_text=4)}"


def _trust(report: Report) -> str:
    """What it rests on."""
    lines = [report.randomisation.statement, report.counting, *report.notes]
    if (found := report.mismatch) is not None:
        seen, expected = " : ".join(map(figures.count, found.units)), " : ".join(f"{units:,.0f}" for units in found.expected)
        told = "That cannot be chance." if found.found else "That may well be chance."
        lines.insert(1, f"Sizes of the arms: {seen} seen, {expected} by their weights (p = {found.p_value:.3g}). {told}")
    return "<h2>What this rests on</h2>\n" + "\n".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], n_text: int = 1) -> str:
    """The first `n_text` columns are words; a table wider than the screen can be scrolled by keys."""
    head = "".join(f'<th scope="col"{_text(place, n_text)}>{escape(text)}</th>' for place, text in enumerate(heads))
    body = "\n".join(f"<tr>{_cells(row, n_text)}</tr>" for row in rows)
    label = escape(name, quote=True)
    table = f'<table aria-label="{label}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'


def _cells(row: Sequence[str], n_text: int) -> str:
    first = f'<th scope="row">{escape(row[0])}</th>'
    return first + "".join(f"<td{_text(place, n_text)}>{escape(text)}</td>" for place, text in enumerate(row[1:], 1))


def _text(place: int, n_text: int) -> str:
    return ' class="text"' if 0 < place < n_text else ""
