"""The true best under masks: exact float32 search over all vectors as they were made, in chunks, however many there are."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Bits = NDArray[np.uint8]

_CHUNK_ROWS = 32_768
_GATHER_SHARE = 0.003
"""Up to here the survivors are gathered and multiplied one query at a time, beyond all of the chunk for all queries at once."""


def best(vectors: Floats, queries: Floats, masks: Bits, k: int) -> Rows:
    """The k rows with the largest inner product among those of each mask, int64 (m, k), best first, -1 where fewer pass.

    `vectors` float32 (n, d), mapped perhaps; `queries` float32 (m, d); `masks` uint8 (m, ceil(n / 8)), little-endian bits.
    """
    n = len(vectors)
    few = np.array([int(np.bitwise_count(mask).sum()) <= n * _GATHER_SHARE for mask in masks])
    found = np.full((len(queries), k), -1, np.int64)
    for query in np.flatnonzero(few):
        rows = np.flatnonzero(np.unpackbits(masks[query], count=n, bitorder="little"))
        _keep(found[query], rows, np.asarray(vectors[rows]) @ queries[query])
    many = np.flatnonzero(~few)
    if len(many):
        found[many] = _by_chunk(vectors, queries[many], masks[many], k)
    return found


def recall(found: Rows, true: Rows) -> float:
    """The share of the true best (rows, -1 where there is none) that is among those found; 1 where nobody passes."""
    wanted = true[true >= 0]
    return float(np.isin(wanted, found).mean()) if len(wanted) else 1.0


def _by_chunk(vectors: Floats, queries: Floats, masks: Bits, k: int) -> Rows:
    """Each query keeps the best so far; of a chunk only what beats the k-th of them is looked at."""
    rows = [np.empty(0, np.int64) for _ in queries]
    scores = [np.empty(0, np.float32) for _ in queries]
    least = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        chunk = np.asarray(vectors[start : start + _CHUNK_ROWS])
        products = queries @ chunk.T
        for query, bits in enumerate(masks[:, start // 8 : (start + len(chunk) + 7) // 8]):
            passing = np.unpackbits(bits, count=len(chunk), bitorder="little").view(np.bool_)
            better = np.flatnonzero(passing & (products[query] > least[query]))
            if not len(better):
                continue
            rows[query] = np.append(rows[query], better + start)
            scores[query] = np.append(scores[query], products[query][better])
            if len(rows[query]) > k:
                top = np.argpartition(scores[query], -k)[-k:]
                rows[query], scores[query] = rows[query][top], scores[query][top]
                least[query] = scores[query].min()
    found = np.full((len(queries), k), -1, np.int64)
    for query in range(len(queries)):
        _keep(found[query], rows[query], scores[query])
    return found


def _keep(into: Rows, rows: Rows, scores: Floats) -> None:
    order = np.argsort(-scores, kind="stable")[: len(into)]
    into[: len(order)] = rows[order]
