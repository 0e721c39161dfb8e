"""Files into a real database: what gets in, what is refused, and that doing it again changes nothing."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.errors import ImportRefused
from service.repositories.database import Database
from service.repositories.users import Users
from service.telemetry import silent
from service.transfer import importer, read_csv
from service.transfer.importer import ImportRequest
from service.transfer.reports import ImportReport
from tests.integration.transfer_world import contents, fetch, write_interactions, write_people

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


def people(n: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"Person {i}", "created_at": NOON} | fields for i in range(1, n + 1)]


async def imported(database: Database, people: Path | None = None, interactions: Path | None = None) -> ImportReport:
    return await importer.run(database, ImportRequest(people=people, interactions=interactions), silent)


def refused(path: Path) -> list[tuple[str, str]]:
    with path.with_name(f"{path.name}.rejects.csv").open(newline="") as file:
        return [(row["line"], row["reason"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("extension", ["csv", "jsonl", "ndjson.gz", "parquet"])
async def test_a_person_arrives_whole_in_every_format(database: Database, tmp_path: Path, extension: str) -> None:
    row = {
        "id": 2**63 - 1,
        "name": 'Zoë "Z" O\'Hara',
        "age": 28,
        "gender": "female",
        "location": "São Paulo; centre",
        "latitude": -23.55,
        "longitude": -46.633,
        "bio": "two\nlines, \\N and {braces}",
        "interests": ['a "b"', "c\\d", "e;f"],
        "created_at": NOON,
        "last_active_at": NOON.replace(microsecond=123456),
        "seeks_genders": ["male"],
        "seeks_min_age": 25,
        "seeks_max_age": 40,
        "seeks_max_km": 12.5,
        "status": "paused",
    }
    report = await imported(database, write_people(tmp_path / f"p.{extension}", [row]))
    assert (await contents(database.url))["users"] == [tuple(row.values())]
    assert (report.files[0].new, report.ok) == (1, True)


async def test_every_refused_line_is_named_and_the_rest_is_in(database: Database, tmp_path: Path) -> None:
    write_people(tmp_path / "p.csv", people(3))
    path = tmp_path / "i.csv"
    path.write_bytes(
        b"actor_id,target_id,kind,occurred_at\n"
        b"1,2,like,2024-01-01\n"
        b"1,1,like,2024-01-01\n"
        b"1,9,like,2024-01-01\n"
        b"8,9,like,2024-01-01\n"
        b"actor_id,target_id,kind,occurred_at\n"
        b"1,3,like,2024\x00\n"
        b"1,3,nod,2024-01-01\n"
        b"2,3,pass,2024-01-01\n"
        b"2,1"
    )
    report = await imported(database, tmp_path / "p.csv", path)
    assert [(line, reason[:30]) for line, reason in refused(path)] == [
        ("3", "an interaction with oneself"),
        ("4", "there is nobody with target_id"),
        ("5", "there is nobody with actor_id "),
        ("6", "a second header"),
        ("7", "occurred_at must be an ISO 860"),
        ("8", "kind must be one of like, pass"),
        ("10", "2 fields instead of 4"),
    ]
    stored = (await contents(database.url))["interactions"]
    assert [(row[0], row[1], row[4]) for row in stored] == [(1, 2, "like"), (2, 3, "pass")]
    assert (report.ok, report.rejected, report.files[1].read, report.files[1].recorded) == (False, 7, 9, 2)


async def test_as_many_refusals_as_allowed_are_a_success(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,name,age\n1,Ann,999\n2,Bob,30\n")
    folder = tmp_path / "rejects"
    folder.mkdir()
    report = await importer.run(database, ImportRequest(people=path, max_rejects=1, rejects=folder), silent)
    assert (report.ok, report.files[0].rejects_path) == (True, str(folder / "p.csv.rejects.csv"))


async def test_importing_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    files = (
        write_people(tmp_path / "p.csv", people(4, interests=["a"], age=30)),
        write_interactions(
            tmp_path / "i.csv",
            [
                (1, 2, "like", NOON),
                (2, 1, "like", NOON),
                (1, 3, "message", NOON),
                (1, 3, "message", NOON, "m1"),
                (3, 4, "view", NOON),
            ],
        ),
    )
    first = await imported(database, *files)
    before = await contents(database.url)
    n_changes = await fetch(database.url, "select count(*) from changes")
    second = await imported(database, *files)
    assert await contents(database.url) == before
    assert await fetch(database.url, "select count(*) from changes") == n_changes
    assert (first.files[0].new, first.files[1].recorded, first.files[1].matches) == (4, 5, 1)
    assert (second.files[0].repeated, second.files[1].repeated, second.files[1].recorded) == (4, 5, 0)


async def test_importing_again_repairs_what_was_changed_since(database: Database, tmp_path: Path) -> None:
    path = write_people(tmp_path / "p.csv", people(3))
    await imported(database, path)
    await Users(database.sessions).patch(2, {"name": "Somebody else"})
    report = await imported(database, path)
    assert (report.files[0].replaced, report.files[0].repeated) == (1, 2)
    assert (await contents(database.url))["users"][1][1] == "Person 2"


async def test_what_a_file_leaves_out_of_status_and_times_stays(database: Database, tmp_path: Path) -> None:
    await imported(database, write_people(tmp_path / "a.csv", people(1, status="banned", last_active_at=NOON)))
    path = tmp_path / "b.csv"
    path.write_text("id,name,bio\n1,Ann,new\n2,Bob,\n")
    await imported(database, path)
    ann, bob = await fetch(database.url, "select name, status, created_at, last_active_at, bio from users order by id")
    assert ann == ("Ann", "banned", NOON, NOON, "new")
    assert (bob[1], bob[3]) == ("active", None)
    assert abs((datetime.now(UTC) - bob[2]).total_seconds()) < 60


async def test_an_erased_id_is_somebody_new(database: Database, tmp_path: Path) -> None:
    path = write_people(tmp_path / "p.csv", people(2))
    await imported(database, path)
    await Users(database.sessions).erase(1)
    await imported(database, path)
    assert await fetch(database.url, "select id, incarnation from users order by id") == [(1, 2), (2, 1)]


async def test_every_change_reaches_the_feed(database: Database, tmp_path: Path) -> None:
    files = write_people(tmp_path / "p.csv", people(3)), write_interactions(tmp_path / "i.csv", [(1, 2, "block", NOON)])
    await imported(database, *files)
    changes = await fetch(database.url, "select entity, ids, others, kinds from changes order by change_id")
    assert [(row[0], sorted(row[1])) for row in changes] == [("user", [1, 2, 3]), ("interaction", [1])]
    assert changes[1][2:] == ([2], ["block"])


async def test_a_file_that_is_refused_whole_stops_the_import_before_it_writes(database: Database, tmp_path: Path) -> None:
    good = write_people(tmp_path / "p.csv", people(1))
    bad = tmp_path / "i.csv"
    bad.write_text("actor_id,target\n1,2\n")
    with pytest.raises(ImportRefused, match="'target' is unknown"):
        await imported(database, good, bad)
    assert (await contents(database.url))["users"] == []


async def test_progress_ends_at_the_whole(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"people": 200})
    path = write_people(tmp_path / "p.csv", people(50))
    seen: list[tuple[str, int, int | None]] = []
    await importer.run(database, ImportRequest(people=path), lambda *step: seen.append(step))
    done = [step[1] for step in seen]
    assert done == sorted(done)
    assert len(done) > 5
    assert seen[-1] == ("Importing people", path.stat().st_size, path.stat().st_size)
