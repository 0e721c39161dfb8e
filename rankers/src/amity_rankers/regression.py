"""Logistic regression as the rankers fit it: with the helpers around it, in float64. Only training imports scikit-learn."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

REGULARISATION = 1.0


def moments(values: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of the values that are there; 0 and 1 where there are none or they are all the same."""
    there = ~np.isnan(values)
    counts = np.maximum(there.sum(axis=0), 1)
    means = np.where(there, values, 0.0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(there, values - means, 0.0) ** 2).sum(axis=0) / counts)
    return means, np.where(deviations > 1e-6 * np.maximum(np.abs(means), 1.0), deviations, 1.0)


def regress(columns: Doubles, matched: Doubles, weights: Doubles) -> tuple[Doubles, float]:
    """Coefficients and intercept. Where only one outcome was seen, the rate alone, with half a match in ten examples added."""
    if len(np.unique(matched)) < 2:
        rate = (float(matched @ weights) + 0.5) / (len(matched) + 10.0)
        return np.zeros(columns.shape[1]), float(np.log(rate / (1.0 - rate)))
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0 / REGULARISATION, solver="newton-cholesky", max_iter=200)
    model.fit(columns, matched, sample_weight=weights)
    return model.coef_[0], float(model.intercept_[0])


def mean_one(weights: Doubles) -> Doubles:
    return weights / weights.mean() if len(weights) else weights
