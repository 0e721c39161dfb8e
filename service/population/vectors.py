"""Vectors of everyone and the filtered search over them, which finds whom a full scan would.

Two spaces. `content`: what profiles say, unit vectors. `mutual`: a person is found as (q, p), how likeable and what they
like, and asks as (p, q), so that one inner product is the sum of both directions' affinities."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.population.bits import Words, count, rows_of, test
from service.population.index import Index, Probe
from service.population.planes import Floats, Rows, Vectors, longest_of, rounding
from service.population.planner import Plan, Planner

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Ided = Ids | Callable[[Rows], Ids]

_ROWS_AT_ONCE = 8192
_SPARE_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Passing:
    """Who may be found. `base`: bits by row of the base, `n_base` of them set; `overlay` bool (n_overlay,): by row appended
    since."""

    base: Words
    n_base: int
    overlay: Mask

    @classmethod
    def of(cls, base: Words, overlay: Mask) -> "Passing":
        return cls(base, count(base), overlay)


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Best first, ties by id: `ids` int64, `scores` float32, `rows` int64. `plan`: how the base was searched in the end."""

    ids: Ids
    scores: Floats
    rows: Rows
    plan: Plan


class _Overlay(NamedTuple):
    """Replaced together when they grow, so that a search in another thread sees what fits."""

    vectors: Floats
    known: Mask


class Space:
    """One vector space: an immutable base and rows appended since, which are always searched exactly."""

    def __init__(self, base: Vectors, index: Index | None = None, planner: Planner | None = None) -> None:
        """Without an index, or a planner with a calibration, the base too is searched exactly. Raises ValueError when they do
        not fit."""
        if index is not None and (index.n, index.d) != (base.n, base.d):
            raise ValueError(f"an index of {index.n} vectors of {index.d} numbers does not fit {base.n} of {base.d}")
        self.base, self.n_base, self.n_dims = base, base.n, base.d
        self._index = index
        self._planner = Planner() if planner is None or index is None else planner
        self._overlay = _Overlay(np.zeros((0, base.d), np.float32), np.zeros(0, np.bool_))
        self._longest = 0.0

    def put(self, rows: Rows, vectors: Floats, known: Mask) -> None:
        """Set vectors (float32 (k, d)) of rows (k,) at or above `n_base`; where not `known` there is none, and searches pass
        the row over.

        Of a row given twice the last counts. Raises ValueError for a row of the base, or known numbers that are not finite.
        """
        if not len(rows):
            return
        if int(rows.min()) < self.n_base:
            raise ValueError("the base's vectors do not change")
        there = np.asarray(vectors, np.float32)[known]
        if not np.isfinite(there).all():
            raise ValueError(f"{int((~np.isfinite(there)).any(axis=1).sum())} vectors hold numbers that are not finite")
        places = rows - self.n_base
        overlay = self._with_room(int(places.max()) + 1)
        self._longest = max(self._longest, longest_of(there))  # before they can be found
        overlay.vectors[places[known]] = there
        overlay.known[places] = known

    def get(self, row: int) -> Floats | None:
        """The vector of one row, float32 (d,)."""
        if row < self.n_base:
            return np.array(self.base.gather(np.array([row]))[0], np.float32)
        vectors, known = self._overlay
        place = row - self.n_base
        return np.array(vectors[place], np.float32) if place < len(known) and known[place] else None

    def gather(self, rows: Rows) -> Floats:
        """Vectors of rows, float32 (len(rows), d); NaN for a row without one."""
        if not len(rows) or int(rows.max()) < self.n_base:
            return self.base.gather(rows)
        found = np.full((len(rows), self.n_dims), np.nan, np.float32)
        in_base = rows < self.n_base
        found[in_base] = self.base.gather(rows[in_base])
        vectors, known = self._overlay
        places = rows - self.n_base
        there = ~in_base & (places < len(known))
        there[there] = known[places[there]]
        found[there] = vectors[places[there]]
        return found

    def search(self, passing: Passing, ids: Ided, query: Floats, k: int) -> Searched:
        """The k of `passing` with the largest inner products with `query` (float (d,)), exact scores, ties by id.

        `ids`: by row, or a function from rows to ids. Fewer than k only when fewer pass and have a vector. Exact among the
        rows appended since; in the base as the plan says. Raises ValueError for a query of another length or with numbers
        that are not finite. Safe in threads."""
        query = np.ascontiguousarray(query, np.float32)
        if query.shape != (self.n_dims,) or not np.isfinite(query).all():
            raise ValueError(f"a query must be {self.n_dims} finite numbers")
        plan = self._planner.plan(passing.n_base, self.n_base, k)
        if k <= 0:
            return Searched(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64), plan)
        candidates, plan = self._candidates(plan, passing, query, k)
        rows = self._shortlist(candidates, self._appended(passing.overlay), query, k)
        scores = self._scores(rows, query)
        named = ids(rows) if callable(ids) else ids[rows]
        order = np.lexsort((named, -scores))[:k]
        return Searched(named[order], scores[order], rows[order], plan)

    def _candidates(self, plan: Plan, passing: Passing, query: Floats, k: int) -> tuple[Rows, Plan]:
        """Rows of the base, ascending, that hold its best k, as far as the plan promises; and what was done in the end."""
        while self._index is not None and plan.method in ("probe", "plain"):
            words = passing.base if plan.method == "probe" else None
            rank = k if words is not None else min(plan.depth, ceil(plan.wanted))
            rows = self._index.search(query, Probe(plan.depth, rank, plan.wanted, plan.miss, plan.most_lists), words).rows
            if words is None:
                rows = rows[test(passing.base, rows)]
            if len(rows) >= self._planner.enough(plan, k):
                rows.sort()
                return rows, plan
            plan = self._planner.widen(plan)
        return rows_of(passing.base) if plan.n_passing else np.empty(0, np.int64), plan

    def _appended(self, passing: Mask) -> Rows:
        """Rows appended since that pass and have a vector, ascending."""
        known = self._overlay.known
        n = min(len(passing), len(known))
        return np.flatnonzero(passing[:n] & known[:n]) + self.n_base

    def _shortlist(self, base: Rows, appended: Rows, query: Floats, k: int) -> Rows:
        """Of candidates those that may be among the best k: whose quick score may, given by how much it may be off, reach the
        k-th."""
        if len(base) + len(appended) <= k:
            return np.concatenate((base, appended))
        rows, (scores, off) = base, self.base.score_high(base, query)
        if len(appended):
            added = self._overlay.vectors[appended - self.n_base] @ query
            rows, scores = np.concatenate((base, appended)), np.concatenate((scores, added))
            off = max(off, rounding(self._longest, query))
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        reaching: Mask = scores + np.float32(off) >= kth - np.float32(off)
        return rows[reaching]

    def _scores(self, rows: Rows, query: Floats) -> Floats:
        """In float64, rounded: equal vectors get equal scores, wherever they lie, which BLAS does not promise."""
        exact = query.astype(np.float64)
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores[part] = self.gather(rows[part]).astype(np.float64) @ exact
        return scores

    def _with_room(self, n: int) -> _Overlay:
        vectors, known = self._overlay
        if n <= len(known):
            return self._overlay
        room = max(n, len(known) * 3 // 2 + _SPARE_ROWS)
        grown = _Overlay(np.zeros((room, self.n_dims), np.float32), np.zeros(room, np.bool_))
        grown.vectors[: len(known)], grown.known[: len(known)] = vectors, known
        self._overlay = grown
        return grown
