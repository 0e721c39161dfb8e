"""Ranker `v1` learns what decides, gives probabilities that hold, and scores without scikit-learn."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from amity_rankers import calibration
from amity_rankers.checks import plausible
from amity_rankers.contract import Floats, RankingBatch, TrainingExamples
from amity_rankers.logistic import FEATURES, LogisticFactory, LogisticRanker
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rankers.tests.made_up import batch_of, examples_of, log_loss

Doubles = NDArray[np.float64]


def features(n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return np.stack([plausible(name, n, rng) for name in FEATURES], axis=1)


def truth(values: Floats, shift: float = 0.0) -> Doubles:
    """Probability of a match in a world where both affinities, distance and an earlier like decide, not quite in a line."""

    def of(name: str) -> Doubles:
        return values[:, FEATURES.index(name)].astype(np.float64)

    log_odds = 1.2 * of("forward_affinity") + 0.8 * of("backward_affinity") - 0.5 * np.log1p(of("distance_km"))
    log_odds = log_odds + 1.5 * of("likes_viewer") + 0.4 * of("forward_affinity") * of("backward_affinity") - 0.5 + shift
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def examples(n: int = 20_000, seed: int = 1, later_shift: float = 0.0) -> TrainingExamples:
    return examples_of(FEATURES, features(n, seed), truth, seed, later_shift)


def score(ranker: LogisticRanker, values: Floats) -> Floats:
    return ranker.score(batch_of(FEATURES, values))


def sigmoid(log_odds: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def calibration_error(chances: NDArray[np.floating], matched: NDArray[np.floating]) -> float:
    """ECE: mean distance of forecast and rate in ten bins of equally many people."""
    bins = np.array_split(np.argsort(chances), 10)
    return float(np.mean([abs(chances[rows].mean() - matched[rows].mean()) for rows in bins]))


def auc(scores: NDArray[np.floating], matched: NDArray[np.floating]) -> float:
    ranks = np.argsort(np.argsort(scores)) + 1.0
    n_matched = matched.sum()
    wins = ranks[matched > 0].sum() - n_matched * (n_matched + 1) / 2
    return float(wins / (n_matched * (len(matched) - n_matched)))


@pytest.fixture(scope="module")
def ranker() -> LogisticRanker:
    return LogisticFactory().train(examples())


def test_ranks_nearly_as_well_as_who_knows_the_truth(ranker: LogisticRanker) -> None:
    unseen = features(20_000, seed=5)
    matched = (np.random.default_rng(6).random(20_000) < truth(unseen)).astype(np.float32)
    assert auc(score(ranker, unseen), matched) > auc(truth(unseen), matched) - 0.03


def test_calibration_follows_the_latest_rows() -> None:
    shifted = LogisticFactory().train(examples(later_shift=-1.0))
    unseen = features(20_000, seed=5)
    matched = (np.random.default_rng(6).random(20_000) < truth(unseen, -1.0)).astype(np.float32)
    before, after = sigmoid(shifted.log_odds(unseen)), score(shifted, unseen)
    assert calibration_error(after, matched) < 0.02
    assert calibration_error(after, matched) < calibration_error(before, matched) / 3
    assert log_loss(after, matched) < log_loss(before, matched) - 0.01


def test_calibration_rows_do_not_enter_the_fit() -> None:
    straight, shifted = (LogisticFactory().train(examples(later_shift=shift)) for shift in (0.0, 3.0))
    np.testing.assert_array_equal(straight.coefficients, shifted.coefficients)
    assert straight.curve != shifted.curve


def test_calibration_keeps_the_order(ranker: LogisticRanker) -> None:
    unseen = features(500, seed=7)
    np.testing.assert_array_equal(np.argsort(ranker.log_odds(unseen)), np.argsort(score(ranker, unseen)))


@settings(deadline=None, database=None)
@given(
    a=st.floats(calibration.LEAST_SLOPE, 20),
    b=st.floats(calibration.LEAST_SLOPE, 20),
    c=st.floats(-20, 20),
    low=st.floats(-1e9, 1e9),
    step=st.floats(0, 1e9),
)
def test_every_curve_rises(a: float, b: float, c: float, low: float, step: float) -> None:
    left, right = calibration.apply((a, b, c), np.array([low, low + step]))
    assert 0 <= left <= right <= 1


def test_curve_of_no_examples_is_the_identity() -> None:
    nothing = np.zeros(0)
    assert calibration.fit(nothing, nothing, nothing) == calibration.IDENTITY
    log_odds = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(calibration.apply(calibration.IDENTITY, log_odds), sigmoid(log_odds), rtol=1e-12)


def test_one_lone_match_does_not_bend_the_curve_far() -> None:
    curve = calibration.fit(np.array([-3.0]), np.ones(1), np.ones(1))
    assert calibration.apply(curve, np.array([-3.0]))[0] < 0.3


def test_weights_count_like_copies() -> None:
    heavy = examples(n=2000)
    weights = np.where(heavy.matched > 0, np.float32(3), np.float32(1))
    times = weights.astype(int)
    many = replace(
        heavy,
        viewer_ids=np.repeat(heavy.viewer_ids, times),
        candidate_ids=np.repeat(heavy.candidate_ids, times),
        features=np.repeat(heavy.features, times, axis=0),
        matched=np.repeat(heavy.matched, times),
        calibration=np.repeat(heavy.calibration, times),
        weights=np.ones(times.sum(), np.float32),
    )
    unseen = features(200, seed=3)
    weighted = LogisticFactory().train(replace(heavy, weights=weights))
    # Not the same to the last bit: means and deviations are those of the rows, whatever their weights.
    np.testing.assert_allclose(score(weighted, unseen), score(LogisticFactory().train(many), unseen), atol=0.05)
    assert score(weighted, unseen).mean() > score(LogisticFactory().train(heavy), unseen).mean() + 0.05


def test_being_unknown_can_speak_for_itself() -> None:
    known = examples()
    values, column = known.features.copy(), FEATURES.index("age_gap_years")
    hidden = (known.matched == 0) & (np.arange(len(values)) % 2 == 0)
    values[hidden, column] = np.nan
    ranker = LogisticFactory().train(replace(known, features=values))
    unseen = features(200, seed=3)
    unknown = unseen.copy()
    unknown[:, column] = np.nan
    assert (score(ranker, unknown) < score(ranker, unseen)).all()


def test_feature_nobody_has_in_training_does_not_matter_later() -> None:
    known = examples(n=2000)
    values, column = known.features.copy(), FEATURES.index("content_similarity")
    values[:, column] = np.nan
    ranker = LogisticFactory().train(replace(known, features=values))
    unseen = features(50, seed=3)
    changed = unseen.copy()
    changed[:, column] = 0.99
    np.testing.assert_array_equal(score(ranker, unseen), score(ranker, changed))


def test_one_outcome_only_gives_its_rate() -> None:
    nobody = replace(examples(n=1000), matched=np.zeros(1000, np.float32))
    scores = score(LogisticFactory().train(nobody), features(50, seed=3))
    assert scores.max() < 0.01
    assert np.ptp(scores) == 0


def test_log_odds_of_a_person_do_not_depend_on_the_company(ranker: LogisticRanker) -> None:
    unseen = features(333, seed=3)
    together = ranker.log_odds(unseen)
    assert [ranker.log_odds(unseen[row : row + 1])[0] for row in range(333)] == together.tolist()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("means", None, "'means' is missing"),
        ("coefficients", np.zeros(3), "not of shape"),
        ("curve", np.array([1.0, np.nan, 0.0]), "not finite"),
        ("names", np.frombuffer(b"looks", np.uint8), "other features"),
        ("format", np.array(2), "format 2"),
        ("scales", np.zeros(len(FEATURES)), "not positive"),
        ("curve", np.array([-1.0, 1.0, 0.0]), "not positive"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    ranker: LogisticRanker, name: str, values: NDArray[np.float64] | None, said: str
) -> None:
    arrays = dict(LogisticFactory().dump(ranker))
    arrays.pop(name)
    if values is not None:
        arrays[name] = values
    with pytest.raises(ValueError, match=said):
        LogisticFactory().load(arrays)


def test_serving_never_imports_scikit_learn() -> None:
    program = """
import sys, numpy as np
from amity_rankers.contract import RankingBatch
from amity_rankers.logistic import FEATURES, LogisticFactory, LogisticRanker
k = len(FEATURES)
made = LogisticRanker(np.zeros(k), np.ones(k), np.ones(k), np.zeros(k), 0.0, (1.0, 1.0, 0.0))
factory = LogisticFactory()
factory.load(factory.dump(made)).score(RankingBatch(1, np.arange(2), FEATURES, np.zeros((2, k), np.float32)))
print([name for name in sys.modules if name.split(".")[0] in ("sklearn", "scipy")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reasons_add_up_to_the_log_odds_but_for_the_intercept(ranker: LogisticRanker) -> None:
    unseen = features(300, seed=3)
    unseen[::5, ::4] = np.nan
    reasons = ranker.contributions(RankingBatch(1, np.arange(300), FEATURES, unseen))
    np.testing.assert_allclose(reasons.sum(axis=1, dtype=np.float64) + ranker.intercept, ranker.log_odds(unseen), atol=1e-4)
