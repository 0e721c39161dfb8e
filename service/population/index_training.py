"""Builds the index of a space: how its vectors are turned, its lists, its codes.

Vectors are turned before. What counts is by how much scores are off, so each direction is stretched by how much it weighs in
what is asked (the root of the second moment of queries; queries are turned by the inverse, and products stay as they are), and
what varies much shares a code with what hardly varies (Ge et al., Optimized Product Quantization, CVPR 2013, the parametric
way, on what is left after the centres). Lists and rows named at .98 recall, and by a turn by chance instead: mutual tastes of
1,000,000 synthetic people, 30 % passing 142 and 2,000 (279 and 4,000), 10 % 173 and 1,000 (276 and 2,000); of the 82,168
people of Slashdot, learnt, 30 % 65 and 1,000 (117 and 2,000), 10 % 117 and 500 (169 and 1,000). Where people ask with what
they are, as in contents, the best lie around the query, in its own list, and stretching costs lists: 104 for 33.

What lost: centres on the sphere, FAISS's own choice for inner products: .945 where those of plain k-means reach .977 at as many
rows; without residuals worse still; 512 lists .953 and 2,048 no better than 1,024 in time, for the choice costs twice as much;
turning further to the least error, the same paper's other way: nothing.
"""

import os
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.population.index import Index, threads_here
from service.population.planes import Floats, Rows, Vectors

Doubles = NDArray[np.float64]
Progress = Callable[[int, int], None]
Asks = Callable[[Floats], Floats]
"""From items, float32 (n, d), to what those who stand behind them ask, (n, d)."""

_TRAIN_ROWS = 131_072
_ADD_ROWS = 100_000
_ROWS_A_CENTRE = 64
_ROWS_A_CORE = 100_000
"""Fewer are built by fewer cores: on a busy machine, their waiting for each other took ten times as long as the work."""

_ITERATIONS = 10
_LEAST_WEIGHT = 1e-3
"""Directions that are asked about less than this part of the mean weigh as much, so that turning back stays exact enough."""

_PRIOR_ROWS = 20.0
"""So many rows of everyone's variance are mixed into a list's own, which is learnt from about a hundred."""

_TINY = 1e-12


def lists_for(n_rows: int) -> int:
    """How many lists for so many rows: near their root, a power of two. 1,024 for a million."""
    return int(2 ** np.clip(np.rint(np.log2(max(1.0, np.sqrt(n_rows)))), 4, 13))


def build_index(
    vectors: Vectors,
    n_codes: int,
    seed: int,
    asks: Asks | None = None,
    progress: Progress = lambda done, total: None,
) -> Index:
    """Trained on a sample and filled in chunks, with all cores. The same for the same vectors and seed. `n_codes` 4-bit codes
    a row, a divisor of its dimensions. `asks`: where queries are another thing than items. `progress(done, total)`: rows.

    A million of 128 dimensions take about 12 s on two idle cores. Raises ValueError for fewer rows than lists.
    """
    n_lists = lists_for(vectors.n)
    if vectors.n < n_lists:
        raise ValueError(f"{vectors.n} rows are too few for an index")
    threads_here(min(len(os.sched_getaffinity(0)), 1 + vectors.n // _ROWS_A_CORE))
    rng = np.random.default_rng(seed)
    n_sample = min(vectors.n, max(_TRAIN_ROWS, _ROWS_A_CENTRE * n_lists))
    sample = vectors.gather(np.sort(rng.choice(vectors.n, n_sample, replace=False)))
    weights = np.eye(vectors.d) if asks is None else _weights(asks(sample))
    weighed = _turned(sample, weights)
    centres = _centres(weighed, n_lists, seed)
    _, nearest = centres.search(weighed, 1)
    home = nearest[:, 0]
    middles: Floats = centres.reconstruct_n(0, n_lists)
    axes = _axes(weighed - middles[home], n_codes, rng)
    turn = axes @ weights
    lists = _lists(_turned(middles, axes), _turned(weighed, axes), n_codes)
    spread = _spread(sample, home, _turned(middles, np.asarray(np.linalg.inv(weights), np.float64)))
    for start in range(0, vectors.n, _ADD_ROWS):
        stop = min(vectors.n, start + _ADD_ROWS)
        lists.add(_turned(vectors.slice(start, stop), turn))
        progress(stop, vectors.n)
    return Index(lists, np.ascontiguousarray(np.linalg.inv(turn).T, np.float32), spread)


def _weights(queries: Floats) -> Doubles:
    """The root of the queries' second moment, float64 (d, d), symmetric, of determinant 1: errors of vectors stretched by it
    count as they move scores, on the average over queries."""
    asked = queries.astype(np.float64)
    values, directions = np.linalg.eigh(asked.T @ asked / max(1, len(asked)))
    values = np.maximum(values, max(_LEAST_WEIGHT * float(values.mean()), _TINY))
    values /= np.exp(np.log(values).mean())
    return np.asarray((directions * np.sqrt(values)) @ directions.T, np.float64)


def _axes(left: Floats, n_codes: int, rng: np.random.Generator) -> Doubles:
    """The directions that codes are made of, float64 (d, d), orthonormal rows, those of one code side by side.

    Each goes, by falling variance, to the code with room whose variances' product is least. Where every number has its code
    there is nothing to balance, and directions by chance carry alike.
    """
    d = left.shape[1]
    if n_codes == d:
        return np.asarray(np.linalg.qr(rng.standard_normal((d, d)))[0], np.float64)
    variances, directions = np.linalg.eigh(np.cov(left.T, dtype=np.float64))
    sizes = np.log(np.maximum(variances, _TINY))
    products, codes = np.full(n_codes, -np.inf), [list[int]() for _ in range(n_codes)]
    for axis in range(d - 1, -1, -1):
        code = int(np.argmin(products))
        products[code] = sizes[[*codes[code], axis]].sum() if len(codes[code]) + 1 < d // n_codes else np.inf
        codes[code].append(axis)
    return np.asarray(directions.T[[axis for code in codes for axis in code]], np.float64)


def _centres(vectors: Floats, n_lists: int, seed: int) -> Any:
    """By plain k-means, as an index that finds the nearest."""
    d = vectors.shape[1]
    clustering = faiss.Clustering(d, n_lists)
    clustering.seed, clustering.niter, clustering.max_points_per_centroid = seed, _ITERATIONS, 2 * _ROWS_A_CENTRE
    clustering.min_points_per_centroid = 1  # else it prints
    centres: Any = faiss.IndexFlatL2(d)
    training: Any = clustering
    training.train(vectors, centres)
    return centres


def _lists(middles: Floats, turned: Floats, n_codes: int) -> Any:
    """Empty lists around centres, with the levels of their codes."""
    n_lists, d = middles.shape
    centres: Any = faiss.IndexFlatL2(d)
    centres.add(middles)
    lists: Any = faiss.IndexIVFPQFastScan(centres, d, n_lists, n_codes, 4, faiss.METRIC_INNER_PRODUCT)
    centres.this.disown()
    lists.own_fields = True  # the lists only point to their centres: now they own them
    lists.by_residual = True
    lists.train(turned)
    return lists


def _spread(sample: Floats, home: Rows, middles: Floats) -> Floats:
    """Variance within each list by dimension, float32 (n_lists, d), of vectors and middles as they were before turning."""
    order = np.argsort(home, kind="stable")
    squares = (sample - middles[home]) ** 2
    numbers, starts, counts = np.unique(home[order], return_index=True, return_counts=True)
    everyone = squares.mean(axis=0, dtype=np.float64)
    spread = np.tile(everyone, (len(middles), 1))
    sums = np.add.reduceat(squares[order], starts, axis=0)
    spread[numbers] = (sums + _PRIOR_ROWS * everyone) / (counts[:, None] + _PRIOR_ROWS)
    return np.asarray(spread, np.float32)


def _turned(vectors: Floats, turn: Doubles) -> Floats:
    return np.ascontiguousarray(vectors @ turn.T.astype(np.float32))
