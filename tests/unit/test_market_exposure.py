"""The Lorenz curve and the Gini coefficient of exposure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain_market import Exposure, TimesShown
from service.market.exposure import spread
from service.training.metrics import gini

Amounts = st.lists(st.integers(0, 50), min_size=1, max_size=40)


def of(*times: int) -> Exposure:
    """Of people who were shown so often, one each."""
    found, people = np.unique(np.array(times, np.int64), return_counts=True)
    return spread(TimesShown(found[::-1].copy(), people[::-1].astype(np.int64)))


def test_where_all_are_shown_equally_often_the_curve_is_the_diagonal() -> None:
    found = of(3, 3, 3, 3)
    assert (found.gini, found.lorenz, found.unshown_share) == (0, ((0, 0), (1, 1)), 0)
    assert (found.top_tenth, found.top_hundredth) == (0.1, 0.01)


def test_where_one_of_ten_has_everything_the_others_are_unshown() -> None:
    found = of(*[0] * 9, 7)
    assert found.gini == pytest.approx(0.9)
    assert (found.unshown, found.unshown_share, found.top_tenth) == (9, 0.9, 1)
    assert found.lorenz == ((0, 0), (0.9, 0), (1, 1))


def test_a_curve_counted_by_hand() -> None:
    found = of(1, 1, 2, 6)
    assert found.lorenz == ((0, 0), (0.5, 0.2), (0.75, 0.4), (1, 1))
    assert found.gini == pytest.approx(0.4)
    assert (found.people, found.impressions) == (4, 10)


@pytest.mark.parametrize("times", [(), (0, 0, 0)])
def test_without_impressions_nothing_is_said_of_their_spread(times: tuple[int, ...]) -> None:
    found = of(*times)
    assert (found.people, found.unshown, found.gini, found.top_tenth, found.lorenz) == (len(times), len(times), None, None, ())
    assert found.unshown_share == (1 if times else None)


@given(Amounts)
def test_the_coefficient_is_that_of_single_people(times: list[int]) -> None:
    found = of(*times).gini
    assert (found is None) == (sum(times) == 0)
    assert found is None or found == pytest.approx(gini(np.array(times)), abs=1e-6)


def test_a_curve_of_many_points_is_thinned_and_stays_on_its_course() -> None:
    found = of(*[0] * 500, *range(1, 2001))
    assert len(found.lorenz) <= 101
    assert found.lorenz[:2] == ((0, 0), (0.2, 0))
    share, held = found.lorenz[50]
    n = round(share * 2500 - 500)
    assert held == pytest.approx(n * (n + 1) / (2000 * 2001), abs=1e-3)
    assert list(found.lorenz) == sorted(found.lorenz)
