"""Distances for one pair and for arrays agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features.geography import (
    distance_km,
    km_of_squared_chords,
    squared_chord_of_km,
    squared_chords,
    unit_vector,
    unit_vectors,
)

latitudes, longitudes = st.floats(-90, 90), st.floats(-180, 180)


@given(latitudes, longitudes, latitudes, longitudes)
def test_arrays_measure_as_the_formula_for_one_pair_does(a: float, b: float, c: float, d: float) -> None:
    chords = squared_chords(unit_vectors(np.array([c]), np.array([d])), unit_vectors(a, b))
    assert km_of_squared_chords(chords)[0] == pytest.approx(distance_km(a, b, c, d), abs=1e-3, rel=1e-6)


@given(st.floats(0, 20_000))
def test_chord_of_a_distance_measures_that_distance(km: float) -> None:
    assert km_of_squared_chords(squared_chord_of_km(km)) == pytest.approx(km, abs=1e-3)


def test_known_distance() -> None:
    assert distance_km(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.5, abs=0.5)


def test_half_way_round_and_beyond_is_no_limit() -> None:
    assert np.isinf(squared_chord_of_km(np.array([20_016.0, 1e9, np.inf]))).all()


def test_unknown_place_has_an_unknown_distance() -> None:
    points = unit_vectors(np.array([np.nan, 1]), np.array([5, np.nan]))
    assert np.isnan(km_of_squared_chords(squared_chords(points, unit_vectors(1, 1)))).all()


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_place_alone_is_where_it_is_among_others(latitude: float, longitude: float) -> None:
    alone = unit_vector(latitude, longitude)
    among = unit_vectors(np.array([0.0, latitude, 45.0]), np.array([0.0, longitude, 90.0]))[1]
    assert alone.tobytes() == among.tobytes() == unit_vectors(latitude, longitude).tobytes()
