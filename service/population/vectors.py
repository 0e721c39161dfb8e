"""Vectors of everyone and the exact filtered search over them.

Two spaces. `content`: what profiles say, unit vectors. `mutual`: a person is found as (q, p), how likeable and what they like,
and asks as (p, q), so that one inner product is the sum of both directions' affinities.
"""

import threading
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

GATHER_SHARE = 0.1
"""Up to this share of rows passing, gathering them and multiplying is quicker than FAISS with a bitmap. Measured at 5,000,
50,000 and 200,000 × 128, µs: 10 % 28/29, 277/252, 2,968/2,983; 2 % 8/22, 60/120, 245/698; 50 % 106/73, 2,917/1,177."""

_SLACK = 32
_CLOSE = 1e-5
"""Quick scores (float32, summed in whatever order) choose a shortlist, exact ones order it. The shortlist is long enough when
its weakest is below the k-th by more than this part of the largest possible score, ten times what rounding moves at 128
dimensions. Else, where many are as good as equal, everyone who passes is scored exactly."""

_ROWS_AT_ONCE = 8192

_threads = threading.local()


class Space:
    """One vector space: an immutable base in a FAISS flat index, and rows appended since. `n_dims` is the vectors' length."""

    def __init__(self, base: NDArray[Any]) -> None:
        """`base`: float32 (n_base, n_dims), copied once into the index. Raises ValueError when a number is not finite."""
        vectors = np.ascontiguousarray(base, np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError(f"{int((~np.isfinite(vectors)).any(axis=1).sum())} vectors hold numbers that are not finite")
        self.n_base, self.n_dims = vectors.shape
        self._index = faiss.IndexFlatIP(self.n_dims)
        self._index.add(vectors)
        flat = faiss.rev_swig_ptr(self._index.get_xb(), self.n_base * self.n_dims) if self.n_base else np.empty(0, np.float32)
        self._base: Floats = flat.reshape(self.n_base, self.n_dims)
        # Replaced together when they grow, so that a search in another thread sees a pair that fits.
        self._overlay: tuple[Floats, Mask] = (np.zeros((0, self.n_dims), np.float32), np.zeros(0, np.bool_))
        self._longest = float(np.sqrt(np.einsum("ij,ij->i", self._base, self._base).max(initial=0)))

    def put(self, row: int, vector: Floats | None) -> None:
        """Set the vector of a row at or above `n_base`; None: there is none, and searches pass the row over."""
        place = row - self.n_base
        added, known = self._overlay
        if place >= len(added):
            room = max(place + 1, len(added) * 3 // 2 + 64)
            grown, grown_known = np.zeros((room, self.n_dims), np.float32), np.zeros(room, np.bool_)
            grown[: len(added)], grown_known[: len(known)] = added, known
            added, known = self._overlay = (grown, grown_known)
        if vector is not None:
            added[place] = vector
            self._longest = max(self._longest, float(np.linalg.norm(vector)))
        known[place] = vector is not None

    def get(self, row: int) -> Floats | None:
        """The vector of one row, float32 (n_dims,)."""
        if row < self.n_base:
            return np.array(self._base[row], np.float32)
        place = row - self.n_base
        added, known = self._overlay
        return np.array(added[place], np.float32) if place < len(added) and known[place] else None

    def gather(self, rows: Rows) -> Floats:
        """Vectors of rows, float32 (len(rows), n_dims); NaN for a row without one."""
        if not len(rows) or int(rows.max()) < self.n_base:
            return self._base[rows]
        found = np.full((len(rows), self.n_dims), np.nan, np.float32)
        in_base = rows < self.n_base
        found[in_base] = self._base[rows[in_base]]
        added, known = self._overlay
        place = rows - self.n_base
        there = ~in_base & (place < len(added))
        there[there] = known[place[there]]
        found[there] = added[place[there]]
        return found

    def search(self, mask: Mask, ids: Ids, query: Floats, k: int) -> tuple[Ids, Floats]:
        """The k rows of `mask` with the largest inner product with `query`: ids and scores, exact, best first, ties by id.

        `mask` and `ids` are aligned with rows. Fewer than k when fewer pass. Raises ValueError for a query of another
        length or with numbers that are not finite. Safe in threads.
        """
        query = np.ascontiguousarray(query, np.float32)
        if query.shape != (self.n_dims,) or not np.isfinite(query).all():
            raise ValueError(f"a query must be {self.n_dims} finite numbers")
        if k <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        parts = self._shortlist(mask, query, k)
        found, scores = self._ordered(np.concatenate([part.rows for part in parts]), ids, query, k)
        if not all(part.whole or self._clear_of(part.rows, query, float(scores[-1])) for part in parts):
            found, scores = self._ordered(np.concatenate(self._passing(mask)), ids, query, k)
        return found, scores

    def _shortlist(self, mask: Mask, query: Floats, k: int) -> tuple["_Part", "_Part"]:
        """Rows that hold the best k: a little more than k of the base and of the rows appended since."""
        wanted = k + _SLACK
        base, added = self._passing(mask)
        vectors, _ = self._overlay
        if len(base) <= wanted:
            base_part = _Part(base, True)
        elif len(base) <= self.n_base * GATHER_SHARE:
            base_part = _Part(_best(base, self._base[base] @ query, wanted), False)
        else:
            base_part = _Part(self._search_base(mask[: self.n_base], query, wanted), False)
        if len(added) <= wanted:
            return base_part, _Part(added, True)
        return base_part, _Part(_best(added, vectors[added - self.n_base] @ query, wanted), False)

    def _search_base(self, mask: Mask, query: Floats, k: int) -> Rows:
        if not getattr(_threads, "single", False):
            faiss.omp_set_num_threads(1)  # holds for the calling thread only
            _threads.single = True
        _, rows = self._index.search(query[None], k, params=_only(mask))
        return np.asarray(rows[0][rows[0] >= 0], np.int64)

    def _ordered(self, rows: Rows, ids: Ids, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Scores in float64, rounded: equal vectors get equal scores, wherever they lie, which BLAS does not promise."""
        scores = self._scores(rows, query)
        candidates = ids[rows]
        order = np.lexsort((candidates, -scores))[:k]
        return candidates[order], scores[order]

    def _scores(self, rows: Rows, query: Floats) -> Floats:
        exact = query.astype(np.float64)
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores[part] = self.gather(rows[part]).astype(np.float64) @ exact
        return scores

    def _clear_of(self, rows: Rows, query: Floats, kth: float) -> bool:
        """Whether nobody left out of a shortlist can reach the k-th score."""
        return float(self._scores(rows, query).min()) < kth - _CLOSE * self._longest * float(np.linalg.norm(query))

    def _passing(self, mask: Mask) -> tuple[Rows, Rows]:
        """Rows of the base that pass, and those appended since that pass and have a vector."""
        _, known = self._overlay
        appended = mask[self.n_base :][: len(known)]
        return np.flatnonzero(mask[: self.n_base]), np.flatnonzero(appended & known[: len(appended)]) + self.n_base


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of a shortlist; `whole` when they are all that pass."""

    rows: Rows
    whole: bool


def _only(mask: Mask) -> Any:
    """Search parameters that let pass what the mask does. FAISS replaces these constructors at import, which types cannot see."""
    library: Any = faiss
    return library.SearchParameters(sel=library.IDSelectorBitmap(np.packbits(mask, bitorder="little")))


def _best(rows: Rows, scores: Floats, k: int) -> Rows:
    return rows[np.argpartition(scores, -k)[-k:]]
