"""Metrics against values worked out by hand, against scikit-learn, and their laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, ndcg_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from service.training import metrics

gains = st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=1, max_size=40)
labels_and_scores = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


def test_ndcg_by_hand() -> None:
    # relevant at ranks 1 and 3: (1 + 1/2) / (1 + 1/log2(3))
    assert metrics.ndcg(np.array([1, 0, 1, 0]), 20) == pytest.approx(1.5 / (1 + 1 / math.log2(3)))


def test_ndcg_looks_at_the_first_k_only() -> None:
    assert metrics.ndcg(np.array([0, 0, 1]), 2) == 0.0


def test_ideal_order_holds_no_more_than_k() -> None:
    assert metrics.ndcg(np.ones(30), 20) == pytest.approx(1.0)


@given(gains, st.integers(1, 50))
def test_ndcg_is_between_0_and_1_and_best_for_the_ideal_order(relevance: list[float], k: int) -> None:
    value = metrics.ndcg(np.array(relevance), k)
    if not any(relevance):
        assert math.isnan(value)
    else:
        assert 0.0 <= value <= 1.0 + 1e-12
        assert metrics.ndcg(np.array(sorted(relevance, reverse=True)), k) == pytest.approx(1.0)


@given(gains.filter(lambda values: len(values) > 1 and any(values)), st.integers(1, 50))
def test_ndcg_agrees_with_scikit_learn(relevance: list[float], k: int) -> None:
    falling = np.arange(len(relevance), 0, -1.0)
    assert metrics.ndcg(np.array(relevance), k) == pytest.approx(ndcg_score([relevance], [falling], k=k))


def test_recall_by_hand() -> None:
    assert metrics.recall(np.array([1, 0, 1, 1]), 3) == pytest.approx(2 / 3)


def test_recall_without_anything_relevant_is_undefined() -> None:
    assert math.isnan(metrics.recall(np.zeros(5), 3))


def test_auc_counts_ties_as_half() -> None:
    assert metrics.auc(np.array([1, 0]), np.array([0.3, 0.3])) == 0.5


@given(labels_and_scores)
def test_auc_agrees_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    labels, scores = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    value = metrics.auc(labels, scores)
    if len(set(labels)) < 2:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(labels, scores))


@given(labels_and_scores)
def test_probability_losses_agree_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in rows], np.float64)
    said = np.array([0.02 + score / 21 * 0.95 for _, score in rows])
    assert metrics.log_loss(labels, said) == pytest.approx(sklearn_log_loss(labels, said, labels=[0, 1]))
    assert metrics.brier(labels, said) == pytest.approx(brier_score_loss(labels, said, pos_label=1))


def test_certain_error_is_dear_but_finite() -> None:
    assert metrics.log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-math.log(1e-7))


def test_calibration_error_by_hand() -> None:
    # two bins of two: said .1, happened .5 -> .4; said .8, happened 1 -> .2
    said, happened = np.array([0.8, 0.1, 0.8, 0.1]), np.array([1, 0, 1, 1])
    assert metrics.calibration_error(happened, said, n_bins=2) == pytest.approx(0.3)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_saying_the_rate_is_calibrated_in_one_bin(labels: list[bool]) -> None:
    said = np.full(len(labels), np.mean(labels))
    assert metrics.calibration_error(np.array(labels), said, n_bins=1) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("amounts", "expected"), [([1, 1, 1, 1], 0.0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25)])
def test_gini_by_hand(amounts: list[int], expected: float) -> None:
    assert metrics.gini(np.array(amounts)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40).filter(any), st.integers(2, 5))
def test_gini_is_the_same_for_a_multiple_and_for_another_order(amounts: list[int], factor: int) -> None:
    value = metrics.gini(np.array(amounts))
    assert 0.0 <= value < 1.0 or value == pytest.approx(0.0)
    assert metrics.gini(np.array(amounts[::-1]) * factor) == pytest.approx(value)


@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.brier, metrics.calibration_error])
def test_no_rows_make_a_probability_loss_undefined(metric: Callable[..., float]) -> None:
    assert math.isnan(metric(np.zeros(0), np.zeros(0)))


def test_mean_leaves_out_the_undefined() -> None:
    assert metrics.mean_defined([1.0, float("nan"), 3.0]) == 2.0
    assert math.isnan(metrics.mean_defined([float("nan")]))
