"""Great-circle distance on a sphere of the Earth's mean radius, for one pair and for arrays."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

EARTH_RADIUS_KM = 6371.0088
_HALF_ROUND_KM = math.pi * EARTH_RADIUS_KM


def distance_km(latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float) -> float:
    """Haversine distance of two places given in degrees."""
    phi_a, phi_b = math.radians(latitude_a), math.radians(latitude_b)
    half_phi = (phi_b - phi_a) / 2
    half_lambda = math.radians(longitude_b - longitude_a) / 2
    square = math.sin(half_phi) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(square)))


def unit_vectors(latitude: NDArray[Any] | float, longitude: NDArray[Any] | float) -> Doubles:
    """Points on the unit sphere, float64 (n, 3), of places in degrees, (3,) of one place; NaN where either is NaN."""
    phi = np.radians(np.asarray(latitude, np.float64))
    lam = np.radians(np.asarray(longitude, np.float64))
    cos_phi = np.cos(phi)
    return np.stack((cos_phi * np.cos(lam), cos_phi * np.sin(lam), np.sin(phi)), axis=-1)


def unit_vector(latitude: float, longitude: float) -> Doubles:
    """`unit_vectors` of one place, float64 (3,), to the bit, in a third of the time."""
    angles = np.radians(np.array((latitude, longitude), np.float64))
    cos_phi, cos_lam = np.cos(angles).tolist()
    sin_phi, sin_lam = np.sin(angles).tolist()
    return np.array((cos_phi * cos_lam, cos_phi * sin_lam, sin_phi))


def squared_chords(points: Doubles, origin: Doubles) -> Doubles:
    """Squared straight-line distances on the unit sphere, float64 (n,): they order as great-circle distances do.

    Comparing these needs no trigonometry per person, which is what makes a distance filter over everyone cheap.
    """
    x, y, z = points[:, 0] - origin[0], points[:, 1] - origin[1], points[:, 2] - origin[2]
    return np.asarray(x * x + y * y + z * z, np.float64)


def squared_chord_of_km(km: NDArray[Any] | float) -> Doubles:
    """The squared chord of a great-circle distance; infinite from half-way round the Earth, so that nobody is beyond it."""
    km = np.asarray(km, np.float64)
    chord = 2 * np.sin(np.minimum(km, _HALF_ROUND_KM) / (2 * EARTH_RADIUS_KM))
    return np.where(km >= _HALF_ROUND_KM, np.inf, chord * chord)


def km_of_squared_chords(squared: Doubles) -> Doubles:
    """The inverse of `squared_chord_of_km`, float64 (n,); NaN stays NaN."""
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, np.sqrt(squared) / 2)), np.float64)
