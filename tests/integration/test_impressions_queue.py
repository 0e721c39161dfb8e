"""Impressions written in batches, by a queue that outlasts the database's absences."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.domain import ExperimentArm, Impression, Profile, ServedFeatures, ShownPeople
from service.errors import AmityError, DatabaseUnavailable
from service.metrics import REGISTRY
from service.recommend import impressions as module
from service.recommend.identifiers import uuid7
from service.recommend.impressions import BATCH, FEATURES, ImpressionQueue
from service.repositories.database import Database
from service.repositories.impressions import Impressions
from service.repositories.users import Users
from service.resilience import Deadline

PEOPLE = ShownPeople(
    candidate_ids=(2, 3),
    scores=(0.9, 0.5),
    propensities=(1.0, 0.25),
    exploration=(False, True),
    sources=(("explore",), ("explore", "newcomers")),
)


def shown(viewer_id: int = 1, **changes: Any) -> Impression:
    values: dict[str, Any] = {
        "slate_id": uuid7(),
        "request_id": "r",
        "served_at": datetime.now(UTC),
        "algorithm_version": "v1",
        "bundle_version": None,
        "experiment": None,
        "pool_id": UUID(int=1),
        "people": PEOPLE,
        "cached": False,
        "degraded": False,
    }
    return Impression(viewer_id=viewer_id, **(values | changes))


def features() -> ServedFeatures:
    now = datetime.now(UTC)
    return ServedFeatures(pool_id=UUID(int=1), computed_at=now, names=("a",), candidate_ids=(2, 3), matrix=bytes(8))


class Store:
    """Keeps what is written; raises what it is told to."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.n_features: list[int] = []
        self.during: Callable[[], None] = lambda: None
        self.failure: AmityError | None = None
        self.written = asyncio.Event()

    async def write(self, impressions: Sequence[Impression], features: Sequence[ServedFeatures] = ()) -> int:
        if self.failure is not None:
            raise self.failure
        self.batches.append(len(impressions))
        self.n_features.append(len(features))
        self.during()
        self.written.set()
        return len(impressions)


def queue(store: Store, capacity: int = 2 * BATCH) -> ImpressionQueue:
    return ImpressionQueue(store, flush_s=0.001, capacity=capacity)


def features_dropped() -> float:
    return REGISTRY.get_sample_value("amity_served_features_dropped_total") or 0.0


def dropped(arm: str) -> float:
    return REGISTRY.get_sample_value("amity_impressions_dropped_total", {"arm": arm}) or 0.0


async def test_what_was_shown_is_in_the_database_after_a_flush(database_url: str) -> None:
    database = Database(database_url, 2, 5.0)
    await Users(database.sessions).put(Profile(id=1, name="A", created_at=datetime.now(UTC)))
    waiting = ImpressionQueue(Impressions(database.sessions), 0.5, 100)
    waiting.offer(shown(), features())
    waiting.offer(shown(experiment=ExperimentArm("x", "control")), None)
    await waiting.close(Deadline(5))
    await database.close()
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    rows = await connection.fetch("select candidate_ids, propensities, exploration, arm from impressions order by arm")
    assert [row["arm"] for row in rows] == ["control", None]
    assert (rows[0]["candidate_ids"], rows[0]["exploration"]) == ([2, 3], [False, True])
    assert await connection.fetchval("select count(*) from served_features") == 1
    await connection.close()


async def test_what_waits_is_written_in_batches() -> None:
    store = Store()
    waiting = queue(store)
    for _ in range(BATCH + 7):
        waiting.offer(shown(), None)
    await waiting.flush()
    assert (store.batches, len(waiting)) == ([BATCH, 7], 0)


async def test_a_write_takes_only_so_many_pools_features() -> None:
    store = Store()
    waiting = queue(store)
    for _ in range(FEATURES + 1):
        waiting.offer(shown(), features())
    waiting.offer(shown(), None)
    await waiting.flush()
    assert (store.batches, store.n_features) == ([FEATURES, 2], [FEATURES, 1])


async def test_what_comes_during_a_write_waits_for_the_next_one() -> None:
    store = Store()
    waiting = queue(store)
    store.during = lambda: waiting.offer(shown(), None)
    waiting.offer(shown(), None)
    await waiting.flush()
    assert (store.batches, len(waiting)) == ([1], 1)


async def test_features_of_a_pool_that_nobody_has_seen_yet_are_written() -> None:
    store, before = Store(), dropped("none")
    waiting = queue(store, capacity=1)
    for _ in range(2):
        waiting.offer(None, features())
    await waiting.flush()
    assert (store.batches, store.n_features, dropped("none") - before) == ([0], [1], 0)


async def test_the_writer_writes_by_itself() -> None:
    store = Store()
    waiting = queue(store)
    waiting.offer(shown(), None)
    writer = asyncio.create_task(waiting.run())
    await asyncio.wait_for(store.written.wait(), 5)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer


async def test_slates_wait_while_the_database_is_away_and_are_written_when_it_is_back() -> None:
    store = Store()
    store.failure = DatabaseUnavailable()
    waiting = queue(store)
    waiting.offer(shown(), None)
    with pytest.raises(DatabaseUnavailable):
        await waiting.flush()
    assert len(waiting) == 1
    store.failure = None
    await waiting.flush()
    assert (store.batches, len(waiting)) == ([1], 0)


async def test_while_the_database_is_away_the_features_that_wait_are_bounded_and_slates_wait_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FEATURES_WAITING", 3)
    store, before = Store(), features_dropped()
    waiting = queue(store)
    for _ in range(2):
        for _ in range(5):
            waiting.offer(shown(), features())
        waiting.offer(None, features())
        await waiting.flush()
    assert (store.batches, store.n_features) == ([5, 5], [3, 3])
    assert features_dropped() - before == 6


async def test_the_features_of_a_slate_that_does_not_fit_are_counted_too() -> None:
    waiting, before = queue(Store(), capacity=1), features_dropped()
    waiting.offer(shown(), features())
    waiting.offer(shown(), features())
    waiting.offer(None, features())
    assert features_dropped() - before == 2


async def test_the_features_that_wait_at_the_end_are_counted_as_dropped() -> None:
    store, before = Store(), features_dropped()
    store.failure = DatabaseUnavailable()
    waiting = queue(store)
    waiting.offer(None, features())
    await waiting.close(Deadline(1))
    assert features_dropped() - before == 1


async def test_what_does_not_fit_is_dropped_and_counted_by_its_arm() -> None:
    waiting, before = queue(Store(), capacity=1), dropped("x/treatment")
    waiting.offer(shown(), None)
    waiting.offer(shown(experiment=ExperimentArm("x", "treatment")), None)
    assert (len(waiting), dropped("x/treatment") - before) == (1, 1)


async def test_a_batch_that_the_database_refuses_does_not_block_those_after_it() -> None:
    store, before = Store(), dropped("none")
    store.failure = AmityError()
    waiting = queue(store)
    waiting.offer(shown(), None)
    await waiting.flush()
    store.failure = None
    waiting.offer(shown(), None)
    await waiting.flush()
    assert (store.batches, dropped("none") - before) == ([1], 1)


async def test_closing_counts_what_could_not_be_written() -> None:
    store, before = Store(), dropped("none")
    store.failure = DatabaseUnavailable()
    waiting = queue(store)
    waiting.offer(shown(), None)
    await waiting.close(Deadline(1))
    assert (len(waiting), dropped("none") - before) == (0, 1)


def test_identifiers_sort_by_time_and_are_of_version_7() -> None:
    first, *_, last = made = [uuid7() for _ in range(1000)]
    assert {one.version for one in made} == {7}
    assert len(set(made)) == 1000
    assert first.int >> 80 <= last.int >> 80
