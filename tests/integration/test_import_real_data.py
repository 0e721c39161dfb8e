"""The real data sets, converted and imported. They are not part of the project: AMITY_EVAL_DATA names their folder."""

import os
from pathlib import Path

import pytest

from benchmarks.convert import convert
from service.repositories.database import Database
from service.telemetry import silent
from service.transfer import importer
from service.transfer.importer import ImportRequest
from tests.integration.transfer_world import fetch

DATA = os.environ.get("AMITY_EVAL_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="AMITY_EVAL_DATA does not name the folder of the real data sets")


async def imported(url: str, dataset: str, file: str, folder: Path) -> tuple[int, int, int]:
    """People, interactions and matches in the database after converting and importing."""
    convert(dataset, Path(DATA) / dataset / file, folder)
    database = Database(url)
    request = ImportRequest(people=folder / "people.csv", interactions=folder / "interactions.csv")
    report = await importer.run(database, request, silent)
    await database.close()
    assert report.ok
    counts = "select (select count(*) from users), (select count(*) from interactions), (select count(*) from matches)"
    [(n_people, n_interactions, n_matches)] = await fetch(url, counts)
    return n_people, n_interactions, n_matches


async def test_speed_dates_become_likes_passes_and_the_matches_the_study_counted(database_url: str, tmp_path: Path) -> None:
    counts = await imported(database_url, "speed_dating", "speed_dating.csv.gz", tmp_path)
    assert counts == (551, 8368, 690)  # 1,380 rows of the source say `match`, two for each
    [(n_unsure,)] = await fetch(
        database_url, "select count(*) from users where cardinality(seeks_genders) <> 1 or gender is null"
    )
    assert n_unsure == 0


async def test_every_message_stays_one(database_url: str, tmp_path: Path) -> None:
    counts = await imported(database_url, "college_msg", "CollegeMsg.txt", tmp_path)
    assert counts == (1899, 59835, 0)


def test_what_cannot_be_used_is_counted_aloud(tmp_path: Path) -> None:
    converted = convert("speed_dating", Path(DATA) / "speed_dating" / "speed_dating.csv.gz", tmp_path)
    assert converted.skipped == ["10 dates whose partner the source does not name (`pid` is empty)"]
