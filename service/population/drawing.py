"""A few of many eligible people, by lot or by the time of joining, without looking at all of them."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.population import bits
from service.population.columns import Columns
from service.population.vectors import Passing

Rows = NDArray[np.int64]

_ROWS_AT_ONCE = 4096


def distinct_ranks(n: int, k: int, seed: int) -> NDArray[np.int64]:
    """min(k, n) different numbers below n, drawn by `seed`, in random order, int64."""
    return np.random.default_rng(seed).choice(n, max(0, min(k, n)), replace=False).astype(np.int64)


def newest_first(columns: Columns) -> Rows:
    """Rows of the base by falling time of joining, ties in an order that has nothing to do with ids, int32 (n_base,)."""
    lot = np.random.default_rng(0).permutation(columns.n_base)
    return np.lexsort((lot, -np.asarray(columns.base("created_at_s"), np.float64))).astype(np.int32)


def newest_rows(columns: Columns, newest: NDArray[np.integer], passing: Passing, wanted: tuple[int, float, int]) -> Rows:
    """Rows of the people who joined last, newest first, ties by lot. `newest`: rows of the base, newest first; `wanted`: how
    many, since when in seconds since 1970, and the seed."""
    k, since_s, seed = wanted
    if k <= 0:
        return np.empty(0, np.int64)
    added = np.flatnonzero(passing.overlay) + columns.n_base
    found = np.concatenate((_Newest(columns, newest, passing.base).find(k, since_s, seed), added))
    joined_s = columns.take("created_at_s", found)
    found, joined_s = found[joined_s >= since_s], joined_s[joined_s >= since_s]
    by_id = np.argsort(columns.take("id", found))  # rows differ between replicas; the lot of a seed must not
    found, joined_s = found[by_id], joined_s[by_id]
    lot = np.random.default_rng(seed).permutation(len(found))
    return found[np.lexsort((lot, -joined_s))[:k]]


class _Newest:
    """The base by falling time of joining."""

    def __init__(self, columns: Columns, newest: NDArray[np.integer], base: bits.Words) -> None:
        self._created_s = columns.base("created_at_s")
        self._newest = newest
        self._base = base

    def find(self, k: int, since_s: float, seed: int) -> Rows:
        """The k newest that pass. Where many joined in the moment of the last of them, as after an import without times, those of
        that moment are taken from a place chosen by lot: nobody is always passed over, and a million are not looked at."""
        last = self._position_before(since_s)
        newer = self._passing(0, last, k)
        if len(newer) < k:
            return newer
        moment_s = float(self._created_s[newer[k - 1]])
        first, last = self._position_of(moment_s), self._position_before(moment_s)
        newer = newer[self._created_s[newer] > moment_s]
        if last - first <= _ROWS_AT_ONCE:
            return np.concatenate((newer, self._passing(first, last, last - first)))
        start = first + int(np.random.default_rng(seed).integers(last - first))
        tied = self._passing(start, last, k)
        return np.concatenate((newer, tied, self._passing(first, start, k - len(tied))))

    def _position_of(self, moment_s: float) -> int:
        return bisect_left(range(len(self._newest)), -moment_s, key=self._age)

    def _position_before(self, moment_s: float) -> int:
        """The first position of those who joined before a moment."""
        return bisect_left(range(len(self._newest)), True, key=lambda position: self._age(position) > -moment_s)

    def _age(self, position: int) -> float:
        return -float(self._created_s[self._newest[position]])

    def _passing(self, first: int, last: int, at_least: int) -> Rows:
        """Those of a range of positions that pass, until there are enough."""
        parts: list[Rows] = [np.empty(0, np.int64)]
        n_found = 0
        for start, stop in _chunks(first, last):
            if n_found >= at_least:
                break
            rows = self._newest[start:stop].astype(np.int64)
            parts.append(rows[bits.test(self._base, rows)])
            n_found += len(parts[-1])
        return np.concatenate(parts)


def _chunks(first: int, last: int) -> Iterator[tuple[int, int]]:
    size = _ROWS_AT_ONCE
    while first < last:
        yield first, min(last, first + size)
        first, size = first + size, 2 * size
