"""Ratios of what units did (likes over people shown), and lifts of one arm's ratio over another's. Pure.

The unit is what was randomised: a viewer, or a cluster of them. What one unit does hangs together, so variances are taken
between units, by the delta method (Deng, Knoblich, Lu, "Applying the delta method in metric analytics", KDD 2018): with unit i's
numerator y_i and denominator x_i, the ratio R = Σy / Σx has

    log R - log (true ratio) ≈ mean over units of  e_i = y_i / mean(y) - x_i / mean(x),       se² = var(e) / n

A lift is a difference of two such logarithms, so its interval is taken there and raised: it never leaves (-100 %, ∞), and
it does not change as counts grow with time. Its clock (sequences.py) thus runs forward.
"""

import math

import msgspec
import numpy as np

from service.experiments import covariates, sequences
from service.experiments.outcomes import Floats

LEAST_UNITS = 5
"""Fewer units in an arm have no variance to speak of: no interval is given."""
LEAST_EVENTS = 5
"""Units of an arm that must have done it at all before an interval is given."""
_ROUNDING = 1e-9
"""A standard error of this size is rounding: the units do not vary."""
_MOST_LOGARITHM = math.log(1e6)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """`alpha`: how often an interval may fail to hold at any look. `tuned`: the relative effect for which intervals are
    narrowest; they hold whatever it is, and at 20 % are within a quarter of the narrowest for standard errors of 0.4 to 20 %."""

    alpha: float = 0.05
    tuned: float = 0.2


class Counted(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One arm's units: `numerator` and `denominator` float64 (n,), from 0 on; `before` float64 (n, p), what was known of them
    before they met the experiment, or None."""

    numerator: Floats
    denominator: Floats
    before: Floats | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its always-valid interval. `value` is None without a denominator, `low` and `high` where data are too few."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """One ratio over another, less one: 0.05 is 5 % more. All of it None where data are too few; `high` also where it is endless.

    `p_value` is always valid. The interval is made of `log_ratio`, its `se` and their degrees of freedom.
    `explained`: the share of the variance that what was known before took away; 0 unadjusted.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    log_ratio: float | None = None
    se: float | None = None
    freedoms: float | None = None
    explained: float = 0.0


def rate(counted: Counted, terms: Terms) -> Estimate:
    """The arm's ratio; without an interval where data are too few or do not vary, and None without a denominator."""
    if not counted.denominator.sum() > 0:
        return Estimate(value=None)
    value = _ratio(counted)
    if not _enough(counted):
        return Estimate(value=value)
    effect = influence(counted)
    se = math.sqrt(effect.var(ddof=1) / len(effect))
    if se <= _ROUNDING:
        return Estimate(value=value)
    half = sequences.half_width(se, terms.tuned, terms.alpha, len(effect) - 1)
    return Estimate(value=value, low=value * math.exp(-half), high=_raised(math.log(value) + half))


def lift(control: Counted, treatment: Counted, terms: Terms) -> Lift:
    """The treatment's ratio over the control's, adjusted for what was known before where both say so (CUPED)."""
    if not (_enough(control) and _enough(treatment)):
        return Lift()
    effects = (influence(control), influence(treatment))
    counts = np.array([len(effect) for effect in effects])
    plain = _variances(effects)
    adjusted = covariates.adjust(effects, (control.before, treatment.before))
    log_ratio = math.log(_ratio(treatment) / _ratio(control)) - adjusted.shift
    variances = _variances(adjusted.effects)
    se = math.sqrt(variances.sum())
    if se <= _ROUNDING:
        return Lift(value=math.expm1(log_ratio), log_ratio=log_ratio)
    freedoms = sequences.freedoms(variances, counts)
    half = sequences.half_width(se, terms.tuned, terms.alpha, freedoms)
    return Lift(
        value=math.expm1(log_ratio),
        low=math.expm1(log_ratio - half),
        high=_raised(log_ratio + half, less=1),
        p_value=sequences.p_value(log_ratio, se, terms.tuned, freedoms),
        log_ratio=log_ratio,
        se=se,
        freedoms=freedoms,
        explained=max(0.0, 1 - float(variances.sum() / plain.sum())),
    )


def influence(counted: Counted) -> Floats:
    """What each unit adds to the logarithm of the ratio, times n: float64 (n,), of mean 0."""
    effect: Floats = counted.numerator / counted.numerator.mean() - counted.denominator / counted.denominator.mean()
    return effect


def _enough(counted: Counted) -> bool:
    return int(np.count_nonzero(counted.denominator)) >= LEAST_UNITS and int(np.count_nonzero(counted.numerator)) >= LEAST_EVENTS


def _ratio(counted: Counted) -> float:
    return float(counted.numerator.sum() / counted.denominator.sum())


def _variances(effects: tuple[Floats, Floats]) -> Floats:
    return np.array([effect.var(ddof=1) / len(effect) for effect in effects])


def _raised(logarithm: float, less: int = 0) -> float | None:
    """None where it is beyond any bound that says something: a million times."""
    return math.exp(logarithm) - less if logarithm < _MOST_LOGARITHM else None
