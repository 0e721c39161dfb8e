"""The slate taken from a pool. Pure and repeatable: the same pool and the same people left give the same slate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from amity_rankers.contract import Floats, Ids, Mask
from numpy.typing import NDArray

EXPLORING = ("explore", "newcomers")
"""Sources whose finds may take an exploration slot."""

LOTS_KEPT = 32
"""Explorable candidates of a pool of whom everything is written down, for estimates of other rankers: those with the lowest lots,
who are drawn first. Of 500 candidates about 200 are explorable; 200 would triple what a pool takes on disk, and a ranker
that chooses among 32 agrees with the draw six times as often, which is what an estimate lives on."""


@dataclass(frozen=True, slots=True)
class Place:
    """One position of a slate: the candidate at `index`. `propensity` is 1 in a ranked slot, and in an exploration slot the
    probability of the draw among the explorable candidates given, whom sources and ranker had already chosen."""

    index: int
    slot: Literal["ranked", "exploration"]
    propensity: float


def order(ids: Ids, scores: Floats) -> NDArray[np.int64]:
    """Positions from best to worst, int64 (n,): by falling score, scores that are no numbers last, ties by rising id."""
    falling = np.where(np.isfinite(scores), -scores, np.inf)
    return np.lexsort((ids, falling))


def select(ids: Ids, explorable: Mask, limit: int, exploration_share: float, seed: int) -> list[Place]:
    """The slate out of the candidates who may be shown, given in the order of `order()`.

    Of `limit` positions the share, rounded down, explores: it goes to explorable candidates who are not among the first
    `limit` by score anyway, each with the same probability. They stand last, in the order of their scores, so that the slate
    as a whole is in the order of scores. With `limit` candidates or fewer everyone is shown and nothing explores: there is
    nobody whom exploration could bring that the ranker would not.
    """
    hopeful = np.flatnonzero(explorable[limit:]) + limit
    n_explored = min(int(limit * exploration_share), len(hopeful))
    ranked = [Place(index, "ranked", 1.0) for index in range(min(len(ids), limit - n_explored))]
    if not n_explored:
        return ranked
    drawn = hopeful[np.argsort(_lots(ids[hopeful], seed), kind="stable")[:n_explored]]
    return ranked + [Place(index, "exploration", n_explored / len(hopeful)) for index in sorted(drawn.tolist())]


def explorable(source_names: tuple[str, ...], found_by: NDArray[np.uint64]) -> Mask:
    """Who may take an exploration slot, bool (n,): `found_by` has bit i set where `source_names[i]` found the candidate."""
    bits = sum(1 << i for i, name in enumerate(source_names) if name in EXPLORING)
    return np.asarray((found_by & np.uint64(bits)) != 0)


def lowest_lots(ids: Ids, may_explore: Mask, seed: int) -> NDArray[np.int64]:
    """Positions of the explorable candidates with the lowest lots, int64 (at most LOTS_KEPT,), the lowest first.

    Which of them are drawn, given who they are, is as random as the draw among all: each order of their lots is equally likely.
    """
    places = np.flatnonzero(may_explore)
    return places[np.argsort(_lots(ids[places], seed), kind="stable")[:LOTS_KEPT]]


def bits_of(mask: Mask) -> int:
    """A mask of at most 63 places as a number, the first place its lowest bit."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def _lots(ids: Ids, seed: int) -> NDArray[np.uint64]:
    """A random number for each candidate, uint64 (n,), so that the draw stays as it is for the others when one drops out.

    The mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), 5 us for 200 where a hash each takes 70.
    """
    mixed = ids.astype(np.uint64) + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
