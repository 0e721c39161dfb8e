"""A few of many eligible people, by lot or by the time of joining, without looking at all of them."""

from bisect import bisect_left
from math import ceil

import numpy as np
from numpy.typing import NDArray

from service.mixing import mixed
from service.population import bits
from service.population.columns import Columns
from service.population.vectors import Passing

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]

_ROWS_AT_ONCE = 4096

_MARGIN = 1.25
"""So many times the rows are looked at first among which as many pass as are wanted, if they pass as everybody does."""

_MOST_AT_FIRST = 4 * _ROWS_AT_ONCE
"""But no more than this: who joined before the time asked for may begin soon, 4 ns for each row in vain."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step of SplitMix64's streams."""

_WORD = (1 << 64) - 1


def distinct_ranks(n: int, k: int, seed: int) -> NDArray[np.int64]:
    """min(k, n) different numbers below n, drawn by `seed`, in random order, int64."""
    return np.random.default_rng(seed).choice(n, max(0, min(k, n)), replace=False).astype(np.int64, copy=False)


def drawn_rows(columns: Columns, passing: Passing, k: int, seed: int) -> Rows:
    """Rows of k who pass, all if they are fewer, drawn by `seed`, each with the same probability, in random order."""
    added = _added(columns, passing)
    ranks = distinct_ranks(passing.n_base + len(added), k, seed)
    if not len(added):
        return bits.nth(passing.base, ranks)
    added = added[np.argsort(columns.take("id", added))]  # replicas append in orders of their own
    in_base = ranks < passing.n_base
    rows = np.empty(len(ranks), np.int64)
    rows[in_base] = bits.nth(passing.base, ranks[in_base])
    rows[~in_base] = added[ranks[~in_base] - passing.n_base]
    return rows


def newest_first(columns: Columns) -> Rows:
    """Rows of the base by falling time of joining, ties in an order that has nothing to do with ids, int32 (n_base,)."""
    lot = np.random.default_rng(0).permutation(columns.n_base)
    return np.lexsort((lot, -np.asarray(columns.base("created_at_s"), np.float64))).astype(np.int32)


def newest_rows(
    columns: Columns, newest: NDArray[np.integer], passing: Passing, wanted: tuple[int, float, int]
) -> tuple[Rows, Doubles]:
    """Rows of the people who joined last, newest first, ties by lot, and when they joined. `newest`: rows of the base, newest
    first; `wanted`: how many, since when in seconds since 1970, and the seed."""
    k, since_s, seed = wanted
    if k <= 0:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    if passing.n_base <= _ROWS_AT_ONCE:  # who are all looked at: among a million newcomers it would take 2 ms to meet them
        found = bits.rows_of(passing.base)
        joined_s = columns.take("created_at_s", found)
    else:
        found, joined_s = _Newest(columns, newest, passing).find(k, since_s, seed)
    added = _added(columns, passing)
    if len(added):
        found = np.concatenate((found, added))
        joined_s = np.concatenate((joined_s, columns.take("created_at_s", added)))
    order = _newest_in_order(columns, found, joined_s, seed)[:k]
    joined_s = joined_s.take(order)
    lately = np.count_nonzero(joined_s >= since_s)  # they come first
    return found.take(order[:lately]), joined_s[:lately]


def _newest_in_order(columns: Columns, rows: Rows, joined_s: Doubles, seed: int) -> Rows:
    """Places of `rows`, newest first, ties by lot, those of nobody knows when last."""
    order = (-joined_s).argsort()
    in_order = joined_s.take(order)
    if (in_order[1:] < in_order[:-1]).all():
        return order
    return np.lexsort((lots(columns.take("id", rows), seed), -joined_s))


def lots(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Each id's lot under a seed, whoever else is asked about: by it people stand in random order, the same on every replica.

    The ids-th numbers of SplitMix64 in a stream of the seed's. Where that begins is mixed as well: of neighbouring seeds the
    streams would else be one, a step apart.
    """
    begins = mixed(np.array([seed & _WORD], np.uint64) + _GOLDEN)
    return mixed(ids.astype(np.uint64) * _GOLDEN + begins)


def _added(columns: Columns, passing: Passing) -> Rows:
    """Rows appended since that pass, ascending."""
    return passing.overlay.nonzero()[0] + columns.n_base


class _Newest:
    """Who passes of the base, by falling time of joining."""

    def __init__(self, columns: Columns, newest: NDArray[np.integer], passing: Passing) -> None:
        self._created_s = columns.base("created_at_s")
        self._newest = newest
        self._passing = passing

    def find(self, k: int, since_s: float, seed: int) -> tuple[Rows, Doubles]:
        """The k newest who joined since, and all others of the moment of the last of them; and when they joined. Where fewer have
        joined since, these, and perhaps some who joined before.

        Where many joined in that moment, as after an import without times, k of them are taken from a place chosen by lot:
        everybody has the same chance, and a million are not looked at."""
        positions, n_seen = self._lately(k, since_s)
        if len(positions) >= k:
            positions = self._with_moment(positions, k, n_seen)
        rows = self._newest.take(positions).astype(np.int64)
        joined_s = self._created_s.take(rows)
        if len(rows) < k or not joined_s[k - 1] >= since_s:
            return rows, joined_s
        moment_s = float(joined_s[k - 1])
        after = int(positions[k - 1]) + _ROWS_AT_ONCE
        if after < len(self._newest) and self._joined_s(after) == moment_s:
            before, of_moment = np.count_nonzero(joined_s > moment_s), self._of_moment(moment_s, k, seed)
            joined_s = np.concatenate((joined_s[:before], np.full(len(of_moment), moment_s)))
            return np.concatenate((rows[:before], of_moment)), joined_s
        upto = np.count_nonzero(joined_s >= moment_s)
        return rows[:upto], joined_s[:upto]

    def _lately(self, k: int, since_s: float) -> tuple[Rows, int]:
        """Positions of k who pass, perhaps more, ascending, all of whom joined since unless there are fewer; and of how many
        positions, the first, they are all."""
        parts: list[Rows] = [np.empty(0, np.int64)]
        n_seen, n_found = 0, 0
        size = min(_MOST_AT_FIRST, ceil(_MARGIN * k * len(self._newest) / max(1, self._passing.n_base)))
        while n_found < k and n_seen < len(self._newest) and self._joined_s(n_seen) >= since_s:
            parts.append(self._passing_of(n_seen, n_seen + size))
            n_found += len(parts[-1])
            n_seen, size = min(n_seen + size, len(self._newest)), 2 * size
        return np.concatenate(parts), n_seen

    def _with_moment(self, positions: Rows, k: int, n_seen: int) -> Rows:
        """And those of the moment of the k-th who come after the first `n_seen`, as far as _ROWS_AT_ONCE from the k-th."""
        position = int(positions[k - 1])
        end = min(position + _ROWS_AT_ONCE, len(self._newest))
        if n_seen >= end or self._joined_s(n_seen) < self._joined_s(position):
            return positions
        return np.concatenate((positions, self._passing_of(n_seen, end)))

    def _of_moment(self, moment_s: float, k: int, seed: int) -> Rows:
        """Of many of a moment k who pass, or more, from a place chosen by lot, and round."""
        first, last = self._position_of(moment_s), self._position_before(moment_s)
        n = last - first
        start = int(lots(np.zeros(1, np.int64), seed)[0] % n)
        parts: list[Rows] = []
        n_seen, n_found, size = 0, 0, _ROWS_AT_ONCE
        while n_seen < n and n_found < k:
            steps = np.arange(n_seen, min(n_seen + size, n))
            rows = self._newest.take(first + (start + steps) % n).astype(np.int64)
            parts.append(rows[bits.test(self._passing.base, rows)])
            n_found += len(parts[-1])
            n_seen, size = n_seen + size, 2 * size
        return np.concatenate(parts)

    def _position_of(self, moment_s: float) -> int:
        return bisect_left(range(len(self._newest)), -moment_s, key=lambda position: -self._joined_s(position))

    def _position_before(self, moment_s: float) -> int:
        """The first position of those who joined before a moment, or nobody knows when."""
        return bisect_left(range(len(self._newest)), True, key=lambda position: not self._joined_s(position) >= moment_s)

    def _joined_s(self, position: int) -> float:
        return float(self._created_s[self._newest[position]])

    def _passing_of(self, first: int, last: int) -> Rows:
        """Positions of a range that pass, ascending."""
        return bits.test(self._passing.base, self._newest[first:last]).nonzero()[0] + first
