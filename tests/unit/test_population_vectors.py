"""Search is exact: whatever the filter, it finds what a full scan would."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.population.index import Index, Named, Probe
from service.population.planes import Floats, FloatVectors, Planes, Vectors
from service.population.planner import Calibration, Planner, Step
from service.population.vectors import Ids, Mask, Searched, Space
from tests.population_people import passing_of

PROBED = Calibration(100, 0.98, 64, 0.0, 1e9, (Step(1.0, 1e-3, 500, True, 0.99, 0.9, 1.0, 20.0),))
"""A table by which everything is probed, since scoring a row is said to be dear."""

laws = settings(max_examples=150, deadline=None, database=None)

KINDS: list[Callable[[Floats], Vectors]] = [FloatVectors, Planes.of]


def space_of(base: Vectors, added: Floats, known: Mask) -> Space:
    space = Space(base)
    space.put(np.arange(len(added)) + base.n, added, known)
    return space


def search(space: Space, mask: Mask, ids: Ids, query: NDArray[np.floating], k: int) -> Searched:
    return space.search(passing_of(mask, space.n_base), ids, query.astype(np.float32), k)


def full_scan(vectors: Floats, ids: Ids, mask: Mask, query: Floats, k: int) -> tuple[list[int], list[float]]:
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = [int(row) for row in np.lexsort((ids, -scores)) if mask[row]][:k]
    return ids[order].tolist(), scores[order].tolist()


@laws
@given(
    in_planes=st.booleans(),
    n_base=st.sampled_from([0, 1, 40, 700, 2500]),
    n_added=st.sampled_from([0, 3, 60]),
    share=st.sampled_from([0.0, 0.02, 0.08, 0.3, 1.0]),
    k=st.sampled_from([0, 1, 7, 50, 2000]),
    levels=st.sampled_from([1, 2, 1000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_equals_a_full_scan(
    in_planes: bool, n_base: int, n_added: int, share: float, k: int, levels: int, seed: int
) -> None:
    """`levels` 1 and 2 make nearly all vectors equal, so that nearly everything is a tie."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-levels, levels + 1, (n_base + n_added, 6)).astype(np.float32) / np.float32(levels * 3)
    ids = rng.permutation(10 * len(vectors) + 1)[: len(vectors)].astype(np.int64)
    mask, known = rng.random(len(vectors)) < share, rng.random(n_added) < 0.8
    query = rng.standard_normal(6).astype(np.float32)
    base = KINDS[in_planes](vectors[:n_base])
    stored = np.concatenate((base.slice(0, n_base), vectors[n_base:]))
    searched = search(space_of(base, vectors[n_base:], known), mask, ids, query, k)
    expected = full_scan(stored, ids, mask & np.concatenate((np.ones(n_base, bool), known)), query, k)
    assert (searched.ids.tolist(), searched.scores.tolist()) == expected
    assert ids[searched.rows].tolist() == expected[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_ties_beyond_the_shortlist_go_to_the_smallest_ids(kind: Callable[[Floats], Vectors], share: float) -> None:
    n = 3000
    mask = np.arange(n) < n * share
    searched = search(Space(kind(np.ones((n, 4), np.float32))), mask, np.arange(n, 0, -1), np.ones(4), 5)
    last = n - round(n * share) + 1
    assert searched.ids.tolist() == list(range(last, last + 5))


def test_ids_may_be_a_function_of_rows() -> None:
    space = Space(FloatVectors(np.eye(3, dtype=np.float32)))
    searched = space.search(passing_of(np.ones(3, bool), 3), lambda rows: 100 - rows, np.arange(3, dtype=np.float32), 2)
    assert searched.ids.tolist() == [98, 99]


def test_a_query_of_zeros_finds_the_smallest_ids() -> None:
    space = Space(Planes.of(np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)))
    searched = search(space, np.ones(500, bool), np.arange(500, 0, -1), np.zeros(4), 3)
    assert (searched.ids.tolist(), searched.scores.tolist()) == ([1, 2, 3], [0, 0, 0])


@pytest.mark.parametrize("query", [np.ones(3), np.array([1, np.nan]), np.ones((1, 2))])
def test_query_that_does_not_fit_is_refused(query: Floats) -> None:
    with pytest.raises(ValueError, match="2 finite numbers"):
        search(Space(FloatVectors(np.ones((3, 2), np.float32))), np.ones(3, bool), np.arange(3), query, 1)


def test_replaced_vector_is_the_one_that_is_found() -> None:
    space = Space(FloatVectors(np.zeros((1, 2), np.float32)))
    space.put(np.array([1]), np.array([[5, 0]], np.float32), np.array([True]))
    space.put(np.array([1]), np.array([[0, 7]], np.float32), np.array([True]))
    assert search(space, np.ones(2, bool), np.arange(2), np.ones(2), 2).scores.tolist() == [7.0, 0.0]


def test_of_a_row_put_twice_at_once_the_last_counts() -> None:
    space = Space(FloatVectors(np.zeros((0, 1), np.float32)))
    space.put(np.array([0, 1, 0, 1]), np.arange(4, dtype=np.float32)[:, None], np.array([True, True, True, False]))
    assert np.array_equal(space.gather(np.array([0, 1]))[:, 0], np.array([2, np.nan]), equal_nan=True)


def test_a_vector_taken_away_is_not_found() -> None:
    space = space_of(FloatVectors(np.zeros((1, 2), np.float32)), np.ones((1, 2), np.float32), np.array([True]))
    space.put(np.array([1]), np.ones((1, 2), np.float32), np.array([False]))
    assert search(space, np.ones(2, bool), np.arange(2), np.ones(2), 2).rows.tolist() == [0]
    assert space.get(1) is None


def test_rows_without_a_vector_gather_as_missing() -> None:
    space = space_of(FloatVectors(np.ones((1, 2), np.float32)), np.ones((1, 2), np.float32), np.array([False]))
    assert np.isnan(space.gather(np.array([0, 1, 500]))).all(axis=1).tolist() == [False, True, True]


def test_a_put_far_beyond_keeps_what_was_there() -> None:
    space = space_of(Planes.of(np.ones((2, 2), np.float32)), np.full((1, 2), 3, np.float32), np.array([True]))
    space.put(np.array([9000]), np.full((1, 2), 4, np.float32), np.array([True]))
    assert space.gather(np.array([1, 2, 9000]))[:, 0].tolist() == [1, 3, 4]


@pytest.mark.parametrize(("row", "value", "said"), [(0, 1.0, "do not change"), (2, np.inf, "1 vectors hold numbers")])
def test_a_put_that_cannot_be_is_refused(row: int, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Space(FloatVectors(np.ones((1, 2), np.float32))).put(
            np.array([row]), np.full((1, 2), value, np.float32), np.array([True])
        )


def test_nobody_passing_is_an_empty_answer_that_says_so() -> None:
    searched = search(Space(Planes.of(np.ones((4, 2), np.float32))), np.zeros(4, bool), np.arange(4), np.ones(2), 3)
    assert (len(searched.ids), searched.plan.method, searched.plan.n_passing) == (0, "none", 0)


class WatchedIndex:
    """Names everybody, and keeps what it was asked."""

    def __init__(self, n: int, d: int) -> None:
        self.n, self.d = n, d
        self.asked: list[Probe] = []

    def search(self, query: Floats, probe: Probe, passing: object) -> Named:
        self.asked.append(probe)
        return Named(np.arange(self.n), np.zeros(self.n, np.float32), 1)


def test_the_index_is_asked_as_the_plan_says() -> None:
    index = WatchedIndex(1000, 4)
    space = Space(FloatVectors(np.ones((1000, 4), np.float32)), cast(Index, index), Planner(PROBED))
    plan = search(space, np.ones(1000, bool), np.arange(1000), np.ones(4), 10).plan
    assert plan.method == "probe"
    assert index.asked == [Probe(plan.depth, 10, plan.wanted, plan.miss, plan.most_lists)]
