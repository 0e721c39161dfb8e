"""Nearness decided block by block is nearness decided row by row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.features.geography import squared_chord_of_km, squared_chords, unit_vectors
from service.population.bits import Mask, pack, unpack
from service.population.places import Places, Reach

laws = settings(max_examples=250, deadline=None, database=None)

CENTRES = np.array([(48.85, 2.35), (49.1, 2.6), (45.76, 4.83), (89.99, 10.0), (-90.0, 0.0), (0.0, 179.99), (0.0, -179.99)])
Doubles = NDArray[np.float64]


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Doubles, Doubles]:
    """Places (n, 3), in order or shuffled, some or whole stretches unknown, and squared chords (n,): how far people look."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(0, 1500))
    centre = np.sort(rng.integers(0, draw(st.integers(1, len(CENTRES))), n))
    degrees = CENTRES[centre] + rng.normal(0, draw(st.sampled_from([0.0, 0.02, 0.5])), (n, 2))
    degrees[rng.random(n) < draw(st.sampled_from([0.0, 0.1, 1.0]))] = np.nan
    degrees[draw(st.integers(0, 1500)) :] = np.nan
    km = rng.choice([0.0, 1.0, 20.0, 60.0, 300.0, 30_000.0], n) if draw(st.booleans()) else rng.uniform(0, 400, n)
    if draw(st.booleans()):
        km[rng.random(n) < 0.3] = np.inf
    order = rng.permutation(n) if draw(st.booleans()) else np.arange(n)
    return unit_vectors(degrees[:, 0], degrees[:, 1])[order], np.asarray(squared_chord_of_km(km), np.float64)


reaches = st.builds(
    lambda centre, north, seeks, within: Reach(
        unit_vectors(*(CENTRES[centre] + (north, 0.0))),
        float(squared_chord_of_km(seeks)),
        None if within is None else float(squared_chord_of_km(within)),
    ),
    st.integers(0, len(CENTRES) - 1),
    st.sampled_from([0.0, 0.1, -0.7]),
    st.sampled_from([0.0, 5.0, 50.0, 500.0, 19_000.0, np.inf]),
    st.sampled_from([None, 0.0, 5.0, 50.0, 500.0, 19_000.0, np.inf]),
)


def near(place: Doubles, limits: Doubles, reach: Reach) -> Mask:
    chords = squared_chords(place, reach.here)
    passes = ~(chords > np.minimum(limits, reach.seeks))
    return passes if reach.within is None else passes & (chords <= reach.within)


@laws
@given(crowd=crowds(), reach=reaches, seed=st.integers(0, 99))
def test_blocks_decide_as_rows_do(crowd: tuple[Doubles, Doubles], reach: Reach, seed: int) -> None:
    before = np.random.default_rng(seed).random(len(crowd[0])) < 0.8
    words = pack(before)
    Places(*crowd).keep_near(words, reach)
    assert words.tolist() == pack(before & near(*crowd, reach)).tolist()


@laws
@given(row=st.integers(0, 599), seed=st.integers(0, 999))
def test_who_stands_at_the_very_limit_is_judged_by_the_last_bit(row: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = unit_vectors(48 + rng.normal(0, 0.1, 600), 2 + rng.normal(0, 0.1, 600))
    here = unit_vectors(48.0, 2.0)
    at_limit = float(squared_chords(place, here)[row])
    short_of_it = float(np.nextafter(at_limit, 0))
    everywhere = np.inf
    for own, seeks, within in ((everywhere, 1, None), (1, everywhere, None), (everywhere, everywhere, 1)):
        for limit in (at_limit, short_of_it):
            words = pack(np.ones(600, np.bool_))
            reach = Reach(here, seeks * limit, None if within is None else within * limit)
            Places(place, np.full(600, own * limit)).keep_near(words, reach)
            assert unpack(words, 600)[row] == (limit == at_limit)


@pytest.mark.parametrize(
    ("seeks", "within", "expected"), [(0.0, None, 700), (0.0, 1.0, 0), (np.inf, None, 700), (np.inf, np.inf, 0)]
)
def test_people_of_unknown_place_pass_preferences_and_fail_the_filter(seeks: float, within: float | None, expected: int) -> None:
    words = pack(np.ones(700, np.bool_))
    place: Any = np.full((700, 3), np.nan)
    Places(place, np.zeros(700)).keep_near(words, Reach(unit_vectors(0.0, 0.0), seeks, within))
    assert np.bitwise_count(words).sum() == expected


def test_limits_of_everyone_differing_are_each_met() -> None:
    place = np.repeat(unit_vectors(np.array([48.0]), np.array([2.0])), 600, axis=0)
    reach = Reach(unit_vectors(48.3, 2.0), np.inf, None)
    limits = squared_chords(place, reach.here)[0] * np.linspace(0.5, 1.5, 600)
    words = pack(np.ones(600, np.bool_))
    Places(place, limits).keep_near(words, reach)
    assert words.tolist() == pack(near(place, limits, reach)).tolist()
