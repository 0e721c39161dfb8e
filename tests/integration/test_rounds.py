"""Rounds of the fleet: one replica makes each, however long it takes, and another the next if that one dies."""

import asyncio
from typing import Any

import pytest

from service.errors import DatabaseUnavailable
from service.repositories.database import Database
from service.repositories.rounds import Rounds
from tests.integration.population_world import running, soon
from tests.servers import execute

FACT = "tests_due_at"
LEASE_S = 1.5
"""On a busy machine a renewal, of which there are three to a lease, may take half a second."""


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.repositories.rounds.LEASE_S", LEASE_S)


@pytest.fixture
def rounds(database: Database) -> Rounds:
    return Rounds(database.sessions, FACT)


@pytest.fixture
def other(database: Database) -> Rounds:
    """Another replica's."""
    return Rounds(database.sessions, FACT)


class Work:
    """Counts how often it was begun and done; takes as long as `may_end` is not set."""

    def __init__(self, is_long: bool = False) -> None:
        self.n_begun = self.n_done = 0
        self.may_end = asyncio.Event()
        if not is_long:
            self.may_end.set()

    async def __call__(self) -> None:
        self.n_begun += 1
        await self.may_end.wait()
        self.n_done += 1


async def fail() -> None:
    raise ZeroDivisionError


async def test_of_many_replicas_one_makes_the_round(database: Database) -> None:
    work = Work()
    done = await asyncio.gather(*(Rounds(database.sessions, FACT).run(3600, work) for _ in range(5)))
    assert (sorted(done), work.n_done) == ([False] * 4 + [True], 1)


async def test_the_next_round_is_made_when_it_is_due(rounds: Rounds) -> None:
    assert await rounds.run(0.01, Work())
    await soon(lambda: rounds.run(3600, Work()))
    assert not await rounds.run(3600, Work())


async def test_a_round_longer_than_its_interval_and_its_lease_is_made_by_one(rounds: Rounds, other: Rounds) -> None:
    work, others = Work(is_long=True), Work()
    making = asyncio.create_task(rounds.run(0.01, work))
    await soon(lambda: work.n_begun == 1)
    for _ in range(30):
        assert not await other.run(0.01, others)
        await asyncio.sleep(LEASE_S / 10)
    work.may_end.set()
    assert await making
    assert (work.n_done, others.n_begun) == (1, 0)


async def test_a_long_round_is_followed_by_a_long_pause(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.repositories.rounds.SHARE", 1e-6)
    assert await rounds.run(0.001, Work())
    await asyncio.sleep(1.2 * LEASE_S)
    assert not await rounds.run(0.001, Work())


async def test_a_round_that_fails_is_put_off_like_any_and_does_not_end_all_rounds(rounds: Rounds) -> None:
    with pytest.raises(ZeroDivisionError):
        await rounds.run(1.5, fail)
    assert not await rounds.run(1.5, Work())
    await soon(lambda: rounds.run(1.5, Work()))


async def test_the_round_of_a_replica_that_ends_is_made_by_another_when_its_lease_is_over(rounds: Rounds, other: Rounds) -> None:
    work = Work(is_long=True)
    async with running(rounds.run(0.01, work)):
        await soon(lambda: work.n_begun == 1)
    assert not await other.run(0.01, Work())
    await soon(lambda: other.run(0.01, Work()))
    assert work.n_done == 0


async def test_who_has_lost_the_lease_gives_the_round_up(database: Database, rounds: Rounds) -> None:
    work = Work(is_long=True)
    making = asyncio.create_task(rounds.run(0.01, work))
    await soon(lambda: work.n_begun == 1)
    await execute(database.url, [f"update facts set value = to_jsonb(now() + interval '1 hour') where name = '{FACT}'"])
    with pytest.raises(DatabaseUnavailable, match="given up"):
        await making
    assert work.n_done == 0


async def test_a_round_whose_lease_cannot_be_renewed_is_given_up(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(is_long=True)
    making = asyncio.create_task(rounds.run(0.01, work))
    await soon(lambda: work.n_begun == 1)

    async def away(*_: Any) -> Any:
        raise DatabaseUnavailable

    monkeypatch.setattr(rounds, "_readers", type("Away", (), {"fetch": away})())
    with pytest.raises(DatabaseUnavailable, match="given up"):
        await making
    assert work.n_done == 0
