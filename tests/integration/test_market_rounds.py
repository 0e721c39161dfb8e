"""One replica computes the market's figures, and all of them tell the newest."""

import math
from collections.abc import Iterator

import pytest

from service.market.watching import FACT, MarketWatcher, tell
from service.metrics import MARKET_COMPUTED, MARKET_GINI, MARKET_NEWCOMER_HOURS, MARKET_UNSHOWN
from service.repositories.database import Database
from service.repositories.market import Market
from service.repositories.rounds import Rounds
from service.threads import ThreadDoor
from tests.integration.experiment_log import START, Log, slate


@pytest.fixture
def door() -> Iterator[ThreadDoor]:
    door = ThreadDoor(1)
    yield door
    door.close()


def watcher(database: Database, door: ThreadDoor, kept_days: int = 90) -> MarketWatcher:
    return MarketWatcher(
        market=Market(database.sessions),
        rounds=Rounds(database.sessions, FACT),
        door=door,
        every_s=600,
        kept_days=kept_days,
        now=lambda: START,
    )


async def test_what_one_replica_computed_another_one_tells(database: Database, door: ThreadDoor) -> None:
    await Log(database).people(4, newcomers=[2], day=-1)
    await Log(database).gave(slate(1, [2], -0.75), slate(3, [4, 2], -0.5))
    await watcher(database, door).round()
    other = watcher(database, door)
    await other.look()
    assert other.newest is not None
    assert [window.days for window in other.newest.windows] == [1, 7, 28]
    assert (MARKET_UNSHOWN._value.get(), MARKET_COMPUTED._value.get()) == (0.5, START.timestamp())
    assert MARKET_GINI._value.get() == pytest.approx(7 / 12, abs=1e-6)
    assert MARKET_NEWCOMER_HOURS.labels("impression", "0.5")._value.get() == 6
    assert math.isnan(MARKET_NEWCOMER_HOURS.labels("match", "0.5")._value.get())


async def test_windows_beyond_the_oldest_impressions_are_left_out(database: Database, door: ThreadDoor) -> None:
    await Log(database).people(2)
    one = watcher(database, door, kept_days=7)
    await one.round()
    await one.look()
    assert one.newest is not None
    assert [window.days for window in one.newest.windows] == [1, 7]


async def test_before_the_first_round_nothing_is_told_as_a_figure(database: Database, door: ThreadDoor) -> None:
    one = watcher(database, door)
    MARKET_GINI.set(0.5)
    await one.look()
    assert one.newest is None
    assert math.isnan(MARKET_GINI._value.get())


async def test_a_market_without_people_is_told(database: Database, door: ThreadDoor) -> None:
    one = watcher(database, door)
    await one.round()
    await one.look()
    assert one.newest is not None
    assert (one.newest.windows[0].newcomers, math.isnan(MARKET_UNSHOWN._value.get())) == (0, True)
    tell(None)
