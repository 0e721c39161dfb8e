"""Intervals that hold at every look at once: asymptotic confidence sequences. Pure.

An ordinary 95 % interval holds at one look that was fixed in advance; looked at daily for four weeks, it misses the truth at
some look in about a third of all experiments. A confidence sequence holds at all looks, whenever and however often, with the
same 95 %; its price is a width of 3 to 3.7 standard errors instead of 2.

With `z = (estimate - truth) / se` and the information `1 / se²` as the clock, z is close to a Brownian motion over the
square root of its clock, and for a normal mixture of lifts with the standard deviation `tuned`, and `g = (tuned / se)²`,

    M = (1 + g)^(-1/2) · exp(z² / 2 · g / (1 + g))

is a martingale that begins at 1, so that M ever reaches 1/alpha with the probability alpha at most (Ville 1939). Hence

    half width = se · sqrt((1 + g) / g · (2 log(1 / alpha) + log(1 + g)))

Sources: Robbins, Ann. Math. Stat. 1970 (the mixture); Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central
limit theory and asymptotic confidence sequences", Ann. Statist. 2024, theorem 2.2 (estimated variances; their `t·rho²` is our g).

Viewers return, so an early viewer's row grows between looks, and increments are not independent. That makes z move less
than a Brownian motion would: the correlation of two looks is at least the root of the ratio of their information where what
a viewer does later does not go against what the viewer did before. By Slepian's inequality the bounds are then crossed less
often, not more. benchmarks/experiments.py measures it.
"""

import math

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

MANY_FREEDOMS = 1e6
"""Degrees of freedom from which Student's t is the normal distribution."""


def standard_errors(se: float, tuned: float, alpha: float) -> float:
    """How many standard errors the half width is: least, about 3.0 for alpha 0.05, where se is a third of `tuned`,
    and less than 3.8 from a 60th to the whole of it. `tuned` may not depend on the estimates."""
    g = (tuned / se) ** 2
    return math.sqrt((1 + g) / g * (2 * math.log(1 / alpha) + math.log1p(g)))


def half_width(se: float, tuned: float, alpha: float, freedoms: float = math.inf) -> float:
    """Half of the interval at this look; math.inf where the sample says nothing (an endless `se`).

    `freedoms`: degrees of freedom of the variance behind `se`. With few of them (few clusters), the normal quantile
    gives way to Student's of the same tail.
    """
    if not math.isfinite(se):
        return math.inf
    factor = standard_errors(se, tuned, alpha)
    if freedoms >= MANY_FREEDOMS:
        return se * factor
    return float(se * -stdtrit(freedoms, ndtr(-factor)))


def p_value(estimate: float, se: float, tuned: float, freedoms: float = math.inf) -> float:
    """Always-valid p-value of "the truth is 0": 1 / M, at most 1. Under alpha when, and only when, the interval excludes 0."""
    if not math.isfinite(se):
        return 1.0
    z, g = abs(estimate) / se, (tuned / se) ** 2
    if freedoms < MANY_FREEDOMS:
        z = float(-ndtri(stdtr(freedoms, -z)))
    return min(1.0, math.exp(math.log1p(g) / 2 - z * z / 2 * g / (1 + g)))


def se_to_see(effect: float, tuned: float, alpha: float, power: float = 0.8) -> float:
    """The standard error at which an effect of this size is seen with this power at a look: by bisection."""
    beyond = float(ndtri(power))
    low, high = 0.0, effect
    for _ in range(60):
        middle = (low + high) / 2
        seen = (standard_errors(middle, tuned, alpha) + beyond) * middle <= effect
        low, high = (middle, high) if seen else (low, middle)
    return low


def freedoms(variances: np.ndarray, counts: np.ndarray) -> float:
    """Degrees of freedom of a sum of independent variances, each of a mean of so many units (Welch 1947, Satterthwaite 1946)."""
    total = variances.sum()
    return float(total**2 / (variances**2 / (counts - 1)).sum()) if total > 0 else math.inf
