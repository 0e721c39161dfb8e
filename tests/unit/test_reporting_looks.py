"""From what the database counted to the tables of statistics, look by look."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.domain_experiments import ClusterMap
from service.experiments.outcomes import Credits, Outcomes
from service.reporting.looks import MOST_LOOKS, Moment, moments, tabulate
from service.repositories.outcomes import Before, Given, Liked, Observed

Rows = Sequence[tuple[int, ...]]
NOW = Moment(9, 10)


def table(kind: Any, rows: Rows) -> Any:
    width = len(kind.__struct_fields__)
    return kind(*np.array(rows, np.int64).reshape(-1, width).T)


def observed(given: Rows = (), liked: Rows = (), shown_before: Rows = (), opinions: Rows = ()) -> Observed:
    """`given`: viewer, arm, day, slates, shown, first, second; `liked`: viewer, target, arm, day, match_day, team."""
    shown, did = np.array(shown_before, np.int64).reshape(-1, 2).T, np.array(opinions, np.int64).reshape(-1, 3).T
    return Observed(given=table(Given, given), liked=table(Liked, liked), before=Before(*shown, *did))


def rows(outcomes: Outcomes | Credits, *names: str) -> list[tuple[float, ...]]:
    return sorted(zip(*(getattr(outcomes, name).tolist() for name in names), strict=True))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0.0, [Moment(0, 1)]),
        (0.5, [Moment(0, 1)]),
        (1.0, [Moment(1, 1)]),
        (2.5, [Moment(1, 1), Moment(2, 2), Moment(2, 3)]),
        (3.0, [Moment(1, 1), Moment(2, 2), Moment(3, 3)]),
    ],
)
def test_one_looks_at_the_end_of_each_day_and_now(days: float, expected: list[Moment]) -> None:
    assert list(moments(days)) == expected


@pytest.mark.parametrize("days", [60.0, 61.0, 150.5, 1000.0])
def test_a_long_experiment_is_looked_at_less_often_and_to_its_end(days: float) -> None:
    looks = moments(days)
    assert len(looks) <= MOST_LOOKS + 1
    assert looks[-1].before >= days
    assert looks[0].days > 0


def test_a_look_sees_what_had_happened_by_then() -> None:
    given = [(7, 0, 0, 2, 40, 0, 0), (7, 0, 3, 1, 20, 0, 0), (8, 1, 2, 1, 10, 0, 0)]
    liked = [(7, 1, 0, 0, 3, -1), (7, 2, 0, 3, -1, -1), (8, 3, 1, 2, 2, -1)]
    found = tabulate(observed(given, liked), 2)
    names = ("unit", "arm", "slates", "shown", "likes", "matches", "first_day")
    assert rows(found.outcomes(Moment(1, 1)), *names) == [(7, 0, 2, 40, 1, 0, 0)]
    assert rows(found.outcomes(Moment(3, 3)), *names) == [(7, 0, 2, 40, 1, 0, 0), (8, 1, 1, 10, 1, 1, 2)]
    assert rows(found.outcomes(Moment(3, 4)), *names) == [(7, 0, 3, 60, 2, 1, 0), (8, 1, 1, 10, 1, 1, 2)]
    assert found.outcomes(Moment(3, 4)).days == 3


def test_what_viewers_did_before_is_theirs_and_0_where_it_was_nothing() -> None:
    given = [(7, 0, 0, 1, 5, 0, 0), (2**62, 1, 0, 1, 5, 0, 0), (9, 1, 0, 1, 5, 0, 0)]
    found = tabulate(observed(given, (), [(2**62, 30)], [(7, 2, 5), (2**62, 1, 1)]), 2)
    names = ("unit", "pre_shown", "pre_likes", "pre_opinions")
    assert rows(found.outcomes(NOW), *names) == [(7, 0, 2, 5), (9, 0, 0, 0), (2**62, 30, 1, 1)]


def test_a_like_that_a_clock_puts_before_its_slate_comes_with_the_slate() -> None:
    found = tabulate(observed([(7, 0, 2, 1, 5, 0, 0)], [(7, 1, 0, 1, 1, -1)]), 1)
    assert len(found.outcomes(Moment(2, 2))) == 0
    assert rows(found.outcomes(Moment(3, 3)), "likes", "matches") == [(1, 1)]


def test_units_are_the_clusters_and_who_is_in_none_is_left_out() -> None:
    given = [(viewer, arm, 0, 1, 5, 0, 0) for viewer, arm in ((3, 0), (5, 0), (8, 1), (9, 1))]
    clusters = ClusterMap(np.array([3, 5, 8]), np.array([0, 0, 4], np.int32))
    found = tabulate(observed(given, [(9, 1, 1, 0, -1, -1)]), 2, clusters)
    assert rows(found.outcomes(NOW), "unit", "arm", "likes") == [(0, 0, 0), (0, 0, 0), (4, 1, 0)]
    assert (found.alien, found.crossed) == (1, 0)


def test_who_was_seen_in_two_arms_is_left_out_with_the_whole_cluster() -> None:
    given = [(viewer, arm, 0, 1, 5, 0, 0) for viewer, arm in ((3, 0), (3, 1), (5, 0), (8, 1))]
    assert rows(tabulate(observed(given), 2).outcomes(NOW), "unit", "arm") == [(5, 0), (8, 1)]
    clusters = ClusterMap(np.array([3, 5, 8]), np.array([1, 1, 2], np.int32))
    found = tabulate(observed(given), 2, clusters)
    assert rows(found.outcomes(NOW), "unit", "arm") == [(2, 1)]
    assert found.crossed == 3


def test_likes_of_people_in_another_arm_are_told() -> None:
    given = [(1, 0, 0, 1, 5, 0, 0), (2, 1, 0, 1, 5, 0, 0), (3, 0, 0, 1, 5, 0, 0)]
    liked = [(1, 2, 0, 0, -1, -1), (1, 3, 0, 0, -1, -1), (1, 99, 0, 0, -1, -1), (2, 1, 1, 0, -1, -1)]
    assert tabulate(observed(given, liked), 2).touched() == 0.5
    assert tabulate(observed(given), 2).touched() is None


def test_credits_go_to_the_team_and_nobodys_to_nobody() -> None:
    given = [(1, 0, 0, 2, 12, 5, 6), (1, 0, 1, 1, 6, 3, 3)]
    liked = [(1, 2, 0, 0, 1, 0), (1, 3, 0, 0, -1, 1), (1, 4, 0, 1, 1, 1), (1, 5, 0, 0, 0, -1)]
    found = tabulate(observed(given, liked), 1)
    names = ("slates", "first_shown", "second_shown", "first_likes", "second_likes", "first_matches", "second_matches")
    assert rows(found.credits(Moment(1, 1)), *names) == [(2, 5, 6, 1, 1, 0, 0)]
    assert rows(found.credits(Moment(2, 2)), *names) == [(3, 8, 9, 1, 2, 1, 1)]


def test_nothing_at_all_is_an_empty_table() -> None:
    found = tabulate(observed(), 2)
    assert (len(found.outcomes(NOW)), len(found.credits(NOW)), found.touched()) == (0, 0, None)
