"""How sure a figure is that is a ratio of sums over viewers: the bootstrap. Pure, repeatable by its seed."""

import msgspec
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

RESAMPLINGS = 2000
LEVEL = 0.95
_CELLS_AT_ONCE = 2_000_000
"""Viewers times resamplings: 16 MB."""


class Interval(msgspec.Struct, frozen=True):
    """A figure and where it lies with the probability LEVEL. For one look, and not for one each day."""

    value: float
    low: float
    high: float


def resample(totals: Doubles, seed: int, n: int = RESAMPLINGS) -> tuple[Doubles, Doubles]:
    """The sums over all viewers, float64 (k,), and those over each of n resamplings, float64 (n, k). `totals`: float64 (v, k).

    Viewers, not slates, are drawn with replacement, each a Poisson number of times with mean 1, which in a ratio comes to the
    same as drawing v of them and takes a third of the time. Source: Chamandy et al., "Estimating uncertainty for massive data
    streams", Google 2012.
    """
    rng = np.random.default_rng([seed, 6])
    n_at_once = max(1, _CELLS_AT_ONCE // max(1, len(totals)))
    sums = [
        rng.poisson(1.0, (min(n_at_once, n - done), len(totals))).astype(np.float64) @ totals for done in range(0, n, n_at_once)
    ]
    return totals.sum(axis=0), np.concatenate(sums)


def interval_of(value: float, resampled: Doubles) -> Interval:
    """The percentile interval; resamplings in which the figure is undefined are left out. NaN where all are."""
    defined = resampled[np.isfinite(resampled)]
    if not len(defined):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))
