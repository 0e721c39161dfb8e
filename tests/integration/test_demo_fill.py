"""Filling a real database with the demo population."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from service.domain import Profile
from service.errors import OperatorError
from service.repositories.changes import Changes
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.matches import Matches
from service.repositories.users import Users
from service.telemetry import silent
from service.transfer.demo import DemoRequest, fill, generate

REQUEST = DemoRequest(n_people=150, seed=3, reference=datetime(2026, 11, 23, tzinfo=UTC))
NOBODY_ELSE = "is only put into an empty one"


async def everyone(database: Database) -> list[Profile]:
    return [person async for batch in Users(database.sessions).stream() for person in batch]


async def test_everything_generated_is_in_the_database(database: Database) -> None:
    report = await fill(database, REQUEST, silent)
    population = generate(REQUEST)
    assert await everyone(database) == population.people
    stored = await Interactions(database.sessions).load_all()
    assert sorted(zip(stored.actor.tolist(), stored.target.tolist(), stored.occurred_at_s.tolist(), strict=True)) == sorted(
        zip(population.actors.tolist(), population.targets.tolist(), population.times_s.tolist(), strict=True)
    )
    assert (report.n_people, report.n_interactions, report.written) == (150, len(population.actors), True)


async def test_matches_are_those_that_the_likes_make(database: Database) -> None:
    await fill(database, REQUEST, silent)
    for user_id in range(1, 31):
        found = await Users(database.sessions).viewer(user_id)
        assert found is not None
        matches = await Matches(database.sessions).page(user_id, 100, None)
        assert {match.user_id for match in matches} == found[1].liked & found[1].liked_by


async def test_the_feed_tells_of_the_new_people(database: Database) -> None:
    changes = Changes(database.sessions)
    before = await changes.horizon()
    await fill(database, REQUEST, silent)
    told: set[int] = set()
    async with asyncio.timeout(60):  # any transaction of the server, of another test say, holds the feed back until it ends
        while told != set(range(1, 151)):
            news = await changes.read(before, limit=100)
            told = {person for change in news if change.entity == "user" for person in change.ids}
            await asyncio.sleep(0.05)


async def test_filling_again_with_the_same_demo_changes_nothing(database: Database) -> None:
    await fill(database, REQUEST, silent)
    tomorrow = msgspec.structs.replace(REQUEST, reference=datetime(2026, 11, 24, tzinfo=UTC))
    again = await fill(database, tomorrow, silent)
    assert not again.written
    assert (await everyone(database)) == generate(REQUEST).people


async def test_another_demo_is_refused_in_a_line_that_names_the_one_there(database: Database) -> None:
    await fill(database, REQUEST, silent)
    with pytest.raises(OperatorError, match="seed 3 and size 150.*" + NOBODY_ELSE):
        await fill(database, msgspec.structs.replace(REQUEST, seed=4), silent)


async def test_database_that_holds_anyone_is_refused(database: Database) -> None:
    await Users(database.sessions).put(Profile(id=9, name="Real", created_at=REQUEST.reference))
    with pytest.raises(OperatorError, match="holds 1 people.*" + NOBODY_ELSE):
        await fill(database, REQUEST, silent)
    assert len(await everyone(database)) == 1


async def test_fill_that_is_cut_off_leaves_nothing_and_can_be_run_again(database: Database) -> None:
    def cut_off(step: str, done: int, total: int | None) -> None:
        if step == "Demo: writing interactions":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await fill(database, REQUEST, cut_off)
    assert await everyone(database) == []
    assert (await fill(database, REQUEST, silent)).written


async def test_two_fills_at_once_write_once(database: Database) -> None:
    reports = await asyncio.gather(fill(database, REQUEST, silent), fill(database, REQUEST, silent))
    assert sorted(report.written for report in reports) == [False, True]
    assert len(await everyone(database)) == 150


async def test_ids_that_were_erased_come_back_as_somebody_new(database: Database) -> None:
    await Users(database.sessions).put(Profile(id=9, name="Gone", created_at=REQUEST.reference))
    await Users(database.sessions).erase(9)
    await fill(database, REQUEST, silent)
    people = await everyone(database)
    assert {person.id: person.incarnation for person in people if person.incarnation != 1} == {9: 2}
