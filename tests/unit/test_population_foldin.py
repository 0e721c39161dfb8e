"""Tastes from what was said since the training: what the step solves, what leaves it unmoved, and what it refuses."""

import numpy as np
import pytest
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from service.population.foldin import MOST_OPINIONS, Floats, FoldIn, Opinions, Weights

N, F = 80, 12
WEIGHTS = Weights(regularisation=10.0, like=20.0, passing=6.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def p(rng: np.random.Generator) -> Floats:
    return rng.normal(0, 0.4, (N, F)).astype(np.float32)


@pytest.fixture
def q(rng: np.random.Generator) -> Floats:
    return rng.normal(0, 0.4, (N, F)).astype(np.float32)


@pytest.fixture
def foldin(p: Floats, q: Floats) -> FoldIn:
    return FoldIn.of(p, q, WEIGHTS)


ZERO = np.zeros(F, np.float32)
NOBODY = np.zeros((0, F), np.float32)


def als_of(p: Floats, q: Floats) -> AlternatingLeastSquares:
    with threadpool_limits(1, "blas"):  # it warns of more
        model = AlternatingLeastSquares(factors=F, regularization=WEIGHTS.regularisation, num_threads=1, use_gpu=False)
    model.user_factors, model.item_factors = p, q
    return model


def confidences(liked: NDArray[np.int64], passed: NDArray[np.int64]) -> csr_matrix:
    """One row, as training gives them to implicit."""
    values = np.concatenate([np.full(len(liked), WEIGHTS.like), np.full(len(passed), -WEIGHTS.passing)]).astype(np.float32)
    columns = np.concatenate([liked, passed])
    return csr_matrix((values, (np.zeros(len(columns), np.int64), columns)), shape=(1, N))


@pytest.mark.parametrize(("n_liked", "n_passed"), [(1, 0), (0, 2), (3, 4), (6, 6), (25, 30)])
def test_without_a_prior_it_is_the_step_of_alternating_least_squares(
    foldin: FoldIn, p: Floats, q: Floats, n_liked: int, n_passed: int
) -> None:
    """Fewer opinions than dimensions, as many, and more, which are solved in two ways."""
    liked, passed = np.arange(n_liked), np.arange(40, 40 + n_passed)
    model, said = als_of(p, q), confidences(liked, passed)
    np.testing.assert_allclose(foldin.p(q[liked], q[passed], ZERO), model.recalculate_user(0, said), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(foldin.q(p[liked], p[passed], ZERO), model.recalculate_item(0, said), rtol=1e-4, atol=1e-5)


def test_nothing_said_leaves_the_prior(foldin: FoldIn, p: Floats) -> None:
    np.testing.assert_array_equal(foldin.p(NOBODY, NOBODY, p[0]), p[0])
    nothing = Opinions(np.zeros(6, np.int64), NOBODY, np.zeros(0, np.bool_))
    np.testing.assert_array_equal(foldin.many_p(nothing, p[:5]), p[:5])


def test_opinions_that_the_prior_foresees_to_the_last_digit_move_nothing(foldin: FoldIn, p: Floats, q: Floats) -> None:
    prior = p[0]
    foreseen = q[:2] / (q[:2] @ prior)[:, None]
    np.testing.assert_allclose(foldin.p(foreseen, NOBODY, prior), prior, atol=1e-6)


@pytest.mark.parametrize("n_before", [0, 2, 30])
def test_a_like_raises_the_affinity_for_whom_it_was_for_and_a_pass_lowers_it(
    foldin: FoldIn, p: Floats, q: Floats, n_before: int
) -> None:
    """Where there is something to raise or to lower: a like says 1, a pass 0."""
    liked, prior = q[:n_before], 0.2 * p[0]
    affinity = q[40:] @ foldin.p(liked, NOBODY, prior)
    assert (affinity > 0.1).sum() >= 5
    for other, before in zip(q[40:], affinity, strict=True):
        assert foldin.p(np.vstack([liked, other]), NOBODY, prior) @ other > before or before > 0.9
        assert foldin.p(liked, other[None], prior) @ other < before or before < 0.1


def test_a_like_received_raises_how_much_the_admirer_is_served(foldin: FoldIn, p: Floats, q: Floats) -> None:
    prior = 0.2 * q[0]
    assert foldin.q(p[5:6], NOBODY, prior) @ p[5] > prior @ p[5]


def test_order_does_not_matter(foldin: FoldIn, rng: np.random.Generator, p: Floats, q: Floats) -> None:
    liked, passed = q[:20], q[30:60]
    shuffled = foldin.p(liked[rng.permutation(20)], passed[rng.permutation(30)], p[0])
    np.testing.assert_allclose(shuffled, foldin.p(liked, passed, p[0]), rtol=1e-5, atol=1e-6)


def test_beyond_the_cap_the_last_count(foldin: FoldIn, rng: np.random.Generator, p: Floats) -> None:
    many = rng.normal(0, 0.4, (MOST_OPINIONS + 40, F)).astype(np.float32)
    last = foldin.p(many[-MOST_OPINIONS:], many[-MOST_OPINIONS:], p[0])
    np.testing.assert_array_equal(foldin.p(many, many, p[0]), last)
    once = Opinions(np.array([0, 2 * len(many)]), np.vstack([many, many]), np.repeat([True, False], len(many)))
    np.testing.assert_allclose(foldin.many_p(once, p[:1])[0], last, rtol=1e-5, atol=1e-6)


def test_vectors_that_are_not_finite_count_for_nothing(foldin: FoldIn, p: Floats, q: Floats) -> None:
    absent = np.full((1, F), np.nan, np.float32)
    with_absent = foldin.p(np.vstack([q[:3], absent]), absent, p[0])
    np.testing.assert_allclose(with_absent, foldin.p(q[:3], NOBODY, p[0]), rtol=1e-5, atol=1e-6)


def test_many_are_as_one_by_one(foldin: FoldIn, rng: np.random.Generator, p: Floats, q: Floats) -> None:
    """Of 0 to 60 opinions, so many people that several parts are needed."""
    counts = rng.integers(0, 61, 700)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    rows, liked = rng.integers(0, N, indptr[-1]), rng.random(indptr[-1]) < 0.3
    priors = p[rng.integers(0, N, 700)]
    for together, alone, vectors in ((foldin.many_p, foldin.p, q[rows]), (foldin.many_q, foldin.q, p[rows])):
        found = together(Opinions(indptr, vectors, liked), priors)
        for person in range(700):
            own = slice(indptr[person], indptr[person + 1])
            one = alone(vectors[own][liked[own]], vectors[own][~liked[own]], priors[person])
            np.testing.assert_allclose(found[person], one, rtol=1e-4, atol=1e-5)


def test_where_nobody_has_liked_anybody_the_prior_stays() -> None:
    nothing = np.zeros((N, F), np.float32)
    np.testing.assert_array_equal(FoldIn.of(nothing, nothing, WEIGHTS).p(nothing[:3], nothing[:2], ZERO), ZERO)


def test_loaded_it_gives_the_same(foldin: FoldIn, p: Floats, q: Floats) -> None:
    again = FoldIn.load(foldin.dump())
    np.testing.assert_array_equal(again.p(q[:3], q[5:9], p[0]), foldin.p(q[:3], q[5:9], p[0]))


@pytest.mark.parametrize(
    ("name", "damaged", "reason"),
    [
        ("gram_q", np.eye(F)[:-1], "do not fit"),
        ("gram_q", np.eye(F + 1), "do not fit"),
        ("gram_p", np.ones(F), "do not fit"),
        ("gram_p", np.full((F, F), np.nan), "not finite"),
        ("gram_q", np.eye(F) + np.eye(F, k=1), "symmetric"),
        ("gram_q", -100 * np.eye(F), "negative"),
        ("weights", np.array([10.0, 20.0]), "weights"),
        ("weights", np.array([0.0, 20.0, 6.0]), "regularisation"),
        ("weights", np.array([10.0, 1.0, 6.0]), "like"),
        ("weights", np.array([10.0, 20.0, np.nan]), "passing"),
    ],
)
def test_damaged_arrays_are_refused(foldin: FoldIn, name: str, damaged: NDArray[np.float64], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FoldIn.load(foldin.dump() | {name: damaged})


def test_absent_array_is_named(foldin: FoldIn) -> None:
    arrays = foldin.dump()
    del arrays["gram_q"]
    with pytest.raises(ValueError, match="lacks gram_q"):
        FoldIn.load(arrays)
