"""The approximate index of a space: lists of near vectors, each number of them in two or four bits.

FAISS IVF, PQ with FastScan: a code of 16 levels for each number or two of what is left after its list's centre, scored 32 at
once by table look-ups in registers. It honours a bitmap of rows. How it is built: `index_training`.

Which lists are probed is decided here, by query. A list's scores are taken as normal: their mean is its centre's, their
variance comes from its members' variance in each dimension. So one knows how many of the best are to be expected in each
list, takes the most rewarding first, and stops when at most `miss` of the expected best are left out: few lists for a viewer
whose best stand out, more for one whose best are scattered, or when few pass. Measured on 1,000,000 × 128 with clustered
tastes, unstretched, one core, lists as many as reach about .97 of the best 100, ms (worst twentieth of recalls): 30 % passing
1.0 (.93), the nearest lists by centre 1.4 (.86); 10 % 1.3 (.94) and 1.8 (.83); 3 % 1.6 (.93) and 2.2 (.89).

What lost: one variance a list .955 where one for each dimension reaches .963; counting who passes in each list (by a quarter
of the mask): 0.6 ms more for .00 to .02 better recalls of the worst when the mask leaves out those whom the viewer likes best.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from service.population.bits import Words, n_words
from service.population.planes import Floats, Rows

INDEX_FROM_ROWS = 20_000
"""Fewer are all scored, in 2 ms."""

_LIST_COST_ROWS = 100.0
"""Beginning a list takes as long as scanning so many of its rows."""

_STEPS, _CLOSE_ENOUGH = 12, 0.05
_ROUNDS = 3
_TOLERANCE = 3.0
"""More lists are searched when, by the scores found, more than so many times what may be missed is."""

_TINY = 1e-12
_ROOT_OF_2_PI = float(np.sqrt(2 * np.pi))

_threads = threading.local()


class Probe(NamedTuple):
    """What is asked of the index: `depth` rows, among them the best `rank` of those who pass. `wanted`: how many those are
    counted among all rows, whether they pass or not; `miss`: the part of the expected best that may lie in lists left out, 0:
    all lists are searched. `most_lists`: at most so many in the first turn, None: as many as it takes."""

    depth: int
    rank: int
    wanted: float
    miss: float
    most_lists: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What the index names: `rows`, distinct, best first by its approximate `scores`; from how many lists."""

    rows: Rows
    scores: Floats
    n_lists: int


class _How(threading.local):
    """FAISS's parameters of a search, for each thread its own: making them anew, with a view of the mask, took 60 to 120 µs a
    search, and copying a million bits takes 10."""

    def __init__(self, n_words: int) -> None:
        library: Any = faiss  # which replaces these constructors at import, as types cannot see
        self._words = np.zeros(n_words, np.uint64)  # FAISS reads it in place
        self._masked = library.SearchParametersIVF(sel=library.IDSelectorBitmap(self._words.view(np.uint8)))
        self._whole = library.SearchParametersIVF()

    def to_search(self, n_lists: int, words: Words | None) -> Any:
        """So many lists for those in `words`, None: for all. Good until this thread asks again."""
        how = self._whole if words is None else self._masked
        if words is not None:
            self._words[:] = words
        how.nprobe = n_lists
        return how


class Index:
    """A built index over `n` vectors of `d` numbers, in `n_lists` lists. Immutable; searched in threads, with one core each."""

    def __init__(self, lists: Any, rotation: Floats, spread: Floats) -> None:
        """`lists`: a FAISS IndexIVFPQFastScan; `rotation` (d, d) turns a query as its vectors were turned, so that products
        stay; `spread` (n_lists, d): variances within lists, before turning.

        Raises ValueError when they do not fit each other.
        """
        if not isinstance(lists, faiss.IndexIVFPQFastScan):
            raise ValueError("the index is not of the kind that is built here")
        self.n, self.d, self.n_lists = int(lists.ntotal), int(lists.d), int(lists.nlist)
        if rotation.shape != (self.d, self.d) or spread.shape != (self.n_lists, self.d):
            raise ValueError("the index's parts do not fit each other")
        if not (np.isfinite(rotation).all() and np.isfinite(spread).all() and (spread >= 0).all()):
            raise ValueError("the index's rotation and variances must be finite")
        self._lists: Any = lists
        # By column, BLAS multiplies a query with what is not in the cache in two thirds of the time.
        self._rotation, self._spread = rotation, np.asfortranarray(spread)
        self._centres: Floats = np.asfortranarray(self._lists.quantizer.reconstruct_n(0, self.n_lists))
        held: Any = lists.invlists
        self._sizes: Floats = np.array([held.list_size(each) for each in range(self.n_lists)], np.float32)
        if int(self._sizes.sum(dtype=np.float64)) != self.n:
            raise ValueError("the index's lists do not hold as many rows as it says")
        self._costs: Floats = self._sizes + np.float32(_LIST_COST_ROWS)
        self._parts: Floats = self._sizes / np.float32(max(1, self.n))
        self._how = _How(n_words(self.n))

    def search(self, query: Floats, probe: Probe, words: Words | None) -> Named:
        """The `depth` best for `query` (float32 (d,)) of those in `words`, None: of all; from the lists that are worth it.

        A mask may leave out just those whom the viewer likes best. Then the best found are worse than expected, and where
        their scores lie other lists are worth it too: these are searched in turn, as many as it takes.

        `most_lists` bounds the first turn, for viewers whose best are scattered: what is expected of the last of four times as
        many lists as usually hardly ever comes. Later turns then miss no more than the bound left out. At 10,000,000 x 128, half
        as many more than usually against all of them, the worst of 48 queries: 30 % passing 11 for 22 ms, recall .981 for .984;
        10 % 16 for 31, .989 both; 5 % 19 for 36, .985 for .986."""
        threads_here(1)
        turned = self._rotation @ query
        means = self._centres @ turned
        if probe.miss <= 0:
            return self._scan(turned, means, np.arange(self.n_lists), probe.depth, words)
        variances = self._spread @ (query * query)
        deviations = np.sqrt(variances) + np.float32(_TINY)
        expected = self._expected(means, variances, deviations, min(max(probe.wanted, 1.0), self.n / 2))
        chosen = self._worth(expected, probe.miss)[: probe.most_lists]
        miss = max(probe.miss, 1 - _part(expected, chosen))
        named = self._scan(turned, means, chosen, probe.depth, words)
        for _ in range(_ROUNDS):
            if len(named.rows) < probe.rank:
                return named
            expected = self._above(float(named.scores[probe.rank - 1]), means, deviations)
            if _part(expected, chosen) >= 1 - _TOLERANCE * miss:
                return named
            more = self._worth(expected, miss)
            more = more[~np.isin(more, chosen)]
            chosen = np.concatenate((chosen, more))
            named = _merged(named, self._scan(turned, means, more, probe.depth, words), probe.depth)
        return named

    def _scan(self, turned: Floats, means: Floats, chosen: Rows, depth: int, words: Words | None) -> Named:
        scores, rows = np.empty((1, depth), np.float32), np.empty((1, depth), np.int64)
        offsets = means.take(chosen)
        pointers = [faiss.swig_ptr(array) for array in (turned, chosen, offsets, scores, rows)]
        # The wrapper without `_c` takes no parameters, hence no mask.
        self._lists.search_preassigned_c(1, pointers[0], depth, *pointers[1:], False, self._how.to_search(len(chosen), words))
        there = rows[0] >= 0
        return Named(rows[0][there], scores[0][there], len(chosen))

    def _worth(self, expected: Floats, miss: float) -> Rows:
        """The lists that hold all but the part `miss` of what is expected, int64, the most rewarding first."""
        order = (expected / self._costs).argsort()[::-1]
        reached = expected.take(order).cumsum(dtype=np.float64)
        return np.ascontiguousarray(order[: int(reached.searchsorted((1 - miss) * reached[-1])) + 1], np.int64)

    def _above(self, score: float, means: Floats, deviations: Floats) -> Floats:
        """How many of each list are expected to surpass a score, float32 (n_lists,)."""
        return np.asarray(self._sizes * ndtr((means - np.float32(score)) / deviations), np.float32)

    def _expected(self, means: Floats, variances: Floats, deviations: Floats, wanted: float) -> Floats:
        """How many of the best `wanted`, at most half of all, are to be expected in each list, float32 (n_lists,).

        Newton's steps, on the logarithm, to the score that so many surpass; halving where they leave the bounds known so far, for
        the logarithm of a mixture is not concave. The first guess takes everyone's scores as one normal distribution, the first
        bounds are what holds of any with that mean and variance: the median's and Cantelli's.
        """
        middle = float(means @ self._parts)
        deviation = sqrt(max(0.0, float((means * means + variances) @ self._parts) - middle**2))
        low, high = middle - deviation, middle + deviation * sqrt(self.n / wanted - 1)
        score = middle + float(ndtri(1 - wanted / self.n)) * deviation
        for _ in range(_STEPS):
            expected = self._above(score, means, deviations)
            total = float(expected.sum())
            away = log(max(total, _TINY) / wanted)
            if abs(away) < _CLOSE_ENOUGH:
                break
            low, high = (score, high) if away > 0 else (low, score)
            reach = (means - np.float32(score)) / deviations
            slope = float((self._sizes * np.exp(-0.5 * reach * reach) / deviations).sum()) / _ROOT_OF_2_PI
            step = score + away * total / slope if slope > 0 else high
            score = step if low < step < high else (low + high) / 2
        return expected

    def dump(self) -> dict[str, NDArray[Any]]:
        """Arrays: `lists` uint8 (bytes,), `rotation` float32 (d, d), `spread` float32 (n_lists, d)."""
        spread = np.ascontiguousarray(self._spread)
        return {"lists": faiss.serialize_index(self._lists), "rotation": self._rotation, "spread": spread}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "Index":
        """From what `dump` gave, copied out of it: 30 ms for a million of 128 dimensions. Raises ValueError when it is
        damaged, as far as FAISS notices: compare check sums first."""
        if not all(name in arrays for name in ("lists", "rotation", "spread")):
            raise ValueError("an index is lists, a rotation and variances")
        try:
            lists = faiss.deserialize_index(np.asarray(arrays["lists"], np.uint8))
        except RuntimeError as error:
            raise ValueError(f"the index cannot be read: {error}") from error
        return cls(lists, np.array(arrays["rotation"], np.float32), np.array(arrays["spread"], np.float32))


def _part(expected: Floats, chosen: Rows) -> float:
    """The part of what is expected that lies in the chosen lists."""
    total = float(expected.sum(dtype=np.float64))
    return float(expected.take(chosen).sum(dtype=np.float64)) / max(total, _TINY)


def _merged(one: Named, other: Named, depth: int) -> Named:
    """Both, of different lists: the best `depth`, best first."""
    rows, scores = np.concatenate((one.rows, other.rows)), np.concatenate((one.scores, other.scores))
    best = np.argsort(-scores)[:depth]
    return Named(rows[best], scores[best], one.n_lists + other.n_lists)


def threads_here(n: int) -> None:
    """How many threads FAISS uses from now on for what the calling thread asks of it."""
    if getattr(_threads, "n", 0) != n:
        faiss.omp_set_num_threads(n)
        _threads.n = n
