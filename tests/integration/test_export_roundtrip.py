"""Export and import again: the same people, interactions and matches, in every format."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain import Interaction, Kind, Profile, Status
from service.errors import ImportRefused, OperatorError
from service.repositories.database import Database, connect
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.telemetry import silent
from service.transfer import exporter, importer
from service.transfer.importer import ImportRequest
from service.transfer.layouts import INTERACTIONS, PEOPLE
from tests.integration.repo_builders import settle
from tests.integration.transfer_world import contents
from tests.servers import run_now

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
WORD = TEXT.filter(bool)
AGES = st.none() | st.integers(18, 120)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2026, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def whole(profile: dict[str, Any]) -> Profile:
    places = profile.pop("place")
    low, high = sorted(profile.pop("ages"), key=lambda age: age or 0)
    seeks = {"seeks_min_age": low, "seeks_max_age": high}
    return Profile(**profile, **seeks, latitude=places and places[0], longitude=places and places[1])


PROFILES = st.fixed_dictionaries(
    {
        "id": st.integers(1, 2**63 - 1),
        "name": WORD,
        "age": AGES,
        "gender": st.none() | WORD,
        "location": st.none() | WORD,
        "place": st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
        "bio": TEXT,
        "interests": st.lists(WORD, max_size=4).map(tuple),
        "seeks_genders": st.lists(WORD, max_size=3).map(tuple),
        "ages": st.tuples(AGES, AGES),
        "seeks_max_km": st.none() | st.floats(0.001, 1e9),
        "status": st.sampled_from(Status),
        "created_at": MOMENTS,
        "last_active_at": st.none() | MOMENTS,
    }
).map(whole)


async def empty(database: Database) -> None:
    connection = await connect(database.url)
    await connection.execute("truncate users, interactions, matches, imports")
    await connection.close()


async def there_and_back(url: str, profiles: list[Profile], path: Path) -> None:
    database = Database(url)
    await empty(database)
    await Users(database.sessions).put_many(profiles)
    before = await contents(url)
    await exporter.run(database, path, None, silent)
    await empty(database)
    report = await importer.run(database, ImportRequest(people=path), silent)
    await database.close()
    assert report.ok, path.with_name(f"{path.name}.rejects.csv").read_text()
    assert await contents(url) == before


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(profiles=st.lists(PROFILES, min_size=1, max_size=8, unique_by=lambda profile: profile.id))
def test_any_people_survive(database_url: str, tmp_path: Path, extension: str, profiles: list[Profile]) -> None:
    run_now(there_and_back(database_url, profiles, tmp_path / f"p.{extension}"))


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "jsonl", "ndjson.gz", "parquet"])
async def test_events_are_not_doubled_where_they_came_from(database: Database, tmp_path: Path, extension: str) -> None:
    await settle(database, 3)
    given = [
        Interaction(actor_id=1, target_id=2, kind=Kind.MESSAGE, occurred_at=NOON, event_id='m,"1"'),
        Interaction(actor_id=1, target_id=2, kind=Kind.MESSAGE, occurred_at=NOON),
        Interaction(actor_id=2, target_id=1, kind=Kind.VIEW, occurred_at=NOON.replace(microsecond=1)),
        Interaction(actor_id=2, target_id=1, kind=Kind.LIKE, occurred_at=NOON),
    ]
    await Interactions(database.sessions).record(given)
    before = await contents(database.url)
    people, interactions = tmp_path / f"p.{extension}", tmp_path / f"i.{extension}"
    report = await exporter.run(database, people, interactions, silent)
    assert [file.records for file in report.files] == [3, 4]
    request = ImportRequest(people=people, interactions=interactions)
    await importer.run(database, request, silent)
    assert await contents(database.url) == before
    await empty(database)
    await importer.run(database, request, silent)
    assert await contents(database.url) == before


async def test_events_that_an_import_named_by_their_time_keep_that_name(database: Database, tmp_path: Path) -> None:
    await settle(database, 2)
    path = tmp_path / "i.csv"
    path.write_text("actor_id,target_id,kind,occurred_at\n1,2,message,1705320000.000001\n")
    await importer.run(database, ImportRequest(interactions=path), silent)
    before = await contents(database.url)
    await exporter.run(database, None, tmp_path / "o.parquet", silent)
    await importer.run(database, ImportRequest(interactions=tmp_path / "o.parquet"), silent)
    assert await contents(database.url) == before


async def test_an_empty_database_exports_files_that_can_be_imported(database: Database, tmp_path: Path) -> None:
    for extension in ("csv", "jsonl", "parquet"):
        people, interactions = tmp_path / f"p.{extension}", tmp_path / f"i.{extension}"
        await exporter.run(database, people, interactions, silent)
        report = await importer.run(database, ImportRequest(people=people, interactions=interactions), silent)
        assert [file.read for file in report.files] == [0, 0]


async def test_the_columns_of_an_export_are_those_of_the_interface(database: Database, tmp_path: Path) -> None:
    await settle(database, 1)
    await exporter.run(database, tmp_path / "p.parquet", tmp_path / "i.csv", silent)
    assert tuple(pl.read_parquet_schema(tmp_path / "p.parquet")) == PEOPLE.names
    assert tuple((tmp_path / "i.csv").read_text().strip().split(",")) == INTERACTIONS.names


async def test_an_export_that_cannot_be_written_leaves_what_was_there(database: Database, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("precious")
    with pytest.raises(ImportRefused, match=r"must end in \.csv"):
        await exporter.run(database, tmp_path / "p.csv", tmp_path / "i.txt", silent)
    with pytest.raises(OperatorError, match="cannot be written"):
        await exporter.run(database, tmp_path / "nowhere" / "p.csv", None, silent)
    assert (tmp_path / "p.csv").read_text() == "precious"
