"""Two-sided factors: for each person a vector as one who likes (p) and one as who is liked (q)."""

from dataclasses import dataclass

import numpy as np
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from service.population.foldin import FoldIn, Weights
from service.training.examples import Pairs

Floats = NDArray[np.float32]

N_FACTORS = 64
LIKE_CONFIDENCE = 20.0
PASS_CONFIDENCE = 6.0
REGULARISATION = 10.0
ITERATIONS = 12
"""Chosen by NDCG@20 of the next tenth in time on the demo population: likes 10/20/40/80 × passes 0/1/3/6/12 × regularisation
1/10/30 gave .27 to .31, flat around these; without passes .293. More than 12 rounds change the third digit."""

MANY_PAIRS = 1_000_000
"""From so many pairs all cores are used. Below, one core takes 1 s for 200,000 pairs, while two cores that are busy elsewhere
take three times as long, since OpenMP's threads wait for one another by spinning."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """float32 (n, f) each: the forward affinity of u for v is p[u] @ q[v], about 0 for a pass or nothing, 1 for a like.
    Zeros for a person nothing is known about."""

    p: Floats
    q: Floats


def n_factors(n_people: int) -> int:
    """Fewer where there are few people: a vector longer than a quarter of the others can learn them by heart."""
    return int(np.clip(8 * (n_people // 32), 8, N_FACTORS))


def fit_factors(pairs: Pairs, n_people: int, seed: int) -> Factors:
    """Alternating least squares on confidences (Hu, Koren & Volinsky, ICDM 2008); passes are confident zeros.

    Messages add to a like's confidence by the logarithm of their number. The same pairs and seed give the same bits: rows are
    solved one by one, and BLAS, whose sums depend on its threads, gets one.
    """
    confidence = np.where(pairs.positive, LIKE_CONFIDENCE * (1.0 + 0.5 * np.log1p(pairs.n_messages)), -PASS_CONFIDENCE)
    shape = (n_people, n_people)
    matrix = csr_matrix((confidence.astype(np.float32), (pairs.actor, pairs.target)), shape=shape)
    if not pairs.positive.any():
        empty = np.zeros((n_people, n_factors(n_people)), np.float32)
        return Factors(empty, empty.copy())
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=n_factors(n_people),
            regularization=REGULARISATION,
            alpha=1.0,
            iterations=ITERATIONS,
            random_state=seed,
            num_threads=1 if len(pairs) < MANY_PAIRS else 0,
            use_gpu=False,
        )
        model.fit(matrix, show_progress=False)
    return Factors(np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32))


def fold_in(factors: Factors) -> FoldIn:
    """The step by which a population carries on where training stopped: on the vectors of its bundle, by training's weights."""
    return FoldIn.of(factors.p, factors.q, Weights(REGULARISATION, LIKE_CONFIDENCE, PASS_CONFIDENCE))
