"""The slate taken from a pool. Pure and repeatable: the same pool and the same people left give the same slate."""

from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
from amity_rankers.contract import Floats, Ids, Mask
from numpy.typing import NDArray

from service.mixing import mixed
from service.recommend.pools import Pool

EXPLORING = ("explore", "newcomers")
"""Sources whose finds may take an exploration slot."""

LOTS_KEPT = 32
"""Explorable candidates of a pool of whom everything is written down, for estimates of other rankers: those with the lowest lots,
who are drawn first. Of 500 candidates about 200 are explorable; 200 would triple what a pool takes on disk, and a ranker
that chooses among 32 agrees with the draw six times as often, which is what an estimate lives on."""


Places = NDArray[np.int64]
"""Where candidates stand in a pool."""


class Place(msgspec.Struct, frozen=True):
    """One position of a slate: the candidate at `index` of the pool. `propensity` is 1 in a ranked slot, and in an exploration
    slot the probability of the draw among the explorable candidates given, whom sources and ranker had already chosen."""

    index: int
    slot: Literal["ranked", "exploration"]
    propensity: float


def order(ids: Ids, scores: Floats) -> Places:
    """Positions from best to worst, int64 (n,): by falling score, scores that are no numbers last, ties by rising id.

    12 us for 500, where sorting by both takes 36: hardly ever are two scores the same.
    """
    falling = np.where(np.isfinite(scores), -scores, np.inf)
    places = falling.argsort()
    ranked = falling.take(places)
    return np.lexsort((ids, falling)) if (ranked[1:] == ranked[:-1]).any() else places


def select(left: Places, by_lots: Places, limit: int, exploration_share: float) -> list[Place]:
    """The slate out of a pool: `left` are the places in it of those who may be shown, best first; `by_lots` as `in_order_of_lots`
    gives them.

    Of `limit` positions the share, rounded down, explores: it goes to explorable candidates who are not among the first
    `limit` by score anyway, each with the same probability. They stand last, in the order of their scores, so that the slate
    as a whole is in the order of scores. With `limit` candidates or fewer everyone is shown and nothing explores: there is
    nobody whom exploration could bring that the ranker would not.
    """
    hopeful = by_lots[_are_in(by_lots, left[limit:])]
    n_explored = min(int(limit * exploration_share), len(hopeful))
    ranked = [Place(index, "ranked", 1.0) for index in left[: limit - n_explored].tolist()]
    drawn = sorted(hopeful[:n_explored].tolist())
    return ranked + [Place(index, "exploration", n_explored / len(hopeful)) for index in drawn]


def among(left: Places, by_lots: Places, limit: int) -> int:
    """Who of those with the lowest lots could be drawn, as a number: bit i is set when the i-th lowest lot is that of somebody
    behind the first `limit` of those left."""
    return bits_of(_are_in(by_lots[:LOTS_KEPT], left[limit:]))


def explorable(source_names: tuple[str, ...], found_by: NDArray[np.uint64]) -> Mask:
    """Who may take an exploration slot, bool (n,): `found_by` has bit i set where `source_names[i]` found the candidate."""
    bits = sum(1 << i for i, name in enumerate(source_names) if name in EXPLORING)
    return np.asarray((found_by & np.uint64(bits)) != 0)


def in_order_of_lots(ids: Ids, may_explore: Mask, seed: int) -> Places:
    """Places of the explorable candidates, int64, the lowest lot first. No two have the same: mixing is one to one."""
    places = may_explore.nonzero()[0]
    return places.take(_lots(ids.take(places), seed).argsort())


@lru_cache(16)
def lots_of(pool: Pool) -> Places:
    """The same of a pool: asked for by each slate out of it, and once more by what is written down of it just after the first.

    Which of those with the lowest lots are drawn, given who they are, is as random as the draw among all: each order of their
    lots is equally likely.
    """
    return in_order_of_lots(pool.id_array(), explorable(pool.source_names, pool.found_by_array()), pool.lot_seed)


def bits_of(mask: Mask) -> int:
    """A mask of at most 63 places as a number, the first place its lowest bit."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def _are_in(places: Places, some: Places) -> Mask:
    """Which of the places are among some, bool."""
    is_among = np.zeros(max(places.max(initial=0), some.max(initial=0)) + 1, np.bool_)
    is_among[some] = True
    return np.asarray(is_among[places])


def _lots(ids: Ids, seed: int) -> NDArray[np.uint64]:
    """A random number for each candidate, uint64 (n,), so that the draw stays as it is for the others when one drops out."""
    return mixed(ids.astype(np.uint64) + np.uint64(seed))
