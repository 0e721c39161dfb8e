"""How long newcomers wait, some of them still."""

import numpy as np
import pytest

from service.domain_market import Arrivals, MarketCounts, TimesShown, Waiting
from service.market.figures import figures
from service.market.survival import waiting
from tests.integration.experiment_log import START

HOUR_US = 3_600_000_000


def of(*people: tuple[float | None, float]) -> Waiting:
    """Of people who waited so many hours, None: still, and who joined so many hours ago."""
    waited = [-1 if hours is None else round(hours * HOUR_US) for hours, _ in people]
    return waiting(np.array(waited, np.int64), np.array([round(age * HOUR_US) for _, age in people], np.int64))


def test_where_nobody_waits_any_more_quantiles_are_those_of_the_waiting_times() -> None:
    found = of(*((float(hours), 100.0) for hours in range(1, 11)))
    assert (found.seen, found.hours) == (10, {"0.5": 5, "0.9": 9})
    assert found.curve[:2] == ((1, 0.1), (2, 0.2))


def test_who_still_waits_makes_the_median_later() -> None:
    """Freireich's patients on 6-mercaptopurine, weeks; a median of 23 by Kaplan and Meier, 10 of those who relapsed."""
    relapsed = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    in_remission = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    found = of(*((week, 40) for week in relapsed), *((None, week) for week in in_remission))
    assert found.hours == {"0.5": 23, "0.9": None}
    assert found.curve == (
        (6, 0.14286), (7, 0.19328), (10, 0.24706), (13, 0.30980), (16, 0.37255), (22, 0.46218), (23, 0.55182)
    )  # fmt: skip


def test_who_joined_a_moment_ago_says_nothing_yet() -> None:
    assert of((2, 10), (2, 10), (None, 0.5), (None, 0.1)).hours == {"0.5": 2, "0.9": 2}


def test_a_quantile_that_is_not_reached_is_not_known() -> None:
    assert of((1, 10), (None, 10), (None, 10)).hours == {"0.5": None, "0.9": None}


def test_without_newcomers_nothing_is_known() -> None:
    assert of() == Waiting(seen=0, hours={"0.5": None, "0.9": None}, curve=())


def test_an_event_before_joining_is_one_without_waiting() -> None:
    assert of((5, -3), (0, 2)).hours["0.5"] == 0


def test_a_long_curve_is_thinned_to_its_end() -> None:
    found = of(*((float(hours), 2000.0) for hours in range(1, 1001)))
    assert (len(found.curve), found.curve[0], found.curve[-1]) == (80, (1, 0.001), (1000, 1))


@pytest.mark.parametrize(("days", "n_newcomers"), [(1, 2), (7, 3), (28, 4)])
def test_newcomers_of_a_window_joined_in_it(days: int, n_newcomers: int) -> None:
    age = np.array([2, 24, 100, 500]) * HOUR_US
    none, shown = np.full(4, -1), TimesShown(np.array([0]), np.array([4]))
    counts = MarketCounts(START, {7: shown, 28: shown, 1: shown}, Arrivals(age, none, none))
    [window] = [each for each in figures(counts) if each.days == days]
    assert (window.newcomers, window.waiting["match"].seen) == (n_newcomers, 0)
