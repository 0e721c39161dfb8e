"""An import that is killed goes on where it was, and leaves what an undisturbed one leaves."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.errors import DatabaseUnavailable
from service.repositories import bulk
from service.repositories.database import Database
from service.repositories.locks import WRITERS
from service.telemetry import silent
from service.transfer import importer, read_csv
from service.transfer.importer import ImportRequest
from tests.integration.transfer_world import contents, fetch, write_interactions, write_people

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2024, 1, 1, tzinfo=UTC)

CHILD = """
import asyncio, sys, time
from pathlib import Path
from service.repositories.database import Database
from service.transfer import importer, read_csv

read_csv.BLOCK_BYTES["interactions"] = 4000

def slowly(step, done, total):
    print(done, flush=True)
    time.sleep(0.02)

async def main():
    database = Database(sys.argv[1])
    await importer.run(database, importer.ImportRequest(interactions=Path(sys.argv[2])), slowly)
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(database_url)
    people = write_people(tmp_path / "p.csv", [{"id": i, "name": f"Person {i}"} for i in range(1, 61)])
    await importer.run(opened, ImportRequest(people=people), silent)
    yield opened
    await opened.close()


def history(folder: Path) -> Path:
    """3,540 likes with an unknown person in every fiftieth, about 40 batches of 4,000 bytes."""
    pairs = [(a, b) for a in range(1, 61) for b in range(1, 61) if a != b]
    rows = [(a, b if i % 50 else 1000 + i, "like", START + timedelta(seconds=i)) for i, (a, b) in enumerate(pairs)]
    return write_interactions(folder / "i.csv", rows)


def kill_in_the_middle(url: str, path: Path, n_batches: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(n_batches):
        assert child.stdout.readline(), "the import ended before it was to be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()


async def wait_until_rolled_back(url: str) -> None:
    """PostgreSQL notices a killed client within moments; its transaction holds the lock of all writers until then."""
    await fetch(url, f"select pg_advisory_xact_lock({WRITERS})")


async def test_a_killed_import_goes_on_where_it_was(database: Database, tmp_path: Path) -> None:
    path = history(tmp_path)
    for n_batches in (5, 9):
        kill_in_the_middle(database.url, path, n_batches)
        await wait_until_rolled_back(database.url)
    [(done, n_stored)] = await fetch(
        database.url,
        "select done_records, (select count(*) from interactions) from imports where fingerprint like 'interactions%'",
    )
    rejects = tmp_path / "i.csv.rejects.csv"
    rejects.write_bytes(rejects.read_bytes() + b"left over from a batch that was not committed\n" * 1000)
    report = await importer.run(database, ImportRequest(interactions=path), silent)
    [file] = report.files
    assert 0 < file.resumed_from == done < 3540
    assert n_stored < done
    assert (file.read, file.recorded, file.repeated, file.rejected) == (3540, 3469, 0, 71)
    lines = rejects.read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [i + 2 for i in range(0, 3540, 50)]
    assert len((await contents(database.url))["interactions"]) == 3469


async def test_without_its_rejects_file_a_killed_import_begins_again(database: Database, tmp_path: Path) -> None:
    path = history(tmp_path)
    kill_in_the_middle(database.url, path, 5)
    await wait_until_rolled_back(database.url)
    (tmp_path / "i.csv.rejects.csv").unlink()
    report = await importer.run(database, ImportRequest(interactions=path), silent)
    assert (report.files[0].resumed_from, report.files[0].rejected) == (0, 71)
    assert len((tmp_path / "i.csv.rejects.csv").read_text().splitlines()) == 72


async def test_a_file_that_was_imported_whole_is_applied_from_its_beginning(database: Database, tmp_path: Path) -> None:
    path = history(tmp_path)
    await importer.run(database, ImportRequest(interactions=path), silent)
    report = await importer.run(database, ImportRequest(interactions=path), silent)
    assert (report.files[0].resumed_from, report.files[0].repeated, report.files[0].rejected) == (0, 3469, 71)


async def test_nothing_of_a_batch_is_in_when_its_mark_cannot_be(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"interactions": 4000})
    taken: list[bulk.Mark] = []
    real = bulk._mark

    async def fails_at_the_fourth(connection: object, mark: bulk.Mark) -> None:
        taken.append(mark)
        if len(taken) == 4:
            raise ConnectionRefusedError
        await real(connection, mark)

    monkeypatch.setattr(bulk, "_mark", fails_at_the_fourth)
    with pytest.raises(DatabaseUnavailable):
        await importer.run(database, ImportRequest(interactions=history(tmp_path)), silent)
    assert len((await contents(database.url))["interactions"]) == taken[2].state["recorded"] < taken[3].state["recorded"]
