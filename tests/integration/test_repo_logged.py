"""Draws of exploration slots as the log tells them: among whom, what came of it, and what cannot be told."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from service.domain import Impression, Interaction, Kind, ServedFeatures, ShownPeople
from service.domain_experiments import LoggedDraw, Window
from service.repositories.database import Database
from service.repositories.impressions import Impressions
from service.repositories.interactions import Interactions
from service.repositories.logged import Logged
from service.repositories.maintenance import Maintenance
from service.repositories.users import Users
from tests.integration.repo_builders import settle

NOW = datetime.now(UTC)
HOUR_AGO = NOW - timedelta(hours=1)
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(minutes=1))
HOPEFULS = (4, 5, 6, 7, 8)


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    await settle(database, 20)


def slate(pool_id: UUID, explored: tuple[int, ...] = (5,), served_at: datetime = HOUR_AGO, **changes: Any) -> Impression:
    """Viewer 1 is shown 2 and 3 because they are ranked first, and somebody of the hopefuls by lot."""
    shown = (2, 3, *explored)
    people = ShownPeople(
        candidate_ids=shown,
        scores=(0.5,) * len(shown),
        propensities=(1.0, 1.0, *[len(explored) / 5] * len(explored)),
        exploration=(False, False, *[True] * len(explored)),
        sources=(("explore",),) * len(shown),
        hopefuls=changes.pop("hopefuls", 0b11111 if explored else 0),
    )
    given: dict[str, Any] = {
        "slate_id": uuid4(),
        "request_id": "",
        "viewer_id": 1,
        "served_at": served_at,
        "algorithm_version": "v1",
        "bundle_version": "b",
        "experiment": None,
        "pool_id": pool_id,
        "people": people,
        "cached": False,
        "degraded": False,
    }
    return Impression(**given | changes)


def features(pool_id: UUID, computed_at: datetime = HOUR_AGO) -> ServedFeatures:
    """People 2 to 8, whose one feature is their id."""
    ids = tuple(range(2, 9))
    return ServedFeatures(
        pool_id=pool_id,
        computed_at=computed_at,
        names=("distance_km",),
        candidate_ids=ids,
        matrix=np.array(ids, "<f4").tobytes(),
        explorable=(2, 3, 4, 5, 6),
    )


async def written(database: Database, *slates: Impression) -> None:
    await Impressions(database.sessions).write(list(slates), [features(pool) for pool in {one.pool_id for one in slates}])


async def liked(database: Database, target_id: int, at: datetime = NOW, actor_id: int = 1, **fields: Any) -> None:
    given = Interaction(actor_id=actor_id, target_id=target_id, kind=Kind.LIKE, occurred_at=at, **fields)
    await Interactions(database.sessions).record([given])


async def draws(database: Database, window: Window = WINDOW, at_most: int = 100) -> list[LoggedDraw]:
    return [draw async for batch in Logged(database.sessions).draws(window, at_most) for draw in batch]


async def likes(database: Database) -> list[int]:
    [draw] = await draws(database)
    return [int(who) for who in draw.ids[draw.liked]]


async def test_a_draw_comes_with_all_who_could_be_drawn_and_their_features(database: Database) -> None:
    await written(database, slate(uuid4()))
    [draw] = await draws(database)
    assert (draw.viewer_id, draw.served_at, draw.names) == (1, HOUR_AGO, ("distance_km",))
    assert tuple(draw.ids) == HOPEFULS
    assert draw.ids[draw.drawn].tolist() == [5]
    assert draw.features[:, 0].tolist() == list(HOPEFULS)
    assert not draw.liked.any()


async def test_only_those_are_hopefuls_whom_the_slate_names(database: Database) -> None:
    await written(database, slate(uuid4(), hopefuls=0b01010))
    [draw] = await draws(database)
    assert draw.ids.tolist() == [5, 7]


async def test_a_like_by_the_slate_counts_and_becomes_a_match_when_returned(database: Database) -> None:
    shown = slate(uuid4(), explored=(5, 7))
    await written(database, shown)
    await liked(database, 5, slate_id=shown.slate_id)
    await liked(database, 7, slate_id=shown.slate_id)
    await liked(database, 2, slate_id=shown.slate_id)
    await liked(database, 1, actor_id=7)
    [draw] = await draws(database)
    assert (draw.ids[draw.liked].tolist(), draw.ids[draw.matched].tolist()) == ([5, 7], [7])


async def test_a_like_by_another_pools_slate_is_not_this_draws(database: Database) -> None:
    first, second = slate(uuid4()), slate(uuid4(), explored=(), served_at=HOUR_AGO + timedelta(minutes=1))
    await written(database, first, second)
    await liked(database, 5, slate_id=second.slate_id)
    assert await likes(database) == []


async def test_a_like_without_a_slate_goes_to_the_last_that_showed_the_person(database: Database) -> None:
    later = slate(uuid4(), explored=(), served_at=HOUR_AGO + timedelta(minutes=9))
    again = ShownPeople(
        candidate_ids=(5,), scores=(0.5,), propensities=(1.0,), exploration=(False,), sources=(("admirers",),)
    )  # fmt: skip
    await written(database, slate(uuid4()), slate(later.pool_id, explored=(), served_at=later.served_at, people=again))
    await liked(database, 5, at=HOUR_AGO + timedelta(minutes=5))
    assert await likes(database) == [5]
    await liked(database, 5, at=HOUR_AGO + timedelta(minutes=10))
    assert await likes(database) == []


@pytest.mark.parametrize("after", [timedelta(minutes=-1), timedelta(days=8)])
async def test_a_like_from_before_or_a_week_after_is_not_the_slates(database: Database, after: timedelta) -> None:
    served_at = NOW - timedelta(days=9)
    shown = slate(uuid4(), served_at=served_at)
    await Impressions(database.sessions).write([shown], [features(shown.pool_id, served_at)])
    await liked(database, 5, at=served_at + after)
    [draw] = await draws(database, Window(NOW - timedelta(days=10), NOW))
    assert not draw.liked.any()


async def test_the_lots_of_a_pool_count_once(database: Database) -> None:
    """Whoever is drawn again was passed over; but a like by a later slate out of the pool is one for its draw."""
    pool_id = uuid4()
    silent = slate(pool_id, explored=(), served_at=HOUR_AGO - timedelta(minutes=2))
    first, again = slate(pool_id), slate(pool_id, explored=(6,), served_at=HOUR_AGO + timedelta(minutes=2))
    await written(database, silent, first, again)
    await liked(database, 5, slate_id=again.slate_id)
    await liked(database, 6, slate_id=again.slate_id)
    [draw] = await draws(database)
    assert (draw.served_at, draw.ids[draw.drawn].tolist(), draw.ids[draw.liked].tolist()) == (HOUR_AGO, [5], [5])


async def test_a_pool_first_shown_before_the_window_is_not_in_it(database: Database) -> None:
    pool_id = uuid4()
    await written(database, slate(pool_id), slate(pool_id, served_at=HOUR_AGO + timedelta(minutes=2)))
    window = Window(HOUR_AGO + timedelta(minutes=1), NOW)
    assert await draws(database, window) == []
    assert (await Logged(database.sessions).counts(window)).explored == 0


async def test_what_was_written_before_or_without_features_is_counted_and_left_out(database: Database) -> None:
    untold, lost, told = slate(uuid4(), hopefuls=0), slate(uuid4()), slate(uuid4())
    await Impressions(database.sessions).write([untold, lost, told], [features(untold.pool_id), features(told.pool_id)])
    counts = await Logged(database.sessions).counts(WINDOW)
    assert (counts.explored, counts.told) == (3, 2)
    assert len(await draws(database)) == 1


async def test_a_draw_that_left_no_choice_says_nothing(database: Database) -> None:
    everybody, beyond = slate(uuid4(), explored=HOPEFULS), slate(uuid4(), explored=(5, 12))
    await written(database, everybody, beyond)
    assert await draws(database) == []


async def test_the_erased_are_left_out_and_the_others_were_still_drawn_fairly(database: Database) -> None:
    await written(database, slate(uuid4(), explored=(5, 7)))
    for person_id in (7, 8):
        await Users(database.sessions).erase(person_id)
    await Maintenance(database.sessions, 90, 14).run()
    [draw] = await draws(database)
    assert (draw.ids.tolist(), draw.ids[draw.drawn].tolist()) == ([4, 5, 6], [5])


async def test_more_than_asked_for_are_drawn_by_lot(database: Database) -> None:
    shown = [slate(uuid4(), served_at=HOUR_AGO + timedelta(seconds=second)) for second in range(40)]
    await written(database, *shown)
    some = await draws(database, at_most=10)
    assert len(some) == 10
    assert {draw.served_at for draw in some} == {draw.served_at for draw in await draws(database, at_most=10)}
    assert sorted(draw.served_at for draw in some) != [one.served_at for one in shown[:10]]


async def test_what_does_not_hold_together_is_left_out(database: Database) -> None:
    await written(database, slate(uuid4()), slate(uuid4()))
    async with database.sessions() as session:
        await session.execute(text("update served_features set matrix = ''"))
        await session.commit()
    assert await draws(database) == []
