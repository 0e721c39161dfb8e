"""From a classifier's log-odds to probabilities that hold: a smooth, strictly rising curve of three numbers."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

IDENTITY = (1.0, 1.0, 0.0)
LEAST_SLOPE = 0.05
"""Keeps the curve rising, so that calibration never changes the order or makes ties."""
PULL = 4.0
"""Strength of the pull towards the identity: one lone match at a forecast of 5 % makes it 13 %, and thousands of examples
hardly feel it."""
_FAR = 30.0
"""Log-odds beyond this differ from certainty by less than 1e-13."""


def apply(curve: tuple[float, float, float], log_odds: Doubles) -> Doubles:
    """Probabilities, float64, shape (n,), in [0, 1], from log-odds of the same shape.

    Beta calibration, log-odds' = a ln(p) - b ln(1 - p) + c: it bends the two ends separately, which Platt's line cannot, and
    has no steps, as isotonic regression has. Source: Kull, Silva Filho, Flach, AISTATS 2017.
    """
    a, b, c = curve
    within = np.clip(log_odds, -_FAR, _FAR)
    small = np.logaddexp(0.0, -np.abs(within))  # ln(1 + exp(-|x|)), the costly part of both -ln(1 - p) and -ln(p), to the bit
    bent = c + b * (np.maximum(within, 0.0) + small) - a * (np.maximum(-within, 0.0) + small)
    return 1.0 / (1.0 + np.exp(-np.clip(bent, -_FAR, _FAR)))


def fit(log_odds: Doubles, matched: Doubles, weights: Doubles) -> tuple[float, float, float]:
    """The curve that makes `matched` (0 and 1) most likely; all float64, shape (n,); weights positive, of mean 1.

    A pull towards the identity takes over where examples are few or of one class; with none at all the identity remains.
    """
    from scipy.optimize import minimize

    within = np.clip(log_odds, -_FAR, _FAR)
    rows = np.stack([-np.logaddexp(0.0, -within), np.logaddexp(0.0, within), np.ones_like(within)], axis=1)
    identity = np.array(IDENTITY)

    def loss(curve: Doubles) -> tuple[float, Doubles]:
        bent = rows @ curve
        misses = weights * (np.exp(-np.logaddexp(0.0, -bent)) - matched)
        pull = curve - identity
        value = float(weights @ (np.logaddexp(0.0, bent) - matched * bent) + PULL * pull @ pull)
        return value, rows.T @ misses + 2.0 * PULL * pull

    bounds = [(LEAST_SLOPE, None), (LEAST_SLOPE, None), (None, None)]
    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), float(found[1]), float(found[2])
