"""Tastes from what was said since the training: one least-squares step on everybody else's vectors, and no training.

The step is that of alternating least squares on confidences (Hu, Koren & Volinsky, ICDM 2008), made for the deviation from a
prior: the vector that the bundle holds, or that the profile of somebody new predicts. With Q everyone's vectors as those who are
liked, c the confidence of an opinion and r what it says (1 a like, 0 a pass), a person's p is

    prior + argmin_d  sum over opinions of c (r - q·prior - q·d)²  +  sum over all others of (q·d)²  +  lambda |d|²

so that nothing said leaves the prior, a zero prior gives what ALS would, and much said outweighs any prior. q likewise, from
the p of those who liked or passed the person.

Newcomers, NDCG@20 of their later likes, known by their first three and by the passes and admirers until then (5,000 demo
people, CollegeMsg, speed dates; three seeds; the first, second and fourth are what `python -m benchmarks.newcomers` measures):

    the prior alone                                         .409  .100  .094
    a model retrained on the same                           .456  .153  .629
    ALS's step, blended with the prior as training blends   .456  .158  .618
    this, on the blended vectors that a bundle holds        .485  .155  .731
    this, on raw factors, for twice the vectors             .484  .152  .800
    this, with lambda 30 in place of training's 10          .483  .149  .693

People of a bundle, NDCG@20 of the last twentieth of the pairs, with vectors of the first 80 % (demo, CollegeMsg; two seeds):
as stored .290 .035; the step over all they ever said, from the profile's prediction .305 .047; over what they said since the
training, from the stored vector .308 .051, and with the others' vectors moved likewise .366 .102.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MOST_OPINIONS = 250
"""So many likes, the last ones given, and as many passes enter one solution. With 64 dimensions 3 likes take 30 µs, 200 take 96,
and 200 with 200 passes 163; more than 250 of each cost no more than that many."""

_NUMBERS_AT_ONCE = 1 << 16
"""Of padded vectors in a batch, 512 KB as float64, which stay near the processor: 1.6 µs for a person of 3 opinions and 59 for
one of 100, against 2.3 and 124 with 16 times as many."""

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """How training weighs: `regularisation` > 0; confidences > 1, where what was never said has 1."""

    regularisation: float
    like: float
    passing: float


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """What many people said, or what was said of them: of person i the entries from `indptr[i]` to `indptr[i + 1]`.

    `indptr`: int64 (n + 1,). `vectors`: float32 (m, f), of those on the other side; rows that are not finite count for nothing.
    `liked`: bool (m,): a like, else a pass.
    """

    indptr: NDArray[np.int64]
    vectors: Floats
    liked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.indptr) - 1


class FoldIn:
    """The step for one set of vectors. Knows everybody by two Gram matrices, float64 (f, f): sums over everyone of p pᵀ and q qᵀ.

    Raises ValueError when something is not finite, does not fit, or is no Gram matrix.
    """

    def __init__(self, gram_p: NDArray[Any], gram_q: NDArray[Any], weights: Weights) -> None:
        if gram_p.shape != gram_q.shape or gram_p.ndim != 2 or gram_p.shape[0] != gram_p.shape[1]:
            raise ValueError(f"Gram matrices of shapes {gram_p.shape} and {gram_q.shape} do not fit each other")
        for name in Weights.__slots__:
            least = 0.0 if name == "regularisation" else 1.0
            if not least < getattr(weights, name) < np.inf:
                raise ValueError(f"{name} must be a number above {least:g}, not {getattr(weights, name)}")
        self.gram_p, self.gram_q, self.weights = gram_p.astype(np.float64), gram_q.astype(np.float64), weights
        self._of_p = _System.of("gram_p", self.gram_p, weights)
        self._of_q = _System.of("gram_q", self.gram_q, weights)

    @classmethod
    def of(cls, p: Floats, q: Floats, weights: Weights) -> "FoldIn":
        """For everyone's vectors, float32 (n, f) each. A million of 64 dimensions take about a second."""
        return cls(_gram(p), _gram(q), weights)

    @property
    def n_factors(self) -> int:
        return len(self.gram_p)

    def p(self, liked_q: Floats, passed_q: Floats, prior: Floats) -> Floats:
        """Somebody's p, float32 (f,), from the q (k, f) of those they like and (m, f) of those they passed; the prior if none.

        `prior` float32 (f,), finite. Rows that are not finite count for nothing. Of more than MOST_OPINIONS the last count.
        """
        return self._of_q.one(liked_q, passed_q, prior)

    def q(self, liked_by_p: Floats, passed_by_p: Floats, prior: Floats) -> Floats:
        """Somebody's q, float32 (f,), from the p of those who like them and of those who passed them; as `p`."""
        return self._of_p.one(liked_by_p, passed_by_p, prior)

    def many_p(self, given: Opinions, priors: Floats) -> Floats:
        """Everyone's p, float32 (n, f), as `p` gives them one by one; `vectors` are the q of those whom they spoke about."""
        return self._of_q.many(given, priors)

    def many_q(self, received: Opinions, priors: Floats) -> Floats:
        """Everyone's q, float32 (n, f); `vectors` are the p of those who spoke about them."""
        return self._of_p.many(received, priors)

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays by name, to be kept under `foldin.` in a bundle."""
        weights = np.array([getattr(self.weights, name) for name in Weights.__slots__], np.float64)
        return {"gram_p": self.gram_p, "gram_q": self.gram_q, "weights": weights}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "FoldIn":
        """The inverse of `dump`. Raises ValueError when an array is absent or does not fit."""
        names = ("gram_p", "gram_q", "weights")
        if absent := [name for name in names if name not in arrays]:
            raise ValueError(f"the fold-in lacks {', '.join(absent)}")
        gram_p, gram_q, weights = (np.asarray(arrays[name], np.float64) for name in names)
        if weights.shape != (len(Weights.__slots__),):
            raise ValueError(f"the fold-in has weights of shape {weights.shape}")
        return cls(gram_p, gram_q, Weights(*weights.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """One side: `everyone` (f, f), the Gram matrix with lambda on its diagonal, and its inverse."""

    everyone: Doubles
    inverse: Doubles
    weights: Weights

    @classmethod
    def of(cls, name: str, gram: Doubles, weights: Weights) -> "_System":
        if not np.isfinite(gram).all() or not np.allclose(gram, gram.T, rtol=1e-6, atol=1e-6 * np.abs(gram).max(initial=0.0)):
            raise ValueError(f"{name} of the fold-in holds numbers that are not finite, or is not symmetric")
        everyone = gram + weights.regularisation * np.eye(len(gram))
        try:
            np.linalg.cholesky(everyone)
        except np.linalg.LinAlgError as exc:
            raise ValueError(f"{name} of the fold-in is no Gram matrix: it has a negative direction") from exc
        return cls(everyone, np.asarray(np.linalg.inv(everyone), np.float64), weights)

    def one(self, liked: Floats, passed: Floats, prior: Floats) -> Floats:
        liked, passed = liked[-MOST_OPINIONS:], passed[-MOST_OPINIONS:]
        if not len(liked) and not len(passed):
            return np.array(prior, np.float32)
        vectors = np.concatenate((liked, passed)).astype(np.float64)
        says = np.zeros(len(vectors))
        says[: len(liked)] = 1.0
        return np.asarray(self._solved(vectors[None], says[None], prior[None])[0], np.float32)

    def many(self, opinions: Opinions, priors: Floats) -> Floats:
        found = np.array(priors, np.float32)
        opinions = _capped(opinions)
        for people, vectors, says in _padded(opinions):
            found[people] = self._solved(vectors, says, found[people])
        return found

    def _solved(self, vectors: Doubles, says: Doubles, priors: Floats) -> Floats:
        """float32 (n, f) for `vectors` (n, k, f) and `says` (n, k); vectors of zeros, as padding has, change nothing.

        By the smaller of two systems that have the same solution: one equation an opinion, or one a dimension.
        """
        known = np.asarray(np.isfinite(vectors).all(axis=2))
        if not known.all():
            vectors = np.where(known[:, :, None], vectors, 0.0)
        confidence = np.where(says > 0, self.weights.like, self.weights.passing)
        prior = priors.astype(np.float64)
        missed = says - (vectors @ prior[:, :, None])[:, :, 0]
        if vectors.shape[1] < vectors.shape[2]:
            spread = vectors @ self.inverse
            kernel = spread @ vectors.transpose(0, 2, 1)
            diagonal = np.arange(vectors.shape[1])
            kernel[:, diagonal, diagonal] += 1.0 / (confidence - 1.0)
            shares = np.linalg.solve(kernel, (missed * confidence / (confidence - 1.0))[:, :, None])
            deviation = spread.transpose(0, 2, 1) @ shares
        else:
            across = vectors.transpose(0, 2, 1)
            system = self.everyone + (across * (confidence - 1.0)[:, None, :]) @ vectors
            deviation = np.linalg.solve(system, across @ (missed * confidence)[:, :, None])
        return (prior + deviation[:, :, 0]).astype(np.float32)


def _gram(vectors: Floats) -> Doubles:
    """Summed in parts, so that no part is too long a sum for float32 nor too big a copy."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE].astype(np.float64)
        total += part.T @ part
    return total


def _capped(opinions: Opinions) -> Opinions:
    """At most MOST_OPINIONS likes and as many passes of each person, the last ones."""
    counts = np.diff(opinions.indptr)
    if not len(counts) or int(counts.max()) <= MOST_OPINIONS:
        return opinions
    owner = np.repeat(np.arange(len(counts)), counts)
    keep = np.ones(len(owner), np.bool_)
    for kind in (opinions.liked, ~opinions.liked):
        so_far = np.cumsum(kind)
        until = np.concatenate(([0], so_far))[opinions.indptr[1:]]
        keep &= ~kind | (until[owner] - so_far < MOST_OPINIONS)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner[keep], minlength=len(counts)))))
    return Opinions(indptr, opinions.vectors[keep], opinions.liked[keep])


def _padded(opinions: Opinions) -> Iterator[tuple[NDArray[np.int64], Doubles, Doubles]]:
    """Those who have any opinions, those with as many together: (people (n,), vectors (n, k, f), says (n, k)).

    Shorter ones are filled up with zeros. No part has more than _NUMBERS_AT_ONCE numbers, unless one person has.
    """
    counts = np.diff(opinions.indptr)
    order = np.argsort(counts, kind="stable")
    order = order[np.searchsorted(counts[order], 1) :]
    n_factors = opinions.vectors.shape[1]
    while len(order):
        longest = counts[order] * np.arange(1, len(order) + 1) * n_factors
        n_people = max(1, int(np.searchsorted(longest, _NUMBERS_AT_ONCE, side="right")))
        people, order = order[:n_people], order[n_people:]
        width = int(counts[people[-1]])
        there = np.arange(width) < counts[people, None]
        source = (opinions.indptr[people, None] + np.arange(width))[there]
        vectors = np.zeros((n_people, width, n_factors))
        says = np.zeros((n_people, width))
        vectors[there], says[there] = opinions.vectors[source], opinions.liked[source]
        yield people, vectors, says
