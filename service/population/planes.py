"""Vectors of a base, stored so that scoring thousands of them is quick and scoring the best few is exact.

`Planes` keeps 16-bit fixed point numbers in two planes of bytes: the high plane is read by the thousand, the low one for the
last few hundred. A mapped file of them is 2 bytes a number on disk, and about 1 in memory. `FloatVectors` keeps the numbers
as they are, for small populations and for training."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]

ROWS_AT_ONCE = 512
"""Rows gathered and multiplied at once. Measured at 10,000 of 1,000,000 × 128 bytes: 0.57 ms in room that is used again, 1.0
with fresh arrays for each chunk, 1.7 all at once."""

_ENCODE_ROWS = 65_536
_LEVELS = 65_535
_HALF = 127.5
"""The middle of what the low plane may hold, so that leaving it out errs by at most so many steps."""

_ROUNDING = float(np.finfo(np.float32).eps)


class Vectors(Protocol):
    """What a space searches: `n` vectors of `d` numbers, by row."""

    @property
    def n(self) -> int: ...
    @property
    def d(self) -> int: ...
    def gather(self, rows: Rows) -> Floats:
        """float32 (len(rows), d), as stored."""

    def slice(self, start: int, stop: int) -> Floats:
        """Those of consecutive rows."""

    def score_high(self, rows: Rows, query: Floats) -> tuple[Floats, float]:
        """Quick scores of ascending, distinct rows, float32 (len(rows),), and by how much they may be off either way."""


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """value = floor + step · (256 · high + low), by dimension. `high`, `low` uint8 (n, d), may be mapped and read-only;
    `floor`, `step` float32 (d,). Raises ValueError when they do not fit each other, or floor and step are not finite."""

    high: Bytes
    low: Bytes
    floor: Floats
    step: Floats
    _weights: Doubles = field(init=False, repr=False)
    _middle: Doubles = field(init=False, repr=False)
    _off: Doubles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bytes_only = all(plane.dtype == np.uint8 for plane in (self.high, self.low))
        if self.high.ndim != 2 or self.low.shape != self.high.shape or not bytes_only:
            raise ValueError(f"planes of shapes {self.high.shape} and {self.low.shape} are not two of bytes that fit each other")
        if not self.floor.shape == self.step.shape == self.high.shape[1:]:
            raise ValueError(f"{self.d} dimensions do not fit {len(self.floor)} floors and {len(self.step)} steps")
        if not (np.isfinite(self.floor).all() and np.isfinite(self.step).all()):
            raise ValueError("floors and steps must be finite")
        # What a quick score takes of each number of a query, float64 (d,): 30 µs a search when it was made each time.
        step, floor = self.step.astype(np.float64), self.floor.astype(np.float64)
        largest = np.abs(floor) + _LEVELS * step
        object.__setattr__(self, "_weights", 256 * step)
        object.__setattr__(self, "_middle", floor + _HALF * step)
        object.__setattr__(self, "_off", _HALF * step + _slack(self.d, 1.0) * largest)

    @classmethod
    def of(cls, vectors: NDArray[Any]) -> "Planes":
        """Encoded to the nearest of 65,536 levels between each dimension's least and greatest: off by at most half a step.

        `vectors`: float (n, d). Raises ValueError, saying how many, when vectors hold numbers that are not finite.
        """
        refuse_not_finite(vectors)
        n, d = vectors.shape
        high, low = np.empty((n, d), np.uint8), np.empty((n, d), np.uint8)
        least = vectors.min(axis=0).astype(np.float64) if n else np.zeros(d)
        span = (vectors.max(axis=0).astype(np.float64) if n else np.zeros(d)) - least
        floor, step = least.astype(np.float32), (span / _LEVELS).astype(np.float32)
        per_value = np.divide(1.0, step, out=np.zeros(d), where=step > 0)
        for start in range(0, n, _ENCODE_ROWS):
            part = slice(start, start + _ENCODE_ROWS)
            codes = np.rint((vectors[part] - floor.astype(np.float64)) * per_value).clip(0, _LEVELS).astype(np.uint16)
            high[part], low[part] = codes >> 8, codes & 255
        return cls(high, low, floor, step)

    @property
    def n(self) -> int:
        return len(self.high)

    @property
    def d(self) -> int:
        return int(self.high.shape[1])

    def gather(self, rows: Rows) -> Floats:
        """Vectors of rows, decoded exactly: float32 (len(rows), d). Indexing reads 500 of a million in 2.5 times the time."""
        return self._decoded(self.high.take(rows, axis=0), self.low.take(rows, axis=0))

    def slice(self, start: int, stop: int) -> Floats:
        """Vectors of consecutive rows, decoded exactly: float32 (stop - start, d)."""
        return self._decoded(self.high[start:stop], self.low[start:stop])

    def score_high(self, rows: Rows, query: Floats) -> tuple[Floats, float]:
        """Inner products with `query` by the high plane alone, float32 (len(rows),), and by how much at most they differ from
        those by both. `rows` ascending and distinct."""
        exact = query.astype(np.float64)
        scores = _products(self.high, rows, (self._weights * exact).astype(np.float32))
        scores += np.float32(self._middle @ exact)
        return scores, float(self._off @ np.abs(exact))

    def _decoded(self, high: Bytes, low: Bytes) -> Floats:
        values = high.astype(np.float32)
        values *= 256
        values += low.astype(np.float32)
        values *= self.step
        values += self.floor
        return values


class FloatVectors:
    """Numbers as they are: float32 (n, d). Raises ValueError, saying how many, when vectors hold numbers that are not
    finite."""

    def __init__(self, vectors: NDArray[Any]) -> None:
        refuse_not_finite(vectors)
        self._vectors: Floats = np.ascontiguousarray(vectors, np.float32)
        self._longest = longest_of(self._vectors)

    @property
    def n(self) -> int:
        return len(self._vectors)

    @property
    def d(self) -> int:
        return int(self._vectors.shape[1])

    def gather(self, rows: Rows) -> Floats:
        """Vectors of rows, float32 (len(rows), d)."""
        return self._vectors[rows]

    def slice(self, start: int, stop: int) -> Floats:
        """Vectors of consecutive rows, float32 (stop - start, d)."""
        return self._vectors[start:stop]

    def score_high(self, rows: Rows, query: Floats) -> tuple[Floats, float]:
        """Inner products with `query`, float32 (len(rows),), and by how much rounding may move them. `rows` ascending and
        distinct."""
        return _products(self._vectors, rows, query), rounding(self._longest, query)


def refuse_not_finite(vectors: NDArray[Any]) -> None:
    """Raises ValueError, saying how many, when vectors hold numbers that are not finite, or `vectors` is no table of
    numbers."""
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"vectors must be a table of floats, not {vectors.dtype} of shape {vectors.shape}")
    wrong = sum(
        int((~np.isfinite(vectors[start : start + _ENCODE_ROWS])).any(axis=1).sum())
        for start in range(0, len(vectors), _ENCODE_ROWS)
    )
    if wrong:
        raise ValueError(f"{wrong} vectors hold numbers that are not finite")


def longest_of(vectors: Floats) -> float:
    """The largest Euclidean length."""
    return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max(initial=0)))


def rounding(longest: float, query: Floats) -> float:
    """By how much float32 sums of products with vectors of at most this length, in whatever order, may be off either way."""
    return _slack(len(query), longest * float(np.linalg.norm(query.astype(np.float64))))


def _slack(n_dims: int, largest: float) -> float:
    """Twice the classical bound of a sum's rounding, the roundings of decoding and of the result among it."""
    return 2 * (n_dims + 4) * _ROUNDING * largest


def _products(table: NDArray[Any], rows: Rows, weights: Floats) -> Floats:
    """table[rows] @ weights in chunks; without gathering when all rows are asked for. Rows are within the table."""
    scores = np.empty(len(rows), np.float32)
    everyone = len(rows) == len(table)
    # Room that is used again for each chunk and stays in the cache; with `mode`, numpy writes to it at once.
    taken = np.empty((min(ROWS_AT_ONCE, len(rows)), table.shape[1]), table.dtype)
    numbers = np.empty(taken.shape, np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        n = len(part)
        numbers[:n] = table[start : start + n] if everyone else np.take(table, part, axis=0, out=taken[:n], mode="clip")
        np.dot(numbers[:n], weights, out=scores[start : start + n])
    return scores
