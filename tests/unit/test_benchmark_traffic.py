"""Benchmarks of the cache tell the truth only if viewers follow Zipf's law and arrivals do not wait for anybody."""

import math

import numpy as np
import pytest

from benchmarks.traffic import RECOMMENDATIONS, arrivals_s, paths, popularity, quantile, viewers


def test_the_second_viewer_asks_half_as_often_as_the_first_and_all_make_one() -> None:
    shares = popularity(1000)
    assert shares.sum() == pytest.approx(1)
    assert shares[[0, 1, 9]] / shares[0] == pytest.approx([1, 1 / 2, 1 / 10])


def test_requests_are_shared_by_popularity() -> None:
    _, counts = np.unique(viewers(100, 200_000, seed=7), return_counts=True)
    drawn = np.sort(counts)[::-1] / 200_000
    assert drawn[:5] == pytest.approx(popularity(100)[:5], rel=0.03)


def test_every_viewer_is_one_of_the_ids() -> None:
    drawn = viewers(50, 20_000, seed=7)
    assert set(drawn.tolist()) == set(range(1, 51))


def test_popular_viewers_are_not_those_of_low_ids() -> None:
    drawn = viewers(10_000, 100_000, seed=7)
    assert drawn.mean() == pytest.approx(5000, rel=0.2)


def test_the_same_seed_draws_the_same_and_another_others() -> None:
    first = viewers(1000, 500, seed=7).tolist()
    assert viewers(1000, 500, seed=7).tolist() == first
    assert viewers(1000, 500, seed=8).tolist() != first


def test_paths_ask_for_these_viewers() -> None:
    assert paths([3, 1]) == [RECOMMENDATIONS.format(3), RECOMMENDATIONS.format(1)]


def test_arrivals_come_at_the_rate_within_the_time_and_in_order() -> None:
    times_s = arrivals_s(1500, 20, seed=7)
    assert len(times_s) == pytest.approx(30_000, abs=6 * math.sqrt(30_000))
    assert (np.diff(times_s) >= 0).all()
    assert 0 <= times_s[0] < times_s[-1] < 20


def test_arrivals_are_as_uneven_as_those_of_people_who_do_not_know_of_each_other() -> None:
    gaps_s = np.diff(arrivals_s(1000, 30, seed=7))
    assert gaps_s.std() == pytest.approx(gaps_s.mean(), rel=0.05)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.0, 1)])
def test_a_quantile_is_the_least_measured_value_that_the_share_does_not_exceed(share: float, value: float) -> None:
    assert quantile(list(range(1, 101)), share) == value


def test_a_quantile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.5))
