"""The approximate index of a space: lists of near vectors, each number of them in four bits.

FAISS `RR<d>,IVF<lists>,PQ<d>x4fsr`: a random rotation, so that every dimension carries as much; a code of 16 levels for each,
of what is left after its list's centre; scored 32 at once by table look-ups in registers. It honours a bitmap of rows."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.population.planes import Floats, Rows, Vectors

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Progress = Callable[[int, int], None]

INDEX_FROM_ROWS = 20_000
"""Fewer are all scored, in 2 ms."""

_TRAIN_ROWS = 131_072
_ADD_ROWS = 100_000
_ROWS_A_CENTRE = 64
_ITERATIONS = 10

_threads = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What the index names: rows, distinct, best first, and their approximate scores."""

    rows: Rows
    scores: Floats


class Index:
    """A built index over `n` vectors of `d` numbers, in `n_lists` lists. Immutable; searches are safe in threads, with one
    core each."""

    def __init__(self, built: Any) -> None:
        """`built`: a FAISS IndexPreTransform. Raises ValueError when it is something else."""
        if not isinstance(built, faiss.IndexPreTransform):
            raise ValueError("the index is not of the kind that is built here")
        lists = faiss.downcast_index(built.index)
        if not isinstance(lists, faiss.IndexIVFPQFastScan) or lists.d != built.d or lists.ntotal != built.ntotal:
            raise ValueError("the index is not of the kind that is built here")
        self._built = built
        self.n, self.d, self.n_lists = int(built.ntotal), int(built.d), int(lists.nlist)

    def search(self, query: Floats, depth: int, n_lists: int, words: Words | None) -> Named:
        """The `depth` best of the `n_lists` lists nearest to `query` (float32 (d,)), of those in `words`; None: of all."""
        _one_thread()
        library: Any = faiss  # which replaces these constructors at import, as types cannot see
        only = None
        if words is not None:
            bits = np.ascontiguousarray(words).view(np.uint8)  # kept alive by this name while FAISS reads it
            only = library.IDSelectorBitmap(bits)
        probe = library.SearchParametersIVF(nprobe=min(n_lists, self.n_lists), sel=only)
        scores, rows = self._built.search(query[None], depth, params=library.SearchParametersPreTransform(index_params=probe))
        there = rows[0] >= 0
        return Named(rows[0][there], scores[0][there])

    def dump(self) -> Bytes:
        """All of it, uint8 (bytes,)."""
        return np.asarray(faiss.serialize_index(self._built), np.uint8)

    @classmethod
    def load(cls, blob: NDArray[Any] | memoryview | bytes) -> "Index":
        """From what `dump` gave, copied out of it. Raises ValueError when it is damaged, as far as FAISS notices: check sums
        first."""
        try:
            return cls(faiss.deserialize_index(np.frombuffer(blob, np.uint8)))
        except RuntimeError as error:
            raise ValueError(f"the index cannot be read: {error}") from error


def lists_for(n_rows: int) -> int:
    """How many lists for so many rows: near their root, a power of two."""
    return int(2 ** np.clip(round(np.log2(sqrt(n_rows) * 1.2)), 6, 13)) if n_rows else 0


def build_index(vectors: Vectors, seed: int, progress: Progress = lambda done, total: None) -> Index:
    """Trained on a sample and filled in chunks, with all cores. The same for the same vectors and seed. `progress(done,
    total)`: rows.

    A million of 128 dimensions take about 15 s on two cores.
    """
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    _threads.single = False
    rng = np.random.default_rng(seed)
    built: Any = faiss.index_factory(vectors.d, _layout(vectors), faiss.METRIC_INNER_PRODUCT)
    rotation: Any = faiss.downcast_VectorTransform(built.chain.at(0))
    rotation.init(seed)
    lists: Any = faiss.downcast_index(built.index)
    lists.cp.seed, lists.cp.niter, lists.cp.max_points_per_centroid = seed, _ITERATIONS, 2 * _ROWS_A_CENTRE
    n_sample = min(vectors.n, max(_TRAIN_ROWS, _ROWS_A_CENTRE * lists.nlist))
    built.train(vectors.gather(np.sort(rng.choice(vectors.n, n_sample, replace=False))))
    for start in range(0, vectors.n, _ADD_ROWS):
        stop = min(vectors.n, start + _ADD_ROWS)
        built.add(vectors.slice(start, stop))
        progress(stop, vectors.n)
    return Index(built)


def _layout(vectors: Vectors) -> str:
    return f"RR{vectors.d},IVF{lists_for(vectors.n)},PQ{vectors.d}x4fsr"


def _one_thread() -> None:
    if not getattr(_threads, "single", False):
        faiss.omp_set_num_threads(1)  # holds for the calling thread only
        _threads.single = True
