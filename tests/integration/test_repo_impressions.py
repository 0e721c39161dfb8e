"""Impressions are written once, never for the erased, and parted by day without a write being refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text

from service.domain import ExperimentArm, Impression, ServedFeatures, ShownPeople
from service.repositories import partitions
from service.repositories.calls import write
from service.repositories.database import Database
from service.repositories.impressions import Impressions
from service.repositories.locks import MAINTENANCE
from service.repositories.maintenance import Maintenance
from service.repositories.users import Users
from tests.integration.repo_builders import person, settle

NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y%m%d}"


PEOPLE = ShownPeople(
    candidate_ids=(2, 3),
    scores=(0.5, 0.25),
    propensities=(1.0, 0.125),
    exploration=(False, True),
    sources=(("admirers", "explore"), ("explore",)),
    hopefuls=2**31 + 5,
)


def shown(viewer_id: int, served_at: datetime = NOW, pool_id: UUID | None = None) -> Impression:
    return Impression(
        slate_id=uuid4(),
        request_id="request",
        viewer_id=viewer_id,
        served_at=served_at,
        algorithm_version="v1",
        bundle_version="b",
        experiment=ExperimentArm("trial", "treatment"),
        pool_id=pool_id or uuid4(),
        people=PEOPLE,
        cached=True,
        degraded=False,
    )


def features(pool_id: UUID) -> ServedFeatures:
    return ServedFeatures(
        pool_id=pool_id, computed_at=NOW, names=("a",), candidate_ids=(2, 3), matrix=bytes(range(8)), explorable=(1, 0)
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await settle(opened, 2)
    yield opened
    await opened.close()


async def ensured(database: Database, days_ahead: int) -> list[str]:
    return await write(database.sessions, lambda session: partitions.ensure(session, days_ahead))


async def dropped(database: Database, older_than_days: int) -> list[str]:
    return await write(database.sessions, lambda session: partitions.drop(session, older_than_days))


@pytest.fixture
def impressions(database: Database) -> Impressions:
    return Impressions(database.sessions)


async def rows(database: Database, query: str) -> list[dict[str, Any]]:
    async with database.sessions() as session:
        return [dict(row) for row in (await session.execute(text(query))).mappings()]


async def places(database: Database, table: str) -> dict[str, int]:
    found = await rows(database, f"select tableoid::regclass::text as place, count(*) as n from {table} group by 1")
    return {row["place"]: row["n"] for row in found}


async def test_a_slate_is_one_row_with_all_its_fields(database: Database, impressions: Impressions) -> None:
    slate = shown(1)
    assert await impressions.write([slate], []) == 1

    [row] = await rows(database, "select * from impressions")
    assert (row.pop("experiment"), row.pop("arm")) == ("trial", "treatment")
    assert row.pop("sources") == [["admirers", "explore"], ["explore"]]
    expected = {name: getattr(slate if hasattr(slate, name) else PEOPLE, name) for name in row}
    assert row == {name: list(value) if isinstance(value, tuple) else value for name, value in expected.items()}


async def test_an_interleaved_slate_bears_its_teams_and_its_time(database: Database, impressions: Impressions) -> None:
    await impressions.write([msgspec.structs.replace(shown(1), teams=(1, 0), generation_ms=2.5)], [])

    [row] = await rows(database, "select teams, generation_ms from impressions")
    assert row == {"teams": [1, 0], "generation_ms": 2.5}


async def test_an_empty_slate_is_a_row_too(database: Database, impressions: Impressions) -> None:
    nobody = ShownPeople(candidate_ids=(), scores=(), propensities=(), exploration=(), sources=())
    await impressions.write([msgspec.structs.replace(shown(1, pool_id=UUID(int=0)), people=nobody, teams=())], [])

    [row] = await rows(database, "select candidate_ids, scores, sources, teams, pool_id from impressions")
    assert row == {"candidate_ids": [], "scores": [], "sources": [], "teams": [], "pool_id": UUID(int=0)}


async def test_features_are_stored_to_the_byte(database: Database, impressions: Impressions) -> None:
    pool = features(uuid4())
    await impressions.write([shown(1, pool_id=pool.pool_id)], [pool])

    [row] = await rows(database, "select * from served_features")
    assert (row["matrix"], row["names"], row["candidate_ids"]) == (pool.matrix, ["a"], [2, 3])
    assert row["explorable"] == [1, 0]


async def test_a_batch_sent_again_is_not_a_second_one(database: Database, impressions: Impressions) -> None:
    slate = shown(1)
    for _ in range(2):
        await impressions.write([slate, shown(2)], [features(slate.pool_id)])

    assert sum((await places(database, "impressions")).values()) == 3
    assert sum((await places(database, "served_features")).values()) == 1


async def test_columns_of_every_length_come_back_as_they_were(database: Database, impressions: Impressions) -> None:
    nobody = ShownPeople(candidate_ids=(), scores=(), propensities=(), exploration=(), sources=())
    many = ShownPeople(
        candidate_ids=tuple(range(2**63 - 100, 2**63)),
        scores=(0.125,) * 100,
        propensities=(1.0,) * 100,
        exploration=(True,) * 100,
        sources=(("Ä", "日本"),) * 100,
    )
    for people in (nobody, many):
        await impressions.write([msgspec.structs.replace(shown(1), people=people, experiment=None, bundle_version=None)], [])

    found = await rows(database, "select * from impressions order by cardinality(candidate_ids)")
    for row, people in zip(found, (nobody, many), strict=True):
        assert [tuple(row[name]) for name in ("candidate_ids", "scores", "propensities", "exploration")] == [
            people.candidate_ids, people.scores, people.propensities, people.exploration
        ]  # fmt: skip
        assert [tuple(found_by) for found_by in row["sources"]] == list(people.sources)
        assert (row["experiment"], row["arm"], row["bundle_version"]) == (None, None, None)


async def test_features_of_hundreds_of_candidates_come_back_as_they_were(database: Database, impressions: Impressions) -> None:
    ids = tuple(range(10**12, 10**12 + 500))
    pool = ServedFeatures(pool_id=uuid4(), computed_at=NOW, names=("a", "ß"), candidate_ids=ids, matrix=bytes(range(256)) * 16)
    empty = ServedFeatures(pool_id=uuid4(), computed_at=NOW, names=(), candidate_ids=(), matrix=b"")
    assert await impressions.write([], [pool, empty]) == 0

    found = {row["pool_id"]: row for row in await rows(database, "select * from served_features")}
    for one in (pool, empty):
        row = found[one.pool_id]
        kept = (row["computed_at"], tuple(row["names"]), tuple(row["candidate_ids"]), row["matrix"])
        assert kept == (one.computed_at, one.names, one.candidate_ids, one.matrix)


async def test_a_batch_of_which_some_is_there_adds_the_rest(database: Database, impressions: Impressions) -> None:
    slates = [shown(1, NOW - timedelta(days=days)) for days in range(4)]
    pools = [features(slate.pool_id) for slate in slates]
    await impressions.write(slates[:2], pools[:2])
    assert await impressions.write(slates, pools) == 4

    assert {row["slate_id"] for row in await rows(database, "select slate_id from impressions")} == {s.slate_id for s in slates}
    assert await rows(database, "select count(*) as n from served_features") == [{"n": 4}]


async def test_slates_of_the_erased_and_their_features_are_left_out(database: Database, impressions: Impressions) -> None:
    users = Users(database.sessions)
    await users.erase(1)
    erased, unknown, living = shown(1), shown(99), shown(2)
    pools = [features(slate.pool_id) for slate in (erased, unknown, living)]

    assert await impressions.write([erased, unknown, living], pools) == 1
    assert await rows(database, "select pool_id from served_features") == [{"pool_id": living.pool_id}]


async def test_somebody_new_under_an_erased_id_inherits_no_slate(database: Database, impressions: Impressions) -> None:
    before = shown(1, served_at=datetime.now(UTC))
    await Users(database.sessions).erase(1)
    await Users(database.sessions).put(person(1))
    after = shown(1, served_at=datetime.now(UTC) + timedelta(seconds=1))

    assert await impressions.write([before, after], []) == 1
    assert await rows(database, "select slate_id from impressions") == [{"slate_id": after.slate_id}]


async def test_a_write_without_a_partition_of_its_day_goes_to_the_default_and_moves_later(
    database: Database, impressions: Impressions
) -> None:
    await impressions.write([shown(1), shown(1, NOW - timedelta(days=400))], [features(uuid4())])
    assert await places(database, "impressions") == {"impressions_default": 2}

    made = await ensured(database, 1)
    assert await places(database, "impressions") == {"impressions_default": 1, f"impressions_p{TODAY}": 1}
    assert await places(database, "served_features") == {f"served_features_p{TODAY}": 1}
    assert len(made) == 4


async def test_partitions_made_by_several_replicas_at_once_are_made_once(database: Database) -> None:
    made = await asyncio.gather(*(ensured(database, 3) for _ in range(4)))

    assert sorted(map(len, made)) == [0, 0, 0, 8]


async def test_writes_beside_the_making_of_partitions_are_all_there(database: Database, impressions: Impressions) -> None:
    slates = [shown(1, NOW + timedelta(hours=hour)) for hour in range(60)]
    writes = [impressions.write([slate, shown(2, slate.served_at)], [features(slate.pool_id)]) for slate in slates]
    await asyncio.gather(*writes[:30], ensured(database, 3), *writes[30:])

    assert sum((await places(database, "impressions")).values()) == 120


async def test_a_partition_has_the_keys_and_indexes_of_its_table(database: Database, impressions: Impressions) -> None:
    await ensured(database, 0)
    counted = "select tablename, count(*) as n from pg_indexes where tablename like 'impressions%' group by 1"
    n_indexes = {row["tablename"]: row["n"] for row in await rows(database, counted)}

    assert n_indexes == {"impressions": 3, "impressions_default": 3, f"impressions_p{TODAY}": 3}


async def test_old_partitions_and_strays_are_dropped(database: Database, impressions: Impressions) -> None:
    old = NOW - timedelta(days=10)
    day, next_day = (f"{at:%Y-%m-%d}" for at in (old, old + timedelta(days=1)))
    name = f"impressions_p{old:%Y%m%d}"
    async with database.sessions() as session:
        await session.execute(text(f"create table {name} partition of impressions for values from ('{day}') to ('{next_day}')"))
        await session.commit()
    await ensured(database, 0)
    await impressions.write([shown(1), shown(1, old), shown(1, NOW - timedelta(days=20))], [])

    assert await dropped(database, 10) == []
    assert await dropped(database, 9) == [name]
    assert await places(database, "impressions") == {f"impressions_p{TODAY}": 1}


async def test_one_replica_at_a_time_does_the_housekeeping(database: Database) -> None:
    maintenance = Maintenance(database.sessions, impressions_retention_days=90, changes_retention_days=14)
    async with database.sessions() as session:
        await session.execute(text(f"select pg_advisory_xact_lock({MAINTENANCE})"))
        assert await maintenance.run() is None

    done = await maintenance.run()
    assert done is not None
    assert (len(done.partitions_made), done.partitions_dropped, done.changes_pruned) == (8, [], 0)


async def test_housekeeping_prunes_the_feed(database: Database) -> None:
    async with database.sessions() as session:
        await session.execute(text("update changes set recorded_at = now() - interval '15 days'"))
        await session.commit()
    done = await Maintenance(database.sessions, 90, 14).run()

    assert done is not None
    assert done.changes_pruned == 1


async def test_housekeeping_takes_the_erased_out_of_what_others_were_shown(database: Database, impressions: Impressions) -> None:
    await Users(database.sessions).put(person(3))
    before = shown(1, served_at=datetime.now(UTC))
    await impressions.write([before], [features(before.pool_id)])
    await Users(database.sessions).erase(3)
    await Users(database.sessions).put(person(3))
    after = shown(1, served_at=datetime.now(UTC) + timedelta(seconds=1))
    await impressions.write([after], [])
    done = [await Maintenance(database.sessions, 90, 14).run() for _ in range(2)]

    assert [one.slates_swept for one in done if one] == [2, 0]
    listed = "select candidate_ids from impressions order by served_at"
    assert [row["candidate_ids"] for row in await rows(database, listed)] == [[2, 0], [2, 3]]
    assert await rows(database, "select candidate_ids from served_features") == [{"candidate_ids": [2, 0]}]
