"""Communities of a graph, none larger than a bound: groups of people who deal with one another more than chance would have it.

Blondel, Guillaume, Lambiotte and Lefebvre, "Fast unfolding of communities in large networks", 2008, with a bound on sizes as in
Ugander and Backstrom, "Balanced label propagation for partitioning massive graphs", WSDM 2013. People move in eighths and not one
by one, so that numpy and scipy work, outside the interpreter's lock: a million people with ten million likes take 22 s of one
core and 640 MB, and nobody else waits. Repeatable: what is random comes from the seed.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_PARTS = 8
"""Who moves at once sees the others where they were: two who are drawn to each other may change places. With eight parts, drawn
anew for each sweep, they move one after the other seven times of eight."""
_SWEEPS = 6
_LEVELS = 20
_REFINING = 3
"""Sweeps of single people at the end, among communities that were joined whole."""
_FEW = 0.001
"""A sweep that moves fewer than this share is the last."""
_SHRINKS = 0.98
_LEAST_GAIN = 1e-9


def graph_of(n: int, sources: Ints, targets: Ints) -> csr_array:
    """The undirected graph of directed edges between 0 and n-1: int32 weights, how many edges join two; without loops."""
    others = sources != targets
    one, other = sources[others], targets[others]
    rows, columns = np.concatenate((one, other)), np.concatenate((other, one))
    return csr_array(coo_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(n, n)))


def communities(graph: csr_array, most: int, seed: int) -> NDArray[np.int32]:
    """The community of each node, int32 (n,), numbered from 0 on; none of more than `most` nodes.

    Nodes move to the neighbouring community that adds most to the modularity; then communities are joined to nodes of a smaller
    graph, and so on, and at last single nodes move once more.
    """
    rng = np.random.default_rng(seed)
    n = graph.shape[0]
    found, coarse, sizes = np.arange(n, dtype=np.int32), graph, np.ones(n)
    for _ in range(_LEVELS):
        level = _Level(coarse, sizes, np.arange(len(sizes), dtype=np.int32), most)
        labels = _numbered(level.settle(rng, _SWEEPS))
        n_left = int(labels.max(initial=-1)) + 1
        found, sizes = labels[found], np.bincount(labels, sizes, n_left)
        if n_left > _SHRINKS * coarse.shape[0]:
            break
        coarse = _joined(coarse, labels, n_left)
    return _numbered(_Level(graph, np.ones(n), found, most).settle(rng, _REFINING))


class _Ties(NamedTuple):
    """An order of labels by which ties are broken, else low labels would draw everybody: the rank of each label, and the label
    of each rank; int32 (n,)."""

    rank: NDArray[np.int32]
    label: NDArray[np.int32]

    @classmethod
    def drawn(cls, rng: np.random.Generator, n: int) -> Self:
        rank = rng.permutation(n).astype(np.int32)
        label = np.empty_like(rank)
        label[rank] = np.arange(n, dtype=np.int32)
        return cls(rank, label)


class _Level:
    """A graph on its way into communities. `sizes` float64 (n,): how many people a node stands for."""

    def __init__(self, graph: csr_array, sizes: Floats, labels: NDArray[np.int32], most: int) -> None:
        self._graph = graph
        self._sizes = sizes
        self._labels = labels.copy()
        self._most = most
        self._n = n = len(sizes)
        self._degrees: Floats = np.asarray(graph.sum(axis=1), np.float64).ravel()
        self._total = max(float(self._degrees.sum()), 1.0)
        self._label_sizes = np.bincount(labels, sizes, n)
        self._label_degrees = np.bincount(labels, self._degrees, n)

    def settle(self, rng: np.random.Generator, n_sweeps: int) -> NDArray[np.int32]:
        """The label of each node once hardly anybody wants to move, or after so many sweeps."""
        for _ in range(n_sweeps):
            parts, ties = rng.integers(0, _PARTS, self._n), _Ties.drawn(rng, self._n)
            n_moved = sum(self._move(np.flatnonzero(parts == part), ties) for part in range(_PARTS))
            if n_moved <= _FEW * self._n:
                break
        return self._labels

    def _move(self, nodes: Ints, ties: "_Ties") -> int:
        """Let these nodes move, those who gain most first into what room there is; how many did."""
        place, label, gain = self._wishes(nodes, ties)
        order = np.lexsort((-gain, label))
        place, label = place[order], label[order]
        room = self._label_sizes[label] + _running(self._sizes[nodes[place]], label) <= self._most
        movers, into = nodes[place[room]], label[room]
        out_of = self._labels[movers]
        for sums, values in ((self._label_sizes, self._sizes), (self._label_degrees, self._degrees)):
            sums += np.bincount(into, values[movers], self._n) - np.bincount(out_of, values[movers], self._n)
        self._labels[movers] = into
        return len(movers)

    def _wishes(self, nodes: Ints, ties: "_Ties") -> tuple[Ints, NDArray[np.int32], Floats]:
        """Who gains by a move: places in `nodes`, the labels they wish for, and what they gain (in edges), each (m,)."""
        edges = self._graph[nodes]
        near = csr_array((edges.data, ties.rank[self._labels[edges.indices]], edges.indptr), shape=(len(nodes), self._n))
        near.sum_duplicates()  # now a row holds how many edges lead to each label
        place = np.repeat(np.arange(len(nodes)), np.diff(near.indptr))
        label = ties.label[near.indices]
        own, degrees = self._labels[nodes], self._degrees[nodes]
        is_own = label == own[place]
        # Of all edges that lead away from a node, so many would lead to a label by chance.
        by_chance = degrees[place] * (self._label_degrees[label] - np.where(is_own, degrees[place], 0)) / self._total
        surplus = near.data - by_chance
        stays = -degrees * (self._label_degrees[own] - degrees) / self._total
        stays[place[is_own]] = surplus[is_own]
        fits = self._label_sizes[label] + self._sizes[nodes][place] <= self._most
        surplus[is_own | ~fits] = -np.inf
        best = _maximum_of_rows(surplus, near.indptr)
        chosen = np.flatnonzero((surplus == best[place]) & (surplus > stays[place] + _LEAST_GAIN))
        first = chosen[np.flatnonzero(np.diff(place[chosen], prepend=-1))]
        return place[first], label[first], surplus[first] - stays[place[first]]


def _maximum_of_rows(values: Floats, indptr: NDArray[np.int32]) -> Floats:
    """The greatest value of each row, -inf for an empty one."""
    most = np.full(len(indptr) - 1, -np.inf)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        most[filled] = np.maximum.reduceat(values, indptr[:-1][filled])
    return most


def _running(sizes: Floats, groups: NDArray[np.int32]) -> Floats:
    """Sums up to and including each entry within its group; `groups` ascending."""
    sums = np.cumsum(sizes)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    before = np.repeat(sums[starts] - sizes[starts], np.diff(starts, append=len(groups)))
    return np.asarray(sums - before)


def _joined(graph: csr_array, labels: NDArray[np.int32], n: int) -> csr_array:
    """The graph of communities. Edges within one count for its degree only."""
    edges = graph.tocoo()
    return csr_array(coo_array((edges.data, (labels[edges.row], labels[edges.col])), shape=(n, n)))


def _numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same with numbers from 0 on, without gaps."""
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int32)
