"""What one gets from FAISS as it is: IVF with 8-bit codes and a fixed number of lists, and HNSW, both with a bitmap selector.

`ivf` probes one list in 32 (64 of 2,048 for a million), as is customary. `ivf tuned` probes as many as bring .97 without a mask,
which is how a careful owner would set it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.scale_truth import Floats, Rows, recall

Told = Callable[[str], None]

KINDS = ("ivf", "ivf tuned", "hnsw")
FILES = ("ivf", "hnsw")

_LINKS = 32
_EF_CONSTRUCTION = 64
_EF_SEARCH = 128
_LISTS_A_PROBE = 32
_TUNED_RECALL = 0.97
_ADD_ROWS = 100_000
_TRAIN_A_LIST = 64

_faiss: Any = faiss
"""FAISS replaces the constructors of parameters at import, which types cannot see."""


def build(kind: str, vectors: Floats, path: Path, told: Told) -> float:
    """Build one of FILES over `vectors` and write it; gives the seconds that building took."""
    n, d = vectors.shape
    begun = time.perf_counter()
    if kind == "ivf":
        index = _ivf(vectors, n_lists(n))
    else:
        index = _faiss.IndexHNSWFlat(d, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
    for start in range(0, n, _ADD_ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + _ADD_ROWS]))
        told(f"{kind} over {d} dimensions: {min(n, start + _ADD_ROWS):,} of {n:,}, {time.perf_counter() - begun:.0f} s")
    took_s = time.perf_counter() - begun
    faiss.write_index(index, str(path))
    return took_s


def n_lists(n: int) -> int:
    """The power of two next to 2·sqrt(n): 2,048 for a million."""
    return int(2 ** round(float(np.log2(2 * n**0.5))))


def _ivf(vectors: Floats, lists: int) -> Any:
    n, d = vectors.shape
    index = _faiss.index_factory(d, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    rows = np.sort(np.random.default_rng(0).choice(n, min(n, _TRAIN_A_LIST * lists), replace=False))
    index.train(np.ascontiguousarray(vectors[rows]))
    return index


@dataclass(frozen=True, slots=True)
class Baseline:
    """An index, and how widely it is searched whatever the mask: lists of IVF, ef of HNSW."""

    kind: str
    index: Any
    width: int

    def search(self, query: Floats, bits: NDArray[np.uint8], k: int) -> Rows:
        """Up to k rows among those of the mask, int64, best first."""
        selector = _faiss.IDSelectorBitmap(bits)
        if self.kind == "hnsw":
            params = _faiss.SearchParametersHNSW(efSearch=self.width, sel=selector)
        else:
            params = _faiss.SearchParametersIVF(nprobe=self.width, sel=selector)
        _, rows = self.index.search(query[None], k, params=params)
        found: Rows = rows[0][rows[0] >= 0]
        return found


def opened(kind: str, path: Path, queries: Floats, true: Rows) -> Baseline:
    """A built index ready to search. `ivf tuned` is tuned on `queries` and their `true` best without a mask, int64 (m, k)."""
    index = _faiss.read_index(str(path))
    if kind == "hnsw":
        return Baseline(kind, index, _EF_SEARCH)
    width = max(1, index.nlist // _LISTS_A_PROBE)
    if kind == "ivf":
        return Baseline(kind, index, width)
    while width < index.nlist and _recall(index, width, queries, true) < _TUNED_RECALL:
        width = min(index.nlist, width + max(1, width // 4))
    return Baseline(kind, index, width)


def _recall(index: Any, n_probe: int, queries: Floats, true: Rows) -> float:
    _, rows = index.search(queries, true.shape[1], params=_faiss.SearchParametersIVF(nprobe=n_probe))
    return float(np.mean([recall(found, wanted) for found, wanted in zip(rows, true, strict=True)]))
