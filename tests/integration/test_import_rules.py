"""An import leaves what recording the same interactions one call at a time would leave."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import example as explicitly
from hypothesis import strategies as st

from service.domain import NO_TIME, Interaction, Kind
from service.repositories import bulk
from service.repositories.database import Database, connect
from service.repositories.interactions import Interactions, Recorded
from service.telemetry import silent
from service.transfer import exporter, importer, read_csv
from service.transfer.importer import ImportRequest
from tests.integration.repo_builders import settle
from tests.integration.transfer_world import contents, write_interactions

START = datetime(2024, 1, 1, tzinfo=UTC)
Act = tuple[int, int, Kind]

PAIRS = st.sampled_from([(1, 2), (2, 1), (1, 3), (3, 1)])
KINDS = st.sampled_from([kind for kind in Kind if kind not in (Kind.MESSAGE, Kind.VIEW)])
HISTORIES = st.lists(st.tuples(PAIRS, KINDS).map(lambda act: (*act[0], act[1])), max_size=14)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await settle(opened, 3)
    yield opened
    await opened.close()


async def forget(database: Database) -> None:
    connection = await connect(database.url)
    await connection.execute("truncate interactions, matches, imports")
    await connection.close()


async def record(database: Database, acts: list[Act]) -> None:
    """Each in a call of its own, a minute after the one before."""
    interactions = Interactions(database.sessions)
    for i, (actor_id, target_id, kind) in enumerate(acts):
        at = START + timedelta(minutes=i)
        await interactions.record([Interaction(actor_id=actor_id, target_id=target_id, kind=kind, occurred_at=at)])


async def imported(database: Database, path: Path) -> None:
    report = await importer.run(database, ImportRequest(interactions=path), silent)
    assert report.ok


def lasting(acts: list[Act]) -> list[Act]:
    """Without withdrawals of what never was, which an import keeps, since a file may tell only how things stand."""
    begun: set[tuple[int, int, bool]] = set()
    kept = []
    for actor_id, target_id, kind in acts:
        place = (actor_id, target_id, kind in (Kind.BLOCK, Kind.UNBLOCK))
        if kind in (Kind.LIKE, Kind.PASS, Kind.BLOCK) or place in begun:
            begun.add(place)
            kept.append((actor_id, target_id, kind))
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("block_bytes", [10_000, 90])
async def test_a_history_in_a_file_ends_as_the_same_history_recorded(
    database: Database, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"interactions": block_bytes})  # in one batch, and about two rows each

    async def compare(acts: list[Act]) -> None:
        acts = lasting(acts)
        await forget(database)
        await record(database, acts)
        recorded = await contents(database.url)
        await forget(database)
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                (actor_id, target_id, str(kind), START + timedelta(minutes=i))
                for i, (actor_id, target_id, kind) in enumerate(acts)
            ]
            await imported(database, write_interactions(Path(folder) / "i.csv", rows))
        assert await contents(database.url) == recorded

    await _for_all(compare)


async def test_a_batch_continues_what_stands(database: Database, tmp_path: Path) -> None:
    await record(database, [(3, 1, Kind.LIKE), (1, 2, Kind.LIKE)])  # minutes 0 and 1
    moments = [START + timedelta(minutes=minute) for minute in (0, 2, 3, 4)]
    await imported(database, write_interactions(tmp_path / "i.csv", [(1, 2, "pass", at) for at in moments]))
    assert (await contents(database.url))["interactions"][0][4] == "pass"


async def test_a_pair_that_changes_its_mind_all_the_time_ends_where_it_ended(database: Database, tmp_path: Path) -> None:
    rows = [(1, 2, "like" if i % 2 else "pass", START + timedelta(seconds=i)) for i in range(400)]
    path = write_interactions(tmp_path / "i.csv", [*rows, (2, 1, "like", START)])
    report = await importer.run(database, ImportRequest(interactions=path), silent)
    assert report.files[0].recorded == 401
    assert [row[:2] for row in (await contents(database.url))["matches"]] == [(1, 2)]


@pytest.mark.slow
async def test_whatever_was_recorded_survives_export_and_import(database: Database) -> None:
    async def compare(acts: list[Act]) -> None:
        await forget(database)
        await record(database, acts)
        before = await contents(database.url)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "i.jsonl"
            await exporter.run(database, None, path, silent)
            await imported(database, path)
            assert await contents(database.url) == before  # where it came from, nothing changes
            await forget(database)
            await imported(database, path)
        assert await contents(database.url) == before

    await _for_all(compare)


async def test_calls_in_any_order_end_as_one_file(database: Database, tmp_path: Path) -> None:
    acts = [(1, 2, "like", 1), (1, 2, "like", 4), (1, 2, "pass", 3), (2, 1, "block", 1), (2, 1, "unblock", 5), (2, 1, "block", 2)]
    acts += [
        (1, 3, "like", 1),
        (1, 3, "unlike", 6),
        (1, 3, "like", 2),
        (3, 1, "pass", 1),
        (3, 1, "unpass", 2),
        (3, 1, "unpass", 9),
    ]
    rows = [(actor_id, target_id, kind, START + timedelta(minutes=minute)) for actor_id, target_id, kind, minute in acts]
    await imported(database, write_interactions(tmp_path / "i.csv", rows))
    expected = await contents(database.url)
    interactions = Interactions(database.sessions)
    for seed in range(8):
        await forget(database)
        for actor_id, target_id, kind, at in random.Random(seed).sample(rows, len(rows)):
            await interactions.record([Interaction(actor_id=actor_id, target_id=target_id, kind=Kind(kind), occurred_at=at)])
        assert await contents(database.url) == expected


async def _for_all(compare: object) -> None:
    """Run hypothesis in a thread, its examples in this loop, where the database's connections live."""
    loop = asyncio.get_running_loop()

    @MANY
    @explicitly([(1, 2, Kind.LIKE), (2, 1, Kind.LIKE), (1, 2, Kind.BLOCK), (1, 2, Kind.UNBLOCK)])
    @explicitly([(1, 2, Kind.LIKE), (2, 1, Kind.LIKE), (1, 2, Kind.BLOCK), (1, 2, Kind.UNBLOCK), (2, 1, Kind.LIKE)])
    @explicitly([(1, 2, Kind.LIKE), (2, 1, Kind.LIKE), (1, 2, Kind.UNMATCH), (1, 2, Kind.UNPASS), (1, 2, Kind.LIKE)])
    @given(HISTORIES)
    def example(acts: list[Act]) -> None:
        asyncio.run_coroutine_threadsafe(compare(acts), loop).result()  # type: ignore[operator]

    await asyncio.to_thread(example)


async def test_a_match_outlasts_the_lifting_of_a_block_that_was_lifted_before(database: Database, tmp_path: Path) -> None:
    kinds = [(1, 2, "block"), (1, 2, "unblock"), (1, 2, "like"), (2, 1, "like"), (1, 2, "unblock")]
    rows = [(*act, START + timedelta(minutes=i)) for i, act in enumerate(kinds)]
    await imported(database, write_interactions(tmp_path / "i.csv", rows))
    assert len((await contents(database.url))["matches"]) == 1


async def test_a_later_file_does_not_undo_what_happened_since(database: Database, tmp_path: Path) -> None:
    path = write_interactions(tmp_path / "i.csv", [(1, 2, "like", START)])
    await imported(database, path)
    await record(database, [(3, 1, Kind.LIKE), (1, 2, Kind.PASS)])
    await imported(database, path)
    kinds = [row[4] for row in (await contents(database.url))["interactions"]]
    assert kinds == ["pass", "like"]


async def test_a_file_from_a_clock_ahead_does_not_undo_what_was_done_since(database: Database, tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=4)
    path = write_interactions(tmp_path / "i.csv", [(1, 2, "like", soon), (1, 2, "unblock", soon)])
    await imported(database, path)
    for kind in (Kind.PASS, Kind.BLOCK):
        said = Interaction(actor_id=1, target_id=2, kind=kind, occurred_at=NO_TIME)
        assert await Interactions(database.sessions).record([said]) == Recorded(1, 0, [])
    await imported(database, path)
    assert [row[4] for row in (await contents(database.url))["interactions"]] == ["pass", "block"]


@pytest.mark.parametrize("kind", [Kind.LIKE, Kind.BLOCK])
async def test_a_like_back_while_the_import_commits_waits_and_sees_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    path = write_interactions(tmp_path / "i.csv", [(1, 2, str(kind), START), (1, 3, "like", START)])
    back = [Interaction(actor_id=who, target_id=1, kind=Kind.LIKE, occurred_at=START) for who in (2, 3)]
    tasks: list[asyncio.Task[Recorded]] = []
    real = bulk._mark

    async def liked_back_meanwhile(connection: object, mark: bulk.Mark) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(Interactions(database.sessions).record(back)))
            await asyncio.wait(tasks, timeout=0.3)
        await real(connection, mark)

    monkeypatch.setattr(bulk, "_mark", liked_back_meanwhile)
    await imported(database, path)
    assert (await tasks[0]).recorded == 2
    matched = [row[:2] for row in (await contents(database.url))["matches"]]
    assert matched == ([(1, 2), (1, 3)] if kind is Kind.LIKE else [(1, 3)])
