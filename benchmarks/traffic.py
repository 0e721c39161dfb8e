"""Who asks, and when: viewers by Zipf's law and arrivals that do not wait for answers. Pure, and the same for the same seed."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RECOMMENDATIONS = "/api/v1/recommendations/users/{}/recommendations"


def popularity(n: int, exponent: float = 1.0) -> NDArray[np.float64]:
    """Zipf's law: the share of the requests that the first, second, ... of `n` viewers makes; float64, sum 1."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def viewers(n_viewers: int, n_requests: int, seed: int, exponent: float = 1.0) -> NDArray[np.int64]:
    """Who makes each request: ids 1 to `n_viewers`, popular by Zipf's law, and in no order of id, since demo ids tell the age."""
    rng = np.random.default_rng((seed, 1))
    ids = rng.permutation(np.arange(1, n_viewers + 1, dtype=np.int64))
    ranks = np.searchsorted(popularity(n_viewers, exponent).cumsum(), rng.random(n_requests), side="right")
    return ids[np.minimum(ranks, n_viewers - 1)]


def paths(viewer_ids: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """What each of these viewers asks for."""
    return [RECOMMENDATIONS.format(viewer_id) for viewer_id in viewer_ids]


def arrivals_s(per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Open loop: the times, ascending in [0, seconds), at which independent people ask: a Poisson process of this rate."""
    rng = np.random.default_rng((seed, 2))
    expected = per_s * seconds
    enough = int(expected + 6 * math.sqrt(expected)) + 10  # one run in 10^9 ends early, and by little
    times_s = rng.exponential(1 / per_s, enough).cumsum()
    return times_s[times_s < seconds]


def quantile(ascending: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """The least value that `share` of all do not exceed (nearest rank): a value that was really measured; NaN of none."""
    if len(ascending) == 0:
        return math.nan
    return float(ascending[max(0, math.ceil(share * len(ascending)) - 1)])
