"""How long newcomers wait for their first impression or match, when some of them still wait. Pure."""

import numpy as np
from numpy.typing import NDArray

from service.domain_market import QUANTILES, Ints, Points, Waiting

_US_PER_HOUR = 3_600_000_000
_MOST_STEPS = 80
_EPSILON = 1e-12
"""Half of those who wait is half of them, whatever the last bit of a product says."""

Floats = NDArray[np.float64]


def waiting(waited_us: Ints, age_us: Ints) -> Waiting:
    """What is known of a waiting time, both int64 (n,): `waited_us` until the event came, -1 where it has not, and `age_us`
    since the person joined.

    Who still waits counts as having waited this long at least (censored): leaving them out, as a mean over those who were shown
    does, would praise a market that never shows half of its newcomers. Source: Kaplan & Meier, JASA 1958.
    """
    came = waited_us >= 0
    # A client's clock may say that somebody joined after being shown.
    times = np.minimum(np.where(came, waited_us, age_us), np.maximum(age_us, 0))
    hours, share = _share_by_then(times, came)
    return Waiting(
        seen=int(came.sum()),
        hours={f"{quantile:g}": _reached(quantile, hours, share) for quantile in QUANTILES},
        curve=_thinned(hours, share),
    )


def _share_by_then(times: Ints, came: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The hours at which an event came to somebody, ascending, and the share who have had it by then."""
    at, n_came = np.unique(times[came], return_counts=True)
    # Who is censored at the very moment of somebody's event was still at risk then.
    at_risk = len(times) - np.searchsorted(np.sort(times), at, side="left")
    left: Floats = np.cumprod(1 - n_came / at_risk, dtype=np.float64)
    return at / _US_PER_HOUR, 1 - left


def _reached(quantile: float, hours: Floats, share: Floats) -> float | None:
    place = int(np.searchsorted(share, quantile - _EPSILON))
    return round(float(hours[place]), 4) if place < len(hours) else None


def _thinned(hours: Floats, share: Floats) -> Points:
    """At most so many of the steps, the last one among them."""
    places = np.unique(np.linspace(0, len(hours) - 1, min(len(hours), _MOST_STEPS)).round().astype(np.int64))
    return tuple((round(float(hours[place]), 4), round(float(share[place]), 5)) for place in places)
