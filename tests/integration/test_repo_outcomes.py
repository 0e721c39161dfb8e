"""What the statistics are given: who was given what, which likes and matches belong to it. All answers are counted by hand."""

from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest

from service.domain import ExperimentArm, Kind
from service.repositories.calls import driver
from service.repositories.copied import columns
from service.repositories.database import Database
from service.repositories.outcomes import ExperimentOutcomes, Given, Liked, Observed
from tests.integration.experiment_log import Log, asked, slate

Row = tuple[int, ...]


@pytest.fixture
async def log(database: Database) -> Log:
    log = Log(database)
    await log.people(12)
    return log


@pytest.fixture
def outcomes(database: Database) -> ExperimentOutcomes:
    return ExperimentOutcomes(database.sessions)


def rows(table: Given | Liked, *names: str) -> list[Row]:
    columns = [getattr(table, name).tolist() for name in names]
    return sorted(zip(*columns, strict=True))


def given(observed: Observed) -> list[Row]:
    return rows(observed.given, "viewer", "arm", "day", "slates", "shown")


def liked(observed: Observed) -> list[Row]:
    return rows(observed.liked, "viewer", "arm", "day")


async def test_slates_are_counted_by_viewer_arm_and_day(log: Log, outcomes: ExperimentOutcomes) -> None:
    await log.gave(slate(1, [2, 3], 0), slate(1, [2, 3, 4], 0.99), slate(1, [5], 1), slate(2, [], 3.5, "treatment"))
    observed = await outcomes.observed(asked(days=10))
    assert given(observed) == [(1, 0, 0, 2, 5), (1, 0, 1, 1, 1), (2, 1, 3, 1, 0)]


async def test_slates_of_others_do_not_count(log: Log, outcomes: ExperimentOutcomes) -> None:
    other = ExperimentArm("other", "control")
    strange = (slate(1, [2], 1, experiment=other), slate(1, [2], 1, None), slate(1, [2], 1, "third"))
    await log.gave(*strange, slate(1, [2], -0.01), slate(1, [2], 5), slate(1, [3], 4.99))
    assert given(await outcomes.observed(asked(days=5))) == [(1, 0, 4, 1, 1)]


async def test_a_like_belongs_to_the_slate_that_it_names(log: Log, outcomes: ExperimentOutcomes) -> None:
    first, later = slate(1, [2, 3], 0, "treatment"), slate(1, [2, 3], 1, None)
    await log.gave(first, later)
    await log.did(1, 2, 2, first.slate_id)
    await log.did(1, 3, 2, later.slate_id)
    assert liked(await outcomes.observed(asked(days=5))) == [(1, 1, 2)]


async def test_a_like_that_names_a_slate_need_not_come_within_a_week(log: Log, outcomes: ExperimentOutcomes) -> None:
    shown = slate(1, [2], 0)
    await log.gave(shown)
    await log.did(1, 2, 20.5, shown.slate_id)
    assert liked(await outcomes.observed(asked(days=28))) == [(1, 0, 20)]


async def test_a_named_slate_of_somebody_else_or_without_the_person_is_worth_nothing(
    log: Log, outcomes: ExperimentOutcomes
) -> None:
    own, others = slate(1, [2], 0), slate(4, [3], 0)
    await log.gave(own, others, slate(1, [3, 5], 0.1))
    await log.did(1, 3, 0.5, own.slate_id)
    await log.did(1, 5, 0.5, others.slate_id)
    await log.did(1, 2, 0.5, uuid4())
    assert liked(await outcomes.observed(asked(days=5))) == []


async def test_a_like_that_names_no_slate_belongs_to_the_latest_that_showed_the_person(
    log: Log, outcomes: ExperimentOutcomes
) -> None:
    await log.gave(slate(1, [2, 3], 0), slate(1, [2], 1, None), slate(1, [4, 3], 1.5), slate(1, [2], 3))
    await log.did(1, 2, 2)  # the latest that showed 2 was of no experiment
    await log.did(1, 3, 2)
    assert liked(await outcomes.observed(asked(days=5))) == [(1, 0, 2)]


async def test_a_slate_of_more_than_a_week_ago_is_forgotten(log: Log, outcomes: ExperimentOutcomes) -> None:
    await log.gave(slate(1, [2, 3], 0))
    await log.did(1, 2, 6.99)
    await log.did(1, 3, 7.01)
    assert liked(await outcomes.observed(asked(days=28))) == [(1, 0, 6)]


async def test_what_was_liked_before_it_was_shown_or_never_shown_is_not_counted(log: Log, outcomes: ExperimentOutcomes) -> None:
    await log.did(1, 2, -1)
    await log.did(1, 3, 0.5)
    await log.gave(slate(1, [2, 3], 1))
    await log.did(1, 4, 2)
    assert liked(await outcomes.observed(asked(days=5))) == []


async def test_likes_that_were_taken_back_or_come_after_the_end_are_not_counted(log: Log, outcomes: ExperimentOutcomes) -> None:
    await log.gave(slate(1, [2, 3, 4], 0))
    await log.did(1, 2, 1)
    await log.did(1, 2, 2, kind=Kind.UNLIKE)
    await log.did(1, 3, 1, kind=Kind.PASS)
    await log.did(1, 4, 5)
    assert liked(await outcomes.observed(asked(days=5))) == []


async def test_a_like_that_the_clock_puts_before_its_named_slate_counts(log: Log, outcomes: ExperimentOutcomes) -> None:
    shown = slate(1, [2], 1)
    await log.gave(shown)
    await log.did(1, 2, 0.999, shown.slate_id)
    assert liked(await outcomes.observed(asked(days=5))) == [(1, 0, 0)]


async def test_a_match_counts_for_both_who_liked_out_of_a_slate_on_the_day_it_was_made(
    log: Log, outcomes: ExperimentOutcomes
) -> None:
    await log.gave(slate(1, [2, 3], 0), slate(2, [1], 3, "treatment"))
    await log.did(1, 2, 0.5)
    await log.did(1, 3, 0.5)
    await log.did(2, 1, 3.5)
    observed = await outcomes.observed(asked(days=5))
    assert rows(observed.liked, "viewer", "arm", "day", "match_day") == [(1, 0, 0, -1), (1, 0, 0, 3), (2, 1, 3, 3)]


async def test_a_match_that_was_there_before_the_slate_or_comes_after_the_end_is_none_of_its(
    log: Log, outcomes: ExperimentOutcomes
) -> None:
    await log.did(1, 2, 0.2)
    await log.did(2, 1, 0.3)
    named = slate(1, [2, 3], 1)
    await log.gave(named)
    await log.did(1, 2, 2, named.slate_id)  # said again: the match of before stands
    await log.did(1, 3, 2)
    await log.did(3, 1, 6)
    observed = await outcomes.observed(asked(days=5))
    assert rows(observed.liked, "target", "match_day") == [(2, -1), (3, -1)]


async def test_the_four_weeks_before_are_known_of_those_who_were_given_a_slate(log: Log, outcomes: ExperimentOutcomes) -> None:
    early = [slate(1, [2, 3], -28.1, None), slate(1, [2, 3, 4], -28, None), slate(1, [5], -0.1, None), slate(3, [1], -1, None)]
    await log.gave(*early, slate(1, [6], 0), slate(2, [6], 0))
    for target_id, day, kind in ((2, -29, Kind.LIKE), (3, -28, Kind.LIKE), (4, -1, Kind.PASS), (5, -0.1, Kind.LIKE)):
        await log.did(1, target_id, day, kind=kind)
    await log.did(3, 1, -1)
    before = (await outcomes.observed(asked(days=5))).before
    assert (before.shown_viewer.tolist(), before.shown.tolist()) == ([1], [4])
    assert (before.viewer.tolist(), before.likes.tolist(), before.opinions.tolist()) == ([1], [2], [3])


async def test_positions_and_likes_are_credited_to_the_team_that_brought_them(log: Log, outcomes: ExperimentOutcomes) -> None:
    drafted = slate(1, [2, 3, 4, 5], 0, "interleaved", teams=(0, 1, 1, -1))
    degraded = slate(1, [6], 0.1, "interleaved", teams=None)
    await log.gave(drafted, degraded)
    for target_id in (2, 3, 5, 6):
        await log.did(1, target_id, 1, drafted.slate_id if target_id == 3 else None)
    observed = await outcomes.observed(asked(5, ["interleaved"], with_teams=True))
    assert rows(observed.given, "viewer", "slates", "shown", "first", "second") == [(1, 1, 4, 1, 2)]
    assert rows(observed.liked, "target", "team") == [(2, 0), (3, 1), (5, -1)]


async def test_nothing_yet_is_empty_columns(log: Log, outcomes: ExperimentOutcomes) -> None:
    observed = await outcomes.observed(asked(days=1))
    arrays = [
        array for part in (observed.given, observed.liked, observed.before) for array in msgspec.structs.asdict(part).values()
    ]
    assert {(len(array), array.dtype) for array in arrays} == {(0, np.dtype(np.int64))}


async def test_columns_that_come_in_many_pieces_are_put_together_whole(database: Database) -> None:
    query = "select n::bigint, -n * $1::bigint from generate_series(1, 100000) n"
    async with database.sessions() as session:
        found = await columns(await driver(session), query, (10**12,), ("n", "scaled"))
    expected = np.arange(1, 100_001)
    assert np.array_equal(found["n"], expected)
    assert np.array_equal(found["scaled"], -expected * 10**12)


async def test_looking_does_not_hold_the_feed_of_changes_back(
    log: Log, outcomes: ExperimentOutcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.gave(slate(1, [2], 0))
    given_xids = []

    async def watched(connection: Any, *arguments: Any) -> dict[str, Any]:
        found = await columns(connection, *arguments)
        given_xids.append(await connection.fetchval("select pg_current_xact_id_if_assigned()"))
        return found

    monkeypatch.setattr("service.repositories.outcomes.columns", watched)
    await outcomes.observed(asked(days=1))
    assert given_xids == [None] * 4
