"""Sample-ratio mismatch: are the arms as large as their weights say? Pure; holds at every look.

Where they are not, viewers were lost on the way in one arm (a crash, a time-out, a redirect), those left
differ, and no figure of the experiment can be trusted: Fabijan et al., "Diagnosing sample ratio mismatch in online controlled
experiments", KDD 2019. An ordinary chi-square test looked at daily raises false alarms. This one does not: with the counts n_j of
units that came one after another, the shares s_j that the weights say, and a Dirichlet prior around them,

    M = [B(c·s + n) / B(c·s)] / Π s_j^n_j,      B the multivariate beta function

is a martingale where the shares are true, so it ever reaches 1/alpha with the probability alpha at most. Source: Lindon and
Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.special import gammaln, xlogy

ALPHA = 0.001
"""One false alarm in a thousand experiments: an alarm takes the verdict away, and true mismatches go on to grow."""
CONCENTRATION = 2_000.0
"""c: the prior expects shares off by about 0.5 / sqrt(c), a percentage point, which is what lost viewers look like."""


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """`units`: seen in each arm; `expected`: what the weights say of as many. `found`: they cannot be as the weights say."""

    units: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float
    found: bool


def of_shares(units: Sequence[int], weights: Sequence[float], alpha: float = ALPHA) -> Mismatch:
    """Whether as many units an arm fit the arms' weights (positive, relative). No units, or one arm, fit always."""
    counts, shares = np.asarray(units, np.float64), np.asarray(weights, np.float64) / math.fsum(weights)
    prior = CONCENTRATION * shares
    log_m = _log_beta(prior + counts) - _log_beta(prior) - float(xlogy(counts, shares).sum())
    p_value = math.exp(min(0.0, -log_m))
    expected = tuple(float(share) for share in shares * counts.sum())
    return Mismatch(units=tuple(map(int, units)), expected=expected, p_value=p_value, found=p_value < alpha)


def _log_beta(parameters: np.ndarray) -> float:
    return float(gammaln(parameters).sum() - gammaln(parameters.sum()))
