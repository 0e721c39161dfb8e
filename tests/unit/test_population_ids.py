"""Ids looked up by the hundred."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.population.ids import SortedIds

LARGEST = 2**63 - 1


@pytest.mark.parametrize("missing", [[], [7], list(range(100, 400)), list(range(2, 5_000, 3))])
def test_every_id_is_found_and_no_other(missing: list[int]) -> None:
    ids = np.setdiff1d(np.arange(1, 5_001), missing)
    wanted = np.concatenate((ids[::-1], np.array([*missing, 5_001, LARGEST], np.int64)))
    expected = np.concatenate((np.arange(len(ids))[::-1], np.full(len(missing) + 2, -1)))
    assert np.array_equal(SortedIds(ids).places(wanted), expected)


@given(st.sets(st.integers(1, LARGEST), max_size=40), st.lists(st.integers(1, LARGEST), max_size=40), st.integers(0, 2000))
def test_places_are_those_of_a_search_whatever_the_ids(scattered: set[int], asked: list[int], n_sequence: int) -> None:
    ids = np.unique(np.array([*scattered, *range(1_000, 1_000 + n_sequence)], np.int64))
    wanted = np.array([*asked, *sorted(scattered), 999, 1_000, 1_000 + n_sequence], np.int64)
    known = {one: place for place, one in enumerate(ids.tolist())}
    assert SortedIds(ids).places(wanted).tolist() == [known.get(one, -1) for one in wanted.tolist()]


def test_nobody_is_found_where_there_is_nobody() -> None:
    assert SortedIds(np.empty(0, np.int64)).places(np.array([1, 2])).tolist() == [-1, -1]
