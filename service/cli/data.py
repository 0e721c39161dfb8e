"""`amity import`, `export` and `demo`."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

import typer

from service.cli.database import in_database
from service.cli.output import answer
from service.errors import BadSetting
from service.settings import Settings
from service.transfer import demo, exporter, importer


@dataclass(frozen=True)
class ImportFiles:
    people: Path | None
    interactions: Path | None
    rejects: Path | None
    max_rejects: int


def import_files(settings: Settings, files: ImportFiles, as_json: bool) -> None:
    """Import, report, and exit with 1 when more rows were refused than allowed; what was good is in."""
    _require_a_file(files.people, files.interactions)
    request = importer.ImportRequest(
        people=files.people, interactions=files.interactions, max_rejects=files.max_rejects, rejects=files.rejects
    )
    result = in_database(settings, lambda database, report: importer.run(database, request, report))
    answer(result, as_json, result.lines())
    if not result.ok:
        raise typer.Exit(1)


def export_files(settings: Settings, people: Path | None, interactions: Path | None, as_json: bool) -> None:
    """Export what is asked for."""
    _require_a_file(people, interactions)
    result = in_database(settings, lambda database, report: exporter.run(database, people, interactions, report))
    answer(result, as_json, result.lines())


def fill_demo(settings: Settings, n_people: int, seed: int, as_json: bool) -> None:
    """Fill an empty database with the demo population, whose last day is yesterday."""
    reference = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
    population = demo.DemoRequest(n_people=n_people, seed=seed, reference=reference)
    result = in_database(settings, lambda database, report: demo.fill(database, population, report))
    answer(result, as_json, result.lines())


def _require_a_file(people: Path | None, interactions: Path | None) -> None:
    if people is None and interactions is None:
        raise BadSetting("name a file with --people, --interactions, or both")
