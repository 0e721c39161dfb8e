"""How evenly people are shown: the Lorenz curve and what is read off it. Pure."""

import numpy as np
from numpy.typing import NDArray

from service.domain_market import Exposure, Points, TimesShown

_MOST_POINTS = 100
"""Of a curve: more cannot be told apart on a screen."""

Floats = NDArray[np.float64]


def spread(shown: TimesShown) -> Exposure:
    """The exposure of everyone who is active. Gini is twice the area between the curve and the diagonal (Gini 1912); exact,
    since the curve is straight between people who were shown equally often."""
    order = np.argsort(shown.times, kind="stable")
    times, people = shown.times[order], shown.people[order]
    n_people, n_shown = int(people.sum()), int(times @ people)
    unshown = int(people[times == 0].sum())
    if not n_shown:
        return Exposure(people=n_people, unshown=unshown, impressions=0, gini=None, top_tenth=None, top_hundredth=None, lorenz=())
    share = np.concatenate([[0.0], np.cumsum(people) / n_people])
    held = np.concatenate([[0.0], np.cumsum(times * people) / n_shown])
    return Exposure(
        people=n_people,
        unshown=unshown,
        impressions=n_shown,
        gini=round(float(1 - np.sum(np.diff(share) * (held[1:] + held[:-1]))), 6),
        top_tenth=_of_the_most_shown(0.10, share, held),
        top_hundredth=_of_the_most_shown(0.01, share, held),
        lorenz=_thinned(share, held),
    )


def _of_the_most_shown(part: float, share: Floats, held: Floats) -> float:
    """The share of impressions of that part of the people who were shown most; who were shown equally often share alike."""
    return round(float(1 - np.interp(1 - part, share, held)), 6)


def _thinned(share: Floats, held: Floats) -> Points:
    """At most so many points, all on the curve, its ends and its first bend among them."""
    if len(share) > _MOST_POINTS:
        at = np.unique(np.concatenate([share[:2], np.linspace(share[1], 1.0, _MOST_POINTS - 1)]))
        share, held = at, np.interp(at, share, held)
    return tuple((round(float(x), 5), round(float(y), 5)) for x, y in zip(share, held, strict=True))
