"""Predicts what comes of showing people to one another from the features as served: what doubly robust estimates start from."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FOLDS = 5
LEAST_OUTCOMES = 10
"""With fewer of either kind the rate alone is predicted: a model would learn the noise."""
FURTHEST = 5.0
"""Standard deviations that a feature is followed."""
REGULARISATION = 0.1


def predict(features: Floats, happened: Doubles, shown: Mask, viewer: Ints) -> Doubles:
    """The probability of the outcome for each person, float64 (r,), by a model that never saw an outcome of this viewer.

    `features` float32 (r, f), NaN where unknown; `happened` float64 (r,), 0 or 1, known where `shown`; `viewer` int64 (r,).
    Logistic regression, fitted FOLDS times on the people shown to other viewers ("cross-fitting": Chernozhukov et al.,
    Econometrics Journal 2018), so that an estimate which corrects it by the outcomes stays right on average.
    """
    _, whose = np.unique(viewer, return_inverse=True)
    fold = np.random.default_rng([len(viewer), 8]).permutation(int(whose.max()) + 1)[whose] % FOLDS if len(viewer) else whose
    predicted = np.zeros(len(viewer))
    for index in range(FOLDS):
        mine, others = fold == index, shown & (fold != index)
        predicted[mine] = _fitted(features[others], happened[others], features[mine])
    return predicted


def _fitted(seen: Floats, happened: Doubles, wanted: Floats) -> Doubles:
    n_yes = int(happened.sum())
    if min(n_yes, len(happened) - n_yes) < LEAST_OUTCOMES or not seen.shape[1]:
        return np.full(len(wanted), (n_yes + 0.5) / (len(happened) + 1.0))
    from sklearn.linear_model import LogisticRegression  # a second to import, and for this alone

    known = np.isfinite(seen)
    n_known = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, seen, 0).sum(axis=0, dtype=np.float64) / n_known
    spreads = np.sqrt((np.where(known, seen - means, 0) ** 2).sum(axis=0) / n_known)
    spreads[spreads == 0] = 1.0

    def standardised(rows: Floats) -> Doubles:
        values = np.clip((rows - means) / spreads, -FURTHEST, FURTHEST)
        return np.where(np.isfinite(values), values, 0.0)

    model = LogisticRegression(C=REGULARISATION, solver="newton-cholesky").fit(standardised(seen), happened > 0)
    return np.asarray(model.predict_proba(standardised(wanted))[:, 1], np.float64)
