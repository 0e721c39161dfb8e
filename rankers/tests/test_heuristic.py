"""The heuristic ranker: modest probabilities, monotone in each of its four features."""

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch
from amity_rankers.heuristic import HeuristicFactory, HeuristicRanker
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = HeuristicFactory().required_features
MIDDLE = (0.5, 0.7, 7.0, 50.0)
BEST = (1.0, 1.0, 0.0, 0.0)
WORST = (0.0, 0.0, 10_000.0, 20_000.0)


def score(*rows: tuple[float, ...]) -> list[float]:
    features = np.array(rows, np.float32)
    batch = RankingBatch(1, np.arange(len(rows)), NAMES, features)
    return [float(value) for value in HeuristicRanker().score(batch)]


def test_person_in_the_middle_has_a_chance_of_five_percent() -> None:
    assert score(MIDDLE) == [pytest.approx(0.05, abs=0.002)]


def test_probabilities_stay_modest() -> None:
    best, worst = score(BEST, WORST)
    assert 0.3 < best < 0.4
    assert 0.001 < worst < 0.01


@settings(deadline=None, database=None)
@given(
    values=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 400), st.floats(0, 20_000)),
    index=st.integers(0, 3),
    share=st.floats(0, 1),
)
def test_each_feature_moves_the_score_one_way_only(values: tuple[float, ...], index: int, share: float) -> None:
    better = list(values)
    better[index] += share * (BEST[index] - values[index])
    before, after = score(values, tuple(better))
    assert after >= before


@pytest.mark.parametrize("index", range(4))
def test_unknown_lies_between_the_best_and_the_worst(index: int) -> None:
    rows = [tuple(value if place == index else MIDDLE[place] for place in range(4)) for value in (WORST[index], np.nan)]
    best = tuple(BEST[index] if place == index else MIDDLE[place] for place in range(4))
    worst_score, unknown_score, best_score = score(*rows, best)
    assert worst_score <= unknown_score < best_score


def test_without_vectors_the_rest_decides() -> None:
    far, near = score((np.nan, 0.7, 7.0, 200.0), (np.nan, 0.7, 7.0, 5.0))
    assert near > far


def test_active_long_ago_counts_less_than_an_empty_profile() -> None:
    gone, empty = score((0.5, 1.0, 365.0, 50.0), (0.5, 0.0, 0.0, 50.0))
    assert empty > gone


def test_last_seen_in_the_future_counts_as_now() -> None:
    future, now = score((0.5, 0.7, -3.0, 50.0), (0.5, 0.7, 0.0, 50.0))
    assert future == now


def test_reasons_are_against_the_person_in_the_middle() -> None:
    values = np.array([MIDDLE, (0.9, 0.7, 7.0, 50.0), (0.5, 0.7, 7.0, 500.0)], np.float32)
    middle, liked, far = HeuristicRanker().contributions(RankingBatch(1, np.arange(3), NAMES, values))
    np.testing.assert_allclose(middle, 0, atol=1e-6)
    assert liked.tolist() == pytest.approx([1.2, 0, 0, 0], abs=1e-6)
    assert far[3] < -0.2
