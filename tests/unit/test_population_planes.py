"""Two planes of bytes hold vectors to half a step, and their quick scores are off by no more than they say."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.population.planes import Floats, FloatVectors, Planes, Vectors

laws = settings(max_examples=100, deadline=None, database=None)


@laws
@given(
    n=st.sampled_from([1, 2, 50, 3000]),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e6, 1e15]),
    seed=st.integers(0, 2**32 - 1),
)
def test_decoded_vectors_are_off_by_half_a_step(n: int, scale: float, seed: int) -> None:
    vectors = (np.random.default_rng(seed).standard_normal((n, 5)) * scale * [1, 10, 0.01, 0, 1]).astype(np.float32)
    planes = Planes.of(vectors)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(vectors).max(axis=0)
    assert (np.abs(planes.gather(np.arange(n)) - vectors) <= planes.step * 0.501 + rounding).all()


@laws
@given(
    in_planes=st.booleans(),
    n=st.sampled_from([1, 40, 2500]),
    shift=st.sampled_from([0.0, 1000.0]),
    share=st.sampled_from([0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_quick_scores_are_off_by_no_more_than_they_say(in_planes: bool, n: int, shift: float, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = (rng.standard_normal((n, 64)) * rng.lognormal(0, 1, 64) + shift).astype(np.float32)
    vectors: Vectors = Planes.of(numbers) if in_planes else FloatVectors(numbers)
    query, rows = rng.standard_normal(64).astype(np.float32), np.flatnonzero(rng.random(n) < share)
    scores, off = vectors.score_high(rows, query)
    exact = vectors.gather(rows).astype(np.float64) @ query.astype(np.float64)
    assert np.abs(scores - exact).max(initial=0) <= off


def test_the_bound_is_reached_by_the_worst_case_so_it_is_no_wider_than_needed() -> None:
    vectors = np.array([[0.0], [65_535.0], [255.0], [256.0]], np.float32)
    scores, off = Planes.of(vectors).score_high(np.arange(4), np.ones(1, np.float32))
    assert np.abs(scores - vectors[:, 0]).tolist() == [127.5] * 4
    assert off == pytest.approx(127.5, rel=0.01)


def test_a_dimension_in_which_all_are_equal_is_kept() -> None:
    planes = Planes.of(np.array([[1.5, 0.1], [1.5, 0.9]], np.float32))
    assert planes.step[0] == 0
    assert planes.gather(np.arange(2))[:, 0].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("kind", [FloatVectors, Planes.of])
def test_a_row_beyond_the_last_is_refused_and_not_somebody_elses(kind: Callable[[Floats], Vectors]) -> None:
    with pytest.raises(IndexError):
        kind(np.ones((3, 2), np.float32)).gather(np.array([0, 3]))


@pytest.mark.parametrize("kind", [FloatVectors, Planes.of])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused_and_counted(kind: Callable[[Floats], Vectors], bad: float) -> None:
    vectors = np.ones((3, 2), np.float32)
    vectors[1:] = bad
    with pytest.raises(ValueError, match="2 vectors hold numbers that are not finite"):
        kind(vectors)


@pytest.mark.parametrize("kind", [FloatVectors, Planes.of])
def test_nobody_is_a_population_too(kind: Callable[[Floats], Vectors]) -> None:
    vectors = kind(np.empty((0, 3), np.float32))
    assert (vectors.n, vectors.d) == (0, 3)
    assert vectors.gather(np.empty(0, np.int64)).shape == (0, 3)


def test_planes_may_be_read_only() -> None:
    planes = Planes.of(np.eye(4, dtype=np.float32))
    planes.high.flags.writeable = planes.low.flags.writeable = False
    assert np.allclose(planes.slice(1, 3), np.eye(4)[1:3], atol=1e-6)


def test_planes_that_do_not_fit_each_other_are_refused() -> None:
    planes = Planes.of(np.ones((4, 2), np.float32))
    with pytest.raises(ValueError, match="fit each other"):
        Planes(planes.high, planes.low[:3], planes.floor, planes.step)
    with pytest.raises(ValueError, match="2 dimensions do not fit"):
        Planes(planes.high, planes.low, planes.floor[:1], planes.step)
    with pytest.raises(ValueError, match="finite"):
        Planes(planes.high, planes.low, planes.floor * np.float32(np.nan), planes.step)
