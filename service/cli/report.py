"""`amity experiments report`: on the terminal, as JSON, or as a page."""

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from service.cli.database import in_database
from service.cli.output import answer, say
from service.errors import BadSetting
from service.experiments import figures
from service.experiments.reports import ArmReport, Report
from service.reporting import words
from service.reporting.building import Reports
from service.reporting.page import page
from service.repositories.arm_figures import ArmFigures
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.outcomes import ExperimentOutcomes
from service.settings import Settings
from service.telemetry import Progress
from service.threads import ThreadDoor


def show(settings: Settings, name: str, as_json: bool, html: Path | None) -> None:
    """The report on stdout, and the page where one is asked for."""
    kept_days = settings.impressions_retention_days
    report = in_database(settings, lambda database, progress: _made(database, name, kept_days, progress))
    if html is not None:
        _write(html, page(report))
    if as_json:
        answer(report, True, [])
    else:
        _print(report)


async def _made(database: Database, name: str, kept_days: int, progress: Progress) -> Report:
    sessions, door = database.sessions, ThreadDoor(1)
    reports = Reports(
        experiments=Experiments(sessions),
        outcomes=ExperimentOutcomes(sessions),
        figures=ArmFigures(sessions),
        door=door,
        kept_days=kept_days,
    )
    try:
        progress("counting and judging", 0, None)
        return await reports.of(name)
    finally:
        door.close()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise BadSetting(f"cannot write {path}: {exc.strerror}") from exc
    say(f"The page is in {path}")


def _print(report: Report) -> None:
    console = Console(highlight=False)
    of = "viewers" if report.layer is None else f"layer {report.layer}"
    status = f"{report.status}, {report.days:.1f} days, {figures.part(report.traffic)} of {of}, by {report.randomisation.unit}"
    console.print(f"{report.name}: {status}", style="bold", markup=False)
    for verdict in report.verdicts:
        console.print(verdict.text, markup=False)
        for note in verdict.notes:
            console.print(f"  {note}", markup=False)
    console.print(_arms(report), _rates(report))
    if (found := report.mismatch) is not None:
        seen = " : ".join(map(figures.count, found.units))
        told = "do not fit" if found.found else "fit"
        console.print(f"Units of the arms: {seen}; they {told} the weights (p = {found.p_value:.3g}).", markup=False)
    for kept in report.guardrails:
        console.print(f"Guardrail {kept.guardrail} of {kept.arm}: {kept.state}; {kept.text}.", markup=False)
    for line in (report.randomisation.statement, report.counting, *report.notes):
        console.print(line, markup=False)


def _arms(report: Report) -> Table:
    """A column for each arm: beside one another ten figures would be cut on a terminal of 80 letters, and in a pipe."""
    names = [f"{arm.name} (stopped)" if arm.stopped else arm.name for arm in report.arms]
    grid = Table(*(Column(name, overflow="fold") for name in ("", *names)), title="Arms", title_justify="left")
    labels = ("ranker", "viewers", "impressions", "likes", "matches", "p95", "degraded", "empty", "newcomers")
    for label, cells in zip(labels, zip(*map(_cells, report.arms), strict=True), strict=True):
        grid.add_row(label, *cells)
    return grid


def _cells(arm: ArmReport) -> list[str]:
    return [
        arm.algorithm_version,
        *map(figures.count, (arm.viewers, arm.impressions, arm.likes, arm.matches)),
        figures.milliseconds(arm.p95_ms),
        *map(figures.percent, (arm.degraded_share, arm.empty_share, arm.newcomer_share)),
    ]


def _rates(report: Report) -> Table:
    columns = [Column(name, overflow="fold") for name in ("metric", "arm", "rate", "between", "lift", "between")]
    grid = Table(*columns, title="Rates and lifts", title_justify="left")
    for metric, name in words.METRICS.items():
        for arm in report.arms:
            rate, lift = arm.rates[metric], arm.lifts.get(metric)
            shown = ["", ""] if lift is None else [figures.change(lift.value), figures.lift_range(lift)]
            own = [figures.rate(metric, rate.value), figures.rate_range(metric, rate)]
            grid.add_row(f"{name} *" if metric == report.primary else name, arm.name, *own, *shown)
    return grid
