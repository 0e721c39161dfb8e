"""Lots are even, a seed's are the same whoever else takes part, and the newest are found without sorting everybody."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.population import drawing
from service.population.bits import pack
from service.population.columns import COUNTS, Columns
from service.population.drawing import distinct_ranks, lots, newest_rows
from service.population.table import STORED, Interests
from service.population.vectors import Passing

laws = settings(max_examples=200, deadline=None, database=None)


@laws
@given(n=st.integers(0, 3000), k=st.integers(-1, 4000), seed=st.integers(0, 2**63))
def test_ranks_are_different_and_below_n(n: int, k: int, seed: int) -> None:
    ranks = distinct_ranks(n, k, seed)
    assert len(ranks) == len(set(ranks.tolist())) == max(0, min(k, n))
    assert ranks.dtype == np.int64
    assert all(0 <= rank < n for rank in ranks.tolist())
    assert ranks.tolist() == distinct_ranks(n, k, seed).tolist()


def test_a_lot_is_of_the_id_and_the_seed_alone() -> None:
    ids = np.array([5, 9, 2**40, 7])
    assert lots(ids, 3).tolist() == [lots(ids[at : at + 1], 3).item() for at in range(4)]
    assert not set(lots(ids, 3).tolist()) & set(lots(ids, 4).tolist())


def test_of_two_ids_either_is_first_by_half_of_the_seeds() -> None:
    first = [int(np.argmin(lots(np.array(pair), seed))) for seed in range(2000) for pair in ((1, 2), (2, 1), (10, 500_000))]
    assert abs(np.mean(first) - 0.5) < 0.04


def crowd(joined_s: NDArray[np.float64]) -> Columns:
    n = len(joined_s)
    base: dict[str, NDArray[Any]] = {name: np.zeros((n, 3) if name == "place" else n, dtype) for name, dtype in STORED.items()}
    base |= {name: np.zeros(n, np.int32) for name in COUNTS}
    interests = Interests(np.zeros(n + 1, np.int64), np.zeros(0, np.int32))
    return Columns(base | {"id": np.arange(n), "created_at_s": joined_s}, interests)


@laws
@given(
    n=st.integers(1, 1500),
    at_once=st.sampled_from([16, 128, 4096]),
    n_moments=st.sampled_from([1, 2, 3, 40, 10**6]),
    share=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    unknown=st.sampled_from([0.0, 0.0, 0.5]),
    k=st.sampled_from([0, 1, 20, 300, 10_000]),
    since_s=st.sampled_from([0.0, 1.0, 0.4 * 40]),
    seed=st.integers(0, 2**32),
)
@example(n=12_000, at_once=4096, n_moments=1, share=1.0, unknown=0.5, k=20, since_s=0.0, seed=39)
def test_newest_are_whom_sorting_everybody_finds(
    n: int, at_once: int, n_moments: int, share: float, unknown: float, k: int, since_s: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    joined_s = rng.integers(0, n_moments, n).astype(np.float64)
    joined_s[rng.random(n) < unknown] = np.nan
    passes = rng.random(n) < share
    newest = np.lexsort((rng.random(n), -joined_s)).astype(np.int32)
    passing = Passing.of(pack(passes), np.zeros(0, np.bool_))
    with patch.multiple(drawing, _ROWS_AT_ONCE=at_once, _MOST_AT_FIRST=4 * at_once):
        rows, found_s = newest_rows(crowd(joined_s), newest, passing, (k, since_s, seed))
    expected = -np.sort(-joined_s[passes & (joined_s >= since_s)])[:k]
    assert found_s.tolist() == joined_s[rows].tolist() == expected.tolist()
    assert len(set(rows.tolist())) == len(rows)
    assert passes[rows].all()


@pytest.mark.parametrize("n_tied", [1500, 4300, 9000])
def test_everybody_of_the_last_moment_has_the_same_chance(n_tied: int) -> None:
    joined_s = np.concatenate((np.full(100, 2.0), np.full(n_tied, 1.0), np.zeros(3000)))
    columns, passing = crowd(joined_s), Passing.of(pack(np.ones(len(joined_s), np.bool_)), np.zeros(0, np.bool_))
    newest = np.arange(len(joined_s), dtype=np.int32)
    drawn = np.concatenate([newest_rows(columns, newest, passing, (400, 0.0, seed))[0][100:] for seed in range(1000)])
    times = np.bincount((drawn - 100) * 10 // n_tied, minlength=10)
    assert times.sum() == 300_000
    assert abs(times - 30_000).max() < 3_000
