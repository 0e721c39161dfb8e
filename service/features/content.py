"""Content vectors: what a profile says, hashed to buckets, weighted by rarity, projected to a few dimensions.

The numbers (weights, projection, maps to taste) are fitted in training; this is the arithmetic that both sides share.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile
from service.features.geography import unit_vectors
from service.features.tokens import bucket, tokens

Floats = NDArray[np.float32]

N_BUCKETS = 1 << 15
"""Two of 5,000 distinct tokens share a bucket about 7 % of the time; the projection is 8 MB at 64 dimensions."""

AGE_CENTRES = np.array([20, 28, 36, 44, 52, 60, 70], np.float32)
AGE_WIDTH_YEARS = 8.0
N_DENSE = len(AGE_CENTRES) + 3
"""Numbers of a profile that are not tokens: smooth age, and the place as a point on the unit sphere."""

_AGE_WEIGHT = 0.5
_PLACE_WEIGHT = 0.7
"""Against the unit length of all tokens together: age and place colour the vector, words decide it."""

_PARTS_AT_ONCE = 1 << 15
"""Non-zeros gathered at once in a batch: 32,768 × 64 floats are 8 MB, which stay near the processor."""

Sparse = tuple[NDArray[np.int64], NDArray[np.int32], Floats]
"""A sparse matrix by rows: indptr (n + 1,), column indices and values (nnz,), as scipy's csr_matrix takes them."""


def token_counts(profiles: Sequence[Profile], n_buckets: int = N_BUCKETS) -> Sparse:
    """Ones at the buckets of each profile's tokens, shape (n, n_buckets). What inverse document frequencies are counted on."""
    rows = [sorted(set(map(bucket, tokens(profile), repeat(n_buckets)))) for profile in profiles]
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    indices = np.fromiter(chain.from_iterable(rows), np.int32, int(indptr[-1]))
    return indptr, indices, np.ones(len(indices), np.float32)


def dense_parts(profiles: Sequence[Profile]) -> Floats:
    """Age as overlapping bumps and place as a point on the sphere, float32 (n, N_DENSE); zeros where unknown."""
    nan = float("nan")
    age = np.array([nan if person.age is None else person.age for person in profiles], np.float32)
    latitude = np.array([nan if person.latitude is None else person.latitude for person in profiles], np.float64)
    longitude = np.array([nan if person.longitude is None else person.longitude for person in profiles], np.float64)
    bumps = np.exp(-(((age[:, None] - AGE_CENTRES) / AGE_WIDTH_YEARS) ** 2) / 2) * _AGE_WEIGHT
    place = unit_vectors(latitude, longitude) * _PLACE_WEIGHT
    return np.nan_to_num(np.concatenate((bumps, place), axis=1), nan=0.0).astype(np.float32)


def design(profiles: Sequence[Profile], idf: Floats) -> Sparse:
    """What the projection multiplies: weighted tokens of unit length beside the dense parts, shape (n, len(idf) + N_DENSE)."""
    indptr, indices, values = token_counts(profiles, len(idf))
    owner = np.repeat(np.arange(len(profiles)), np.diff(indptr))
    values *= idf[indices]
    norm = np.sqrt(np.bincount(owner, values * values, len(profiles)))
    values /= np.maximum(norm, 1e-12)[owner].astype(np.float32)
    dense = dense_parts(profiles)
    ends = indptr[1:]
    columns = np.arange(len(idf), len(idf) + N_DENSE, dtype=np.int32)
    where = np.repeat(ends, N_DENSE)
    all_indices = np.insert(indices, where, np.tile(columns, len(profiles)))
    all_values = np.insert(values, where, dense.ravel())
    return indptr + np.arange(len(indptr)) * N_DENSE, all_indices, all_values


class ContentEncoder:
    """Profiles to content vectors, and content vectors to predicted tastes for people without history.

    `idf`: float32 (b,). `projection`: float32 (b + N_DENSE, c). `cold_p` and `cold_q`: float32 (c + 1, f), ridge maps from
    a content vector (and a constant 1, the last row) to the vector as one who likes, and as one who is liked.
    Raises ValueError when the shapes do not fit or a number is not finite.
    """

    def __init__(self, idf: Floats, projection: Floats, cold_p: Floats, cold_q: Floats) -> None:
        n_dimensions = projection.shape[-1]
        if projection.shape != (len(idf) + N_DENSE, n_dimensions):
            raise ValueError(f"a projection of shape {projection.shape} does not fit {len(idf)} buckets and {N_DENSE} numbers")
        if cold_p.shape != cold_q.shape or cold_p.shape[0] != n_dimensions + 1:
            raise ValueError(f"maps of shapes {cold_p.shape} and {cold_q.shape} do not fit {n_dimensions} dimensions")
        for name, array in (("idf", idf), ("projection", projection), ("cold_p", cold_p), ("cold_q", cold_q)):
            if not np.isfinite(array).all():
                raise ValueError(f"the encoder's {name} holds numbers that are not finite")
        self.idf, self.projection, self.cold_p, self.cold_q = idf, projection, cold_p, cold_q

    @property
    def n_content(self) -> int:
        return int(self.projection.shape[1])

    @property
    def n_factors(self) -> int:
        return int(self.cold_p.shape[1])

    def encode(self, profile: Profile) -> Floats:
        """The content vector, float32 (c,) of unit length; zeros for a profile that says nothing at all. About 0.1 ms;
        of a hundred together each takes 20 µs."""
        return np.asarray(self.encode_many((profile,))[0], np.float32)

    def encode_many(self, profiles: Sequence[Profile]) -> Floats:
        """Content vectors, float32 (n, c), row by row as `encode` gives them."""
        if not profiles:
            return np.zeros((0, self.n_content), np.float32)
        indptr, indices, values = design(profiles, self.idf)
        summed = np.empty((len(profiles), self.n_content), np.float32)
        for first, last in _chunks(indptr):
            part = slice(indptr[first], indptr[last])
            weighted = self.projection[indices[part]] * values[part, None]
            # Every profile has its N_DENSE parts, so no segment is empty, which reduceat would get wrong.
            summed[first:last] = np.add.reduceat(weighted, indptr[first:last] - indptr[first], axis=0)
        norm = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.where(norm > 1e-9, summed / np.maximum(norm, 1e-9), 0).astype(np.float32)

    def cold_vectors(self, content: Floats) -> tuple[Floats, Floats]:
        """Predicted (p, q) of people known only by their content vectors (n, c): float32 (n, f) each; (f,) each for (c,)."""
        return (
            (content @ self.cold_p[:-1] + self.cold_p[-1]).astype(np.float32),
            (content @ self.cold_q[:-1] + self.cold_q[-1]).astype(np.float32),
        )

    def dump(self) -> dict[str, NDArray[Any]]:
        """The encoder as arrays by name, to be kept under `content.` in a bundle."""
        return {"idf": self.idf, "projection": self.projection, "cold_p": self.cold_p, "cold_q": self.cold_q}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "ContentEncoder":
        """The inverse of `dump`. Raises ValueError when an array is absent or does not fit."""
        names = ("idf", "projection", "cold_p", "cold_q")
        if absent := [name for name in names if name not in arrays]:
            raise ValueError(f"the encoder lacks {', '.join(absent)}")
        return cls(*(np.asarray(arrays[name], np.float32) for name in names))


def _chunks(indptr: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Row ranges of at most about _PARTS_AT_ONCE non-zeros each, covering all rows in order."""
    n_rows = len(indptr) - 1
    chunks, first = [], 0
    while first < n_rows:
        last = int(np.searchsorted(indptr, indptr[first] + _PARTS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), n_rows)
        chunks.append((first, last))
        first = last
    return chunks
