"""Search is exact: whatever the filter, it finds what a full scan would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.population.vectors import Floats, Ids, Mask, Space

laws = settings(max_examples=150, deadline=None, database=None)


def space_of(base: Floats, added: Floats, known: Mask) -> Space:
    space = Space(base)
    for index, vector in enumerate(added):
        space.put(len(base) + index, vector if known[index] else None)
    return space


def full_scan(vectors: Floats, ids: Ids, mask: Mask, query: Floats, k: int) -> tuple[list[int], list[float]]:
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = [int(row) for row in np.lexsort((ids, -scores)) if mask[row]][:k]
    return ids[order].tolist(), scores[order].tolist()


@laws
@given(
    n_base=st.sampled_from([0, 1, 40, 700]),
    n_added=st.sampled_from([0, 3, 60]),
    share=st.sampled_from([0.0, 0.02, 0.08, 0.3, 1.0]),
    k=st.sampled_from([0, 1, 7, 50, 2000]),
    levels=st.sampled_from([1, 2, 1000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_equals_a_full_scan(n_base: int, n_added: int, share: float, k: int, levels: int, seed: int) -> None:
    """`levels` 1 and 2 make nearly all vectors equal, so that nearly everything is a tie."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-levels, levels + 1, (n_base + n_added, 6)).astype(np.float32) / np.float32(levels * 3)
    ids = rng.permutation(10 * len(vectors) + 1)[: len(vectors)].astype(np.int64)
    mask, known = rng.random(len(vectors)) < share, rng.random(n_added) < 0.8
    query = rng.standard_normal(6).astype(np.float32)
    found, scores = space_of(vectors[:n_base], vectors[n_base:], known).search(mask, ids, query, k)
    expected = full_scan(vectors, ids, mask & np.concatenate((np.ones(n_base, bool), known)), query, k)
    assert (found.tolist(), scores.tolist()) == expected


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_ties_beyond_the_shortlist_go_to_the_smallest_ids(share: float) -> None:
    n = 3000
    space, mask = Space(np.ones((n, 4), np.float32)), np.arange(n) < n * share
    found, _ = space.search(mask, np.arange(n, 0, -1), np.ones(4, np.float32), 5)
    last = n - round(n * share) + 1
    assert found.tolist() == list(range(last, last + 5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    vectors = np.ones((3, 2), np.float32)
    vectors[1, 1] = bad
    with pytest.raises(ValueError, match="1 vectors hold numbers that are not finite"):
        Space(vectors)


@pytest.mark.parametrize("query", [np.ones(3), np.array([1, np.nan]), np.ones((1, 2))])
def test_query_that_does_not_fit_is_refused(query: Floats) -> None:
    with pytest.raises(ValueError, match="2 finite numbers"):
        Space(np.ones((3, 2), np.float32)).search(np.ones(3, bool), np.arange(3), query, 1)


def test_replaced_vector_is_the_one_that_is_found() -> None:
    space = Space(np.zeros((1, 2), np.float32))
    space.put(1, np.array([5, 0], np.float32))
    space.put(1, np.array([0, 7], np.float32))
    _, scores = space.search(np.ones(2, bool), np.arange(2), np.array([1, 1], np.float32), 2)
    assert scores.tolist() == [7.0, 0.0]


def test_rows_without_a_vector_gather_as_missing() -> None:
    space = Space(np.ones((1, 2), np.float32))
    space.put(1, None)
    gathered = space.gather(np.array([0, 1, 5]))
    assert np.isnan(gathered).all(axis=1).tolist() == [False, True, True]
