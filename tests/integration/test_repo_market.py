"""What the market's figures are made of, counted by hand, and how they are kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from service.domain import Profile, Status
from service.domain_market import Exposure, MarketCounts, MarketFigures, MarketWindow, Waiting
from service.repositories.database import Database
from service.repositories.market import Market
from service.repositories.users import Users
from tests.integration.experiment_log import LONG_AGO, START, Log, at, slate

HOUR_US = 3_600_000_000


@pytest.fixture
async def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture
def market(database: Database) -> Market:
    return Market(database.sessions)


async def joined(database: Database, days: Sequence[float | None]) -> None:
    """People 1 to n; None joined long ago."""
    instants = [LONG_AGO if day is None else at(day) for day in days]
    profiles = [Profile(id=number, name="P", created_at=instant) for number, instant in enumerate(instants, 1)]
    await Users(database.sessions).put_many(profiles)


def times(counts: MarketCounts, days: int) -> dict[int, int]:
    shown = counts.shown[days]
    return dict(sorted(zip(shown.times.tolist(), shown.people.tolist(), strict=True)))


def arrivals(counts: MarketCounts) -> list[tuple[float, float, float]]:
    """In hours."""
    columns = (counts.arrivals.age_us, counts.arrivals.shown_us, counts.arrivals.matched_us)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return sorted((_hours(age), _hours(shown), _hours(matched)) for age, shown, matched in rows)


def _hours(us: int) -> float:
    return -1 if us == -1 else us / HOUR_US


async def test_each_window_counts_its_own_impressions(log: Log, market: Market) -> None:
    await log.people(4)
    await log.gave(slate(1, [2, 3], -10), slate(1, [2], -5), slate(1, [2, 3], -0.5), slate(4, [2], -30), slate(4, [3], 1))
    counts = await market.count(START, (1, 7, 28))
    assert [times(counts, days) for days in (1, 7, 28)] == [{0: 2, 1: 2}, {0: 2, 1: 1, 2: 1}, {0: 2, 2: 1, 3: 1}]


async def test_only_people_who_are_active_now_are_counted(database: Database, log: Log, market: Market) -> None:
    await log.people(4)
    await Users(database.sessions).put_many([Profile(id=3, name="P", status=Status.PAUSED, created_at=at(-1))])
    await log.gave(slate(1, [2, 3, 0, 99], -0.5))
    counts = await market.count(START, (1,))
    assert (times(counts, 1), arrivals(counts)) == ({0: 2, 1: 1}, [])


async def test_newcomers_wait_for_their_first_impression_and_match(database: Database, log: Log, market: Market) -> None:
    await joined(database, [None, -2, -1, -3, 0.5, -40])
    await log.gave(slate(1, [2, 6], -1.5), slate(1, [2], -1), slate(1, [4], 0.1))
    for one, other, day in ((2, 3, -0.5), (2, 1, -0.25), (4, 1, 0.5)):
        await log.did(one, other, day)
        await log.did(other, one, day)
    counts = await market.count(START, (7, 28))
    assert arrivals(counts) == [(24, -1, 12), (48, 12, 36), (72, -1, -1)]


async def test_somebody_shown_before_joining_did_not_wait(database: Database, log: Log, market: Market) -> None:
    await joined(database, [None, -1])
    await log.gave(slate(1, [2], -2))
    assert arrivals(await market.count(START, (28,))) == [(24, 0, -1)]


async def test_an_empty_market_is_counted(market: Market) -> None:
    counts = await market.count(START, (1, 7))
    assert (times(counts, 1), arrivals(counts)) == ({}, [])


def figures(until: datetime, gini: float | None = 0.5) -> MarketFigures:
    exposure = Exposure(people=4, unshown=1, impressions=9, gini=gini, top_tenth=0.5, top_hundredth=None, lorenz=((0, 0), (1, 1)))
    waiting = Waiting(seen=1, hours={"0.5": 1.5, "0.9": None}, curve=((1.5, 0.5),))
    window = MarketWindow(days=7, exposure=exposure, newcomers=2, waiting={"impression": waiting, "match": waiting})
    return MarketFigures(until=until, took_s=0.5, windows=(window,))


async def test_the_newest_figures_come_back_whole(market: Market, database: Database) -> None:
    assert await market.newest() is None
    now = await time_of(database)
    for minutes in (5, 1, 9):
        await market.keep(figures(now - timedelta(minutes=minutes)))
    assert await market.newest() == figures(now - timedelta(minutes=1))


async def test_of_older_days_the_last_figures_are_kept_and_after_three_months_none(database: Database, market: Market) -> None:
    noon = (await time_of(database)).replace(hour=12, minute=0, second=0, microsecond=0)
    for days, hours, gini in ((100, 0, 0.1), (50, 0, 0.2), (50, 3, 0.3), (49, 1, None), (0, 0, 0.4), (0, 1, 0.5), (0, 2, 0.6)):
        await market.keep(figures(noon - timedelta(days=days) + timedelta(hours=hours), gini))
    assert [point.gini for point in await market.by_day(7)] == [0.3, None, 0.6]
    async with database.engine.connect() as connection:
        kept = (await connection.execute(text("select count(*) from market_figures"))).scalar()
    assert kept == 5


async def test_points_of_the_curve_tell_the_share_of_the_unshown_of_their_window(database: Database, market: Market) -> None:
    await market.keep(figures(await time_of(database)))
    [point] = await market.by_day(7)
    assert (point.unshown_share, await market.by_day(28)) == (0.25, ())


async def time_of(database: Database) -> datetime:
    async with database.engine.connect() as connection:
        now: datetime = (await connection.execute(text("select now()"))).scalar_one()
    return now
