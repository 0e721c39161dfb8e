"""What tells a good list and a good probability from a bad one: pure functions on arrays.

Lists are given as the relevance of their entries in ranked order, best first. Undefined figures (nobody relevant, one class
only, nothing at all) are NaN, never 0 or 1, so that means over viewers can leave them out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.floating[Any]]


def ndcg(relevance: NDArray[Any], k: int) -> float:
    """Normalised discounted cumulative gain at k of one list, in [0, 1].

    `relevance`: gains >= 0 of the whole ranking, best-ranked first, shape (n,). Gain is linear, discount 1/log2(rank + 1); the
    ideal order is that of the same list. NaN where nothing is relevant. Source: Järvelin & Kekäläinen, TOIS 2002.
    """
    gains = np.asarray(relevance, np.float64)
    ideal = np.sort(gains)[::-1][:k]
    if not gains.any():
        return float("nan")
    discounts = 1.0 / np.log2(np.arange(2, min(k, len(gains)) + 2))
    return float((gains[:k] @ discounts) / (ideal @ discounts))


def recall(relevance: NDArray[Any], k: int) -> float:
    """Share of the relevant that stand in the first k, in [0, 1]; NaN where nothing is relevant.

    `relevance`: shape (n,), of the whole ranking, best-ranked first; anything above 0 is relevant.
    """
    relevant = np.asarray(relevance) > 0
    total = int(relevant.sum())
    return float(relevant[:k].sum() / total) if total else float("nan")


def auc(labels: NDArray[Any], scores: Floats) -> float:
    """Probability that a positive outscores a negative, ties counting half; NaN unless both classes are there.

    `labels`: 0 or 1, shape (n,); `scores`: shape (n,). By ranks (Mann-Whitney), O(n log n).
    """
    positive = np.asarray(labels) > 0
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def log_loss(labels: NDArray[Any], probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats; NaN for no rows.

    `labels`: 0 or 1, shape (n,); `probabilities` of 1, shape (n,), clipped to [1e-7, 1 - 1e-7] so that one certain error is
    dear but not infinite.
    """
    if not len(labels):
        return float("nan")
    certain = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(np.asarray(labels) > 0, np.log(certain), np.log1p(-certain))))


def brier(labels: NDArray[Any], probabilities: Floats) -> float:
    """Mean squared error of the probabilities, in [0, 1]; NaN for no rows. Source: Brier 1950."""
    if not len(labels):
        return float("nan")
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(labels, np.float64)) ** 2))


def calibration_error(labels: NDArray[Any], probabilities: Floats, n_bins: int = 15) -> float:
    """Expected calibration error, in [0, 1]: mean distance between what was said and what happened, over bins.

    Bins hold equally many rows, in order of probability: with a match rate of a few per cent, bins of equal width would leave
    all but one empty. NaN for no rows. Source: Naeini et al., AAAI 2015, with equal-mass bins.
    """
    n_rows = len(labels)
    if not n_rows:
        return float("nan")
    order = np.argsort(probabilities, kind="stable")
    said = np.asarray(probabilities, np.float64)[order]
    happened = np.asarray(labels, np.float64)[order]
    edges = np.linspace(0, n_rows, min(n_bins, n_rows) + 1).astype(np.int64)
    gaps = np.abs(np.add.reduceat(said - happened, edges[:-1]))
    return float(gaps.sum() / n_rows)


def gini(amounts: NDArray[Any]) -> float:
    """Inequality of `amounts` >= 0, shape (n,): 0 when all have the same, towards 1 when one has all; NaN when there is nothing.

    Of exposure: how often each person is shown.
    """
    ordered = np.sort(np.asarray(amounts, np.float64))
    total = ordered.sum()
    if not len(ordered) or total <= 0:
        return float("nan")
    ranks = np.arange(1, len(ordered) + 1)
    return float(2 * (ranks @ ordered) / (len(ordered) * total) - (len(ordered) + 1) / len(ordered))


def mean_defined(values: list[float]) -> float:
    """Mean of those that are not NaN; NaN when none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
