"""The simulation of interleaving against A/B, in small; `python -m benchmarks.interleaving` is the whole."""

import numpy as np
import pytest

from benchmarks.interleaving import MOST_SHARE_OF_AB, POWER, Crowd, Market, alarms, by_ab, by_interleaving, power, wanted


def crowd(noise: tuple[float, float], seed: int = 1) -> Crowd:
    return Market(np.random.default_rng(seed), 2000, noise).crowd()


@pytest.fixture(scope="module")
def unlike() -> Crowd:
    """Before whom one ranker is clearly better."""
    return crowd((1.2, 0.8))


def test_interleaving_picks_the_better_ranker_with_a_fifth_of_the_viewers_of_ab(unlike: Crowd) -> None:
    ab, interleaved = (wanted(unlike, judge, n_experiments=100) for judge in (by_ab, by_interleaving))
    assert interleaved <= MOST_SHARE_OF_AB * ab
    assert power(unlike, by_interleaving, interleaved, 400, seed=9) > POWER - 0.08
    assert power(unlike, by_ab, ab // 5, 400, seed=9) < 0.5


def test_with_intervals_that_hold_at_every_look_as_well(unlike: Crowd) -> None:
    ab, interleaved = (wanted(unlike, judge, n_experiments=60, daily=True) for judge in (by_ab, by_interleaving))
    assert interleaved <= MOST_SHARE_OF_AB * ab


def test_the_worse_ranker_is_hardly_ever_picked(unlike: Crowd) -> None:
    rng = np.random.default_rng(4)
    assert np.mean([by_interleaving(unlike.drawn(rng, 60)).z < -1.96 for _ in range(200)]) < 0.01


def test_of_two_rankers_as_good_as_each_other_neither_is_preferred() -> None:
    equals = crowd((0.8, 0.8))
    won = equals.credits.second_likes - equals.credits.first_likes
    assert abs(won.mean()) < 3 * won.std() / np.sqrt(len(won))
    assert alarms(equals, by_interleaving, 100, 400) < 0.1
