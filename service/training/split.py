"""What is learnt from and what is kept to judge by: by time, by person, and for ever."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xxhash
from numpy.typing import NDArray

from service.training.examples import Mask, Pairs, Rows

GATE_ONE_IN = 20
COLD_SHARE = 0.1
FACTORS_UNTIL, FIT_UNTIL, CALIBRATE_UNTIL = 0.80, 0.90, 0.95
"""Shares of the pairs in order of time: factors, then fitting of rankers, then their calibration, then the test."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Disjoint parts of the pairs. No part but `cold` and `gate` has a pair that touches a cold person.

    `cold_people`: bool (n,), whose whole history is hidden from everything that is fitted; `cold` holds that history.
    `moment_s`: when `factors` ends: what features may know about.
    """

    factors: Pairs
    fit: Pairs
    calibration: Pairs
    test: Pairs
    cold: Pairs
    gate: Pairs
    cold_people: Mask
    moment_s: float


def gate_mask(pairs: Pairs, ids: Rows) -> Mask:
    """Which pairs no bundle is ever trained on, bool (m,): by a hash of both ids, alike for both directions and all time."""
    low_id = np.minimum(ids[pairs.actor], ids[pairs.target])
    high_id = np.maximum(ids[pairs.actor], ids[pairs.target])
    raw = memoryview(np.stack([low_id, high_id], axis=1).astype("<i8").tobytes())
    hashes = (xxhash.xxh64_intdigest(raw[start : start + 16]) for start in range(0, len(raw), 16))
    return np.fromiter((digest % GATE_ONE_IN == 0 for digest in hashes), np.bool_, len(pairs))


def split_pairs(pairs: Pairs, ids: Rows, seed: int, cold_share: float = COLD_SHARE) -> Split:
    """The parts, the same for the same pairs, people and seed."""
    kept = gate_mask(pairs, ids)
    gate, known = pairs.where(kept), pairs.where(~kept)
    n_cold = int(cold_share * len(ids))
    cold_people = np.zeros(len(ids), np.bool_)
    cold_people[np.random.default_rng([seed, 1]).choice(len(ids), n_cold, replace=False)] = True
    touches = cold_people[known.actor] | cold_people[known.target]
    warm = known.where(~touches)
    edges = [round(share * len(warm)) for share in (0.0, FACTORS_UNTIL, FIT_UNTIL, CALIBRATE_UNTIL, 1.0)]
    factors, fit, calibration, test = (warm.where(np.arange(low, high)) for low, high in pairwise(edges))
    return Split(
        factors=factors,
        fit=fit,
        calibration=calibration,
        test=test,
        cold=known.where(touches),
        gate=gate,
        cold_people=cold_people,
        moment_s=float(factors.time_s[-1]) if len(factors) else 0.0,
    )


def history(pairs: Pairs, n_people: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many pairs each person has as actor and as target, int64 (n,) each."""
    return np.bincount(pairs.actor, minlength=n_people), np.bincount(pairs.target, minlength=n_people)


def join(*parts: Pairs) -> Pairs:
    """All pairs of the parts, in order of time."""
    whole = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))
    return whole.where(np.argsort(whole.time_s, kind="stable"))
