"""The content encoder fitted: rarity of words, projection, and maps from what a profile says to tastes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from service.domain import Profile
from service.features.content import N_BUCKETS, N_DENSE, ContentEncoder, design, token_counts
from service.training.examples import Pairs
from service.training.factors import Factors
from service.training.split import history

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]

N_CONTENT = 64
LAMBDAS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
PRIORS = (1.0, 5.0, 20.0, 50.0, 100.0)
"""A history of so many pairs counts as much as what the profile predicts; which, is chosen on data: 50 where profiles tell
tastes (the demo population: NDCG@20 .265 without, .304 with), few where they say nothing (CollegeMsg, which has none: recall@100
.224 with 5, .255 with 1)."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The part of the encoder that knows no tastes, and everyone's content vectors, float32 (n, c), that it gives."""

    idf: Floats
    projection: Floats
    content: Floats

    def encoder(self, cold_p: Floats, cold_q: Floats) -> ContentEncoder:
        return ContentEncoder(self.idf, self.projection, cold_p, cold_q)


def fit_words(profiles: list[Profile], seed: int) -> Words:
    """Inverse document frequencies and a truncated SVD of what everyone's profiles say. It looks at no interaction."""
    n_people = len(profiles)
    _, buckets, _ = token_counts(profiles)
    seen = np.bincount(buckets, minlength=N_BUCKETS)
    idf = (np.log((1 + n_people) / (1 + seen)) + 1).astype(np.float32)
    indptr, indices, values = design(profiles, idf)
    matrix = csr_matrix((values, indices, indptr), shape=(n_people, N_BUCKETS + N_DENSE))
    n_content = max(1, min(N_CONTENT, n_people - 1))
    _, _, components = randomized_svd(matrix, n_content, n_iter=4, random_state=seed)
    projection = np.ascontiguousarray(components.T, np.float32)
    empty = np.zeros((n_content + 1, 1), np.float32)
    return Words(idf, projection, ContentEncoder(idf, projection, empty, empty).encode_many(profiles))


@dataclass(frozen=True, slots=True)
class Lambdas:
    """Strength of the ridge for each of the two maps."""

    p: float = 10.0
    q: float = 10.0


def choose_lambdas(content: Floats, factors: Factors, pairs: Pairs, seed: int) -> Lambdas:
    """The strengths with the least squared error on a validation tenth of the people, weighted by history."""
    given, received = history(pairs, len(content))
    valid = np.random.default_rng([seed, 2]).random(len(content)) < 0.1
    chosen = []
    for vectors, counts in ((factors.p, given), (factors.q, received)):
        fitted, judged = np.where(valid, 0, counts), np.where(valid, counts, 0)
        errors = [_error(content, vectors, judged, ridge(content, vectors, fitted, strength)) for strength in LAMBDAS]
        chosen.append(LAMBDAS[int(np.argmin(errors))])
    return Lambdas(*chosen)


def _error(content: Floats, vectors: Floats, counts: Counts, weights: Floats) -> float:
    missed = content @ weights[:-1] + weights[-1] - vectors
    return float(_trust(counts) @ (missed**2).sum(axis=1))


def _trust(counts: Counts) -> Doubles:
    """How much a vector learnt from so many pairs says about its person's taste, float64 in [0, 1)."""
    return np.asarray(counts / (counts + 10.0), np.float64)


def ridge(content: Floats, vectors: Floats, counts: Counts, strength: float) -> Floats:
    """The map from content (with a constant 1, the last row) to `vectors`, float32 (c + 1, f); people weigh by history.

    The constant is not shrunk, so that a profile that says nothing gets the average taste.
    """
    inputs = np.hstack([content, np.ones((len(content), 1), np.float32)]).astype(np.float64)
    weighted = inputs * _trust(counts)[:, None]
    penalty = np.diag(np.append(np.full(content.shape[1], strength), 1e-6))
    return np.linalg.solve(weighted.T @ inputs + penalty, weighted.T @ vectors).astype(np.float32)


def fit_encoder(words: Words, factors: Factors, pairs: Pairs, lambdas: Lambdas) -> ContentEncoder:
    """The whole encoder: `words` with maps to the tastes of those who have a history among `pairs`."""
    given, received = history(pairs, len(words.content))
    return words.encoder(ridge(words.content, factors.p, given, lambdas.p), ridge(words.content, factors.q, received, lambdas.q))


def blend(factors: Factors, cold: Factors, pairs: Pairs, prior: float) -> Factors:
    """Everyone's vectors: `factors` as learnt from `pairs`, drawn towards the predicted `cold` ones the shorter the history is.

    Without any history it is the prediction. `prior`: see PRIORS.
    """
    given, received = history(pairs, len(factors.p))
    own_p = (given / (given + prior)).astype(np.float32)[:, None]
    own_q = (received / (received + prior)).astype(np.float32)[:, None]
    return Factors(own_p * factors.p + (1 - own_p) * cold.p, own_q * factors.q + (1 - own_q) * cold.q)
