"""Bitmaps of attributes say what comparing the columns says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.population.attributes import Categories, Cumulative
from service.population.bits import pack, unpack

laws = settings(max_examples=200, deadline=None, database=None)

sizes = st.integers(0, 1500)
seeds = st.integers(0, 2**32)
spans = st.sampled_from([1, 5, 300, 70_000])


@st.composite
def numbers(draw: st.DrawFn) -> NDArray[np.float32]:
    """Few distinct values or a new one for nearly each row; some unknown, some infinite."""
    rng, n = np.random.default_rng(draw(seeds)), draw(sizes)
    values = rng.normal(20, 5, n) if draw(st.booleans()) else rng.integers(18, 26, n)
    found = values.astype(np.float32)
    for other in (np.nan, np.inf, -np.inf):
        found[rng.random(n) < draw(st.sampled_from([0.0, 0.2, 1.0]))] = other
    return found


bounds = st.integers(10, 30) | st.sampled_from([20.5, np.inf, -np.inf])


@laws
@given(values=numbers(), bound=bounds, exactly=st.booleans())
def test_bounds_are_comparisons(values: NDArray[np.float32], bound: float, exactly: bool) -> None:
    if exactly and len(values) and not np.isnan(values[0]):
        bound = float(values[0])
    made, n = Cumulative(values), len(values)
    expected = {
        "at_least": values >= bound,
        "above": values > bound,
        "at_most": values <= bound,
        "not_below": ~(values < bound),
        "not_above": ~(values > bound),
    }
    found = {name: unpack(getattr(made, name)(bound), n).tolist() for name in expected}
    assert found == {name: mask.tolist() for name, mask in expected.items()}
    assert unpack(made.known, n).tolist() == (~np.isnan(values)).tolist()


@laws
@given(n=sizes, seed=seeds, span=spans, wanted=st.sets(st.integers(-1, 400), max_size=6))
def test_any_of_finds_who_has_one_of_the_codes(n: int, seed: int, span: int, wanted: set[int]) -> None:
    rng = np.random.default_rng(seed)
    codes = np.minimum(rng.integers(-1, span, n), rng.integers(0, span, n)).astype(np.int32)
    wanted |= set(codes[:2].tolist())
    found = Categories(codes, n).any_of(wanted)
    assert found.tolist() == pack(np.isin(codes, [code for code in wanted if code >= 0])).tolist()


@laws
@given(seed=seeds, near=st.integers(1, 200), wanted=st.sets(st.integers(-1, 90), max_size=60))
def test_any_of_finds_who_has_one_of_codes_that_lie_together_or_scattered(seed: int, near: int, wanted: set[int]) -> None:
    rng = np.random.default_rng(seed)
    together = np.repeat(rng.permutation(80), near)
    codes = np.concatenate((together, rng.integers(-1, 90, 500), together[::-1])).astype(np.int32)
    made = Categories(codes, len(codes))
    for _ in range(2):  # nothing of what is kept was written to
        assert made.any_of(wanted).tolist() == pack(np.isin(codes, [code for code in wanted if code >= 0])).tolist()


@laws
@given(n=sizes, seed=seeds, span=spans, wanted=st.sets(st.integers(0, 400), max_size=6))
def test_any_of_finds_who_has_several_codes(n: int, seed: int, span: int, wanted: set[int]) -> None:
    rng = np.random.default_rng(seed)
    sets = [np.unique(rng.integers(0, span, k) // rng.integers(1, 4)) for k in rng.integers(0, 5, n)]
    starts = np.concatenate(([0], np.cumsum([len(one) for one in sets], dtype=np.int64)))
    codes = np.concatenate([np.empty(0, np.int64), *sets]).astype(np.int32)
    found = Categories(codes, n, starts).any_of(wanted)
    assert found.tolist() == pack(np.array([not wanted.isdisjoint(one.tolist()) for one in sets], np.bool_)).tolist()


@laws
@given(n=sizes, seed=seeds, accepted=st.lists(st.booleans(), max_size=12))
def test_accepted_codes_stay_and_so_do_the_unknown(n: int, seed: int, accepted: list[bool]) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 9, n)
    before = rng.random(n) < 0.7
    words = pack(before)
    words &= Categories(codes, n).accepted(np.array(accepted, np.bool_))
    stays = [code < 0 or (code < len(accepted) and accepted[code]) for code in codes.tolist()]
    assert words.tolist() == pack(before & np.array(stays, np.bool_)).tolist()


def test_parts_of_the_rows_are_joined() -> None:
    n = (1 << 18) + 700  # more than are sorted, and than are compared, at a time
    codes = np.arange(n) % 301 - 1
    made = Categories(codes, n)
    assert made.any_of([7, 299]).tolist() == pack(np.isin(codes, [7, 299])).tolist()
    assert Cumulative(codes.astype(np.float32)).at_least(150).tolist() == pack(codes >= 150).tolist()
