"""Bitmaps behave as the sets of rows that they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.population.bits import BLOCK_ROWS, Mask, clear, count, mark, n_words, nth, pack, rows_of, unpack
from service.population.bits import test as is_in

laws = settings(max_examples=150, deadline=None, database=None)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    n, share = draw(st.integers(0, 1500)), draw(st.sampled_from([0.0, 0.002, 0.05, 0.3, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(n) < share


rows_below = st.lists(st.integers(0, 1499), max_size=40)


@laws
@given(mask=masks())
def test_unpacking_gives_back_what_was_packed(mask: Mask) -> None:
    assert unpack(pack(mask), len(mask)).tolist() == mask.tolist()


@laws
@given(mask=masks())
def test_bitmaps_are_whole_blocks_padded_with_nothing(mask: Mask) -> None:
    words = pack(mask)
    assert len(words) == n_words(len(mask)) == -(-len(mask) // BLOCK_ROWS) * 8
    assert count(words) == np.count_nonzero(mask)


@laws
@given(mask=masks())
def test_rows_are_those_of_the_mask_in_order(mask: Mask) -> None:
    rows = rows_of(pack(mask))
    assert rows.dtype == np.int64
    assert rows.tolist() == np.flatnonzero(mask).tolist()


@laws
@given(start=rows_below, changed=rows_below)
def test_mark_and_clear_are_union_and_difference(start: list[int], changed: list[int]) -> None:
    words = np.zeros(n_words(1500), np.uint64)
    mark(words, start)
    more, less = words.copy(), words.copy()
    mark(more, np.array(changed, np.int32))
    clear(less, changed)
    assert set(rows_of(more).tolist()) == {*start, *changed}
    assert set(rows_of(less).tolist()) == {*start} - {*changed}


@laws
@given(members=rows_below, asked=rows_below)
def test_test_says_who_is_in(members: list[int], asked: list[int]) -> None:
    words = np.zeros(n_words(1500), np.uint64)
    mark(words, members)
    assert is_in(words, np.array(asked, np.int64)).tolist() == [row in members for row in asked]


@laws
@given(mask=masks(), seed=st.integers(0, 99))
def test_nth_is_the_row_of_that_rank(mask: Mask, seed: int) -> None:
    rows = np.flatnonzero(mask)
    ranks = np.random.default_rng(seed).permutation(len(rows))
    assert nth(pack(mask), ranks).tolist() == rows[ranks].tolist()


@pytest.mark.parametrize("rank", [-1, 3])
def test_rank_beyond_the_set_is_refused(rank: int) -> None:
    with pytest.raises(IndexError):
        nth(pack(np.array([True, False, True, True])), [rank])


def test_nth_of_the_empty_is_refused_and_of_nothing_is_nothing() -> None:
    assert nth(pack(np.zeros(0, np.bool_)), []).tolist() == []
    with pytest.raises(IndexError):
        nth(pack(np.zeros(0, np.bool_)), [0])
