"""Simulated experiments looked at daily with the product's own `compare`, on what a report of that day would be given."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from benchmarks.experiments_viewers import DAYS, Simulated
from service.domain_experiments import Arm
from service.experiments.analysis import METRICS, Comparison, Plan, compare

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))


class Looks(msgspec.Struct, frozen=True, eq=False):
    """What the looks at n experiments of one true lift found; arrays (n, DAYS, metrics), NaN where data were too few.

    `value`, `low`, `high`: of the lift. `ordinary`: half of an ordinary interval of its logarithm. `explained`: the share of the
    variance that was known before. `rates`: each arm's, (n, DAYS, arms, metrics, 3), value, low and high; `sums`: its
    numerator and denominator, (n, DAYS, arms, metrics, 2). `mismatch`: whether the arms were of the wrong size, (n, DAYS).
    """

    lift: float
    value: Floats
    low: Floats
    high: Floats
    ordinary: Floats
    explained: Floats
    rates: Floats
    sums: Floats
    mismatch: Bools

    def found(self) -> Bools:
        """Whether a difference has been found by each day: (n, DAYS, metrics)."""
        return _by_now((self.low > 0) | (self.high < 0))

    def found_ordinarily(self) -> Bools:
        return _by_now(np.abs(np.log1p(self.value)) > self.ordinary)

    def missed(self) -> Bools:
        """Whether an interval has been without the true lift by each day."""
        return _by_now((self.low > self.lift) | (self.high < self.lift))

    def missed_rates(self) -> Bools:
        """Whether an arm's interval has been without the rate that all experiments together have: (n, DAYS, arms, metrics)."""
        truth = self.sums[..., 0].sum(axis=0) / self.sums[..., 1].sum(axis=0)
        return _by_now((self.rates[..., 1] > truth) | (self.rates[..., 2] < truth))


def looked_at(n: int, viewers: int, lift: float = 0.0, n_clusters: int = 0, adjust: bool = True) -> Looks:
    """So many experiments, each looked at on every day. Seeded: the i-th is the same whatever n is."""
    plan = Plan(unit="cluster" if n_clusters else "viewer", adjust=adjust)
    lifts = np.full((n, DAYS, len(METRICS), 5), np.nan)
    rates = np.full((n, DAYS, 2, len(METRICS), 3), np.nan)
    sums = np.zeros((n, DAYS, 2, len(METRICS), 2))
    off = np.zeros((n, DAYS), bool)
    for i in range(n):
        simulated = Simulated(np.random.default_rng([i, viewers, n_clusters, round(lift * 1000)]), viewers, lift, n_clusters)
        for day in range(DAYS):
            comparison = compare([simulated.at(day + 1)], _ARMS, plan)
            lifts[i, day], rates[i, day], sums[i, day] = _lifts(comparison), _rates(comparison), _sums(comparison)
            off[i, day] = comparison.mismatch is not None and comparison.mismatch.found
    value, low, high, ordinary, explained = np.moveaxis(lifts, -1, 0)
    return Looks(lift, value, low, high, ordinary, explained, rates, sums, off)


def ordinary_half_width(se: float, alpha: float, freedoms: float) -> float:
    """Half of Welch's interval: right for one look, fixed in advance, and for no other."""
    return float(se * stdtrit(freedoms, 1 - alpha / 2))


def _lifts(comparison: Comparison) -> list[list[float]]:
    found = []
    for each in comparison.against[0].lifts.values():
        if each.se is None or each.freedoms is None:
            found.append([np.nan] * 5)
            continue
        ordinary = ordinary_half_width(each.se, comparison.terms.alpha, each.freedoms)
        found.append(
            [_number(each.value), _number(each.low), np.inf if each.high is None else each.high, ordinary, each.explained]
        )
    return found


def _rates(comparison: Comparison) -> list[list[list[float]]]:
    return [[[_number(x) for x in (each.value, each.low, each.high)] for each in arm.rates.values()] for arm in comparison.arms]


def _sums(comparison: Comparison) -> list[list[list[float]]]:
    return [[[float(getattr(arm, name)) for name in names] for names in METRICS.values()] for arm in comparison.arms]


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _by_now(at_look: Bools) -> Bools:
    """True from the first day on on which it is."""
    by_now: Bools = np.logical_or.accumulate(at_look, axis=1)
    return by_now
