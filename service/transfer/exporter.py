"""`amity export`: all people and what stands between them, in the formats that import reads.

Imported into an empty database, the files give the same people, interactions and matches; imported where they came from,
they change nothing. Not in them: slates, incarnations, impressions and the recording times.
"""

import time
from pathlib import Path

from service.repositories.bulk_read import Snapshot, snapshot
from service.repositories.database import Database
from service.telemetry import Progress
from service.transfer.layouts import INTERACTIONS, PEOPLE, Layout
from service.transfer.readers import format_of
from service.transfer.reports import ExportedFile, ExportReport
from service.transfer.writers import open_writer


async def run(database: Database, people: Path | None, interactions: Path | None, report: Progress) -> ExportReport:
    """Write the files that are asked for, both of one moment, in the format of their extensions.

    Raises ImportRefused for an unknown extension, OperatorError for a file that cannot be written, and DatabaseUnavailable.
    """
    wanted = [(layout, path) for layout, path in ((PEOPLE, people), (INTERACTIONS, interactions)) if path is not None]
    for _, path in wanted:
        format_of(path)
    files = []
    async with snapshot(database.sessions) as moment:
        for layout, path in wanted:
            files.append(await _export(moment, layout, path, report))
    return ExportReport(files=tuple(files))


async def _export(moment: Snapshot, layout: Layout, path: Path, report: Progress) -> ExportedFile:
    started_s = time.perf_counter()
    step = f"Exporting {layout.kind}"
    total = moment.n_people if layout is PEOPLE else moment.n_interactions
    done = 0
    report(step, 0, total)
    with open_writer(path, layout) as write:
        async for rows in moment.people() if layout is PEOPLE else moment.interactions():
            write(rows)
            done += len(rows)
            report(step, done, total)
    report(step, done, max(done, total))
    return ExportedFile(kind=layout.kind, path=str(path), records=done, seconds=time.perf_counter() - started_s)
