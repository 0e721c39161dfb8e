"""Interleaving: whose people are liked more when two rankers fill one slate together? Pure; holds at every look.

Each position of a team-drafted slate was brought by one arm, and a like or match is credited to it. With a viewer's credits
a_i for the control and b_i for the treatment, d_i = b_i - a_i and w_i = a_i + b_i,

    preference = Σd / Σw        from -1 (all likes went to the control's people) to 1, 0 where there is none

Where neither is preferred, the draft's coin makes d_i as likely as -d_i, whatever else is true of viewer i, and then
exp(λ·d - λ²·d²/2) has a mean of 1 at most (de la Peña, Ann. Probab. 1999, lemma 6.1). Mixed over λ (sequences.py) with V = Σd²
as the clock, a false alarm at any look has the probability alpha at most, without large samples; the interval around a preference
that is not 0 is asymptotic. Sources: Chapelle, Joachims, Radlinski, Yue, "Large-scale validation and analysis of interleaved
search evaluation", TOIS 2012 (the credit); Radlinski, Kurup, Joachims, CIKM 2008 (the draft).
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from service.domain_experiments import Arm
from service.experiments import sequences
from service.experiments.outcomes import BadOutcomes, Credits, Floats, Ints
from service.experiments.ratios import LEAST_EVENTS, Terms


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """`value`: above 0 for the second arm, None without a credit; `low`, `high`, `p_value` and `se` are None for too few viewers.

    `first`, `second`: credits of each. `viewers`: who gave any. `tuned`: as in Terms, of this scale.
    """

    first: int
    second: int
    viewers: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    se: float | None = None
    tuned: float = 0.0


class Interleaved(msgspec.Struct, frozen=True, kw_only=True):
    """An interleaving so far, by the likes and by the matches; likes decide, matches being their rarer part."""

    days: int
    terms: Terms
    arms: tuple[str, str]
    viewers: int
    slates: int
    likes: Preference
    matches: Preference


def prefer(given: Credits, arms: Sequence[Arm], terms: Terms) -> Interleaved:
    """Which of the two arms (the control first) viewers preferred. Raises BadOutcomes for another number of arms."""
    if len(arms) != 2:
        raise BadOutcomes(f"two arms are interleaved, not {len(arms)}")
    return Interleaved(
        days=given.days,
        terms=terms,
        arms=(arms[0].name, arms[1].name),
        viewers=len(np.unique(given.unit)),
        slates=round(float(given.slates.sum())),
        likes=_preference(given.unit, given.first_likes, given.second_likes, terms),
        matches=_preference(given.unit, given.first_matches, given.second_matches, terms),
    )


def _preference(units: Ints, first: Floats, second: Floats, terms: Terms) -> Preference:
    _, unit = np.unique(units, return_inverse=True)
    won, given = np.bincount(unit, second - first), np.bincount(unit, second + first)
    counts = Preference(first=round(first.sum()), second=round(second.sum()), viewers=int(np.count_nonzero(given)))
    if not counts.viewers:
        return counts
    value = float(won.sum() / given.sum())
    squares = float((won**2).sum())
    if counts.viewers < LEAST_EVENTS or not squares:
        return replace(counts, value=value)
    # Around a strong preference viewers hardly differ, and too few have said so: what holds around none is the greater then.
    se = math.sqrt(max(squares, float(((won - value * given) ** 2).sum()))) / float(given.sum())
    # So that g = (tuned / se)² runs with V: g = V · (half the lift)², for a lift of 2x is about a preference of x.
    tuned = terms.tuned / 2 * math.sqrt(squares) * se
    half = sequences.half_width(se, tuned, terms.alpha)
    p_value = sequences.p_value(value, se, tuned)
    return replace(
        counts, value=value, low=max(-1.0, value - half), high=min(1.0, value + half), p_value=p_value, se=se, tuned=tuned
    )
