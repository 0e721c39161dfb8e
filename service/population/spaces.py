"""A vector space as files of a bundle: two planes of bytes, and for many people an index and what was measured of it."""

import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import BundleWriter
from service.population.index import INDEX_FROM_ROWS
from service.population.planes import FloatVectors, Planes
from service.population.population import Population
from service.population.tastes import Tastes
from service.population.vectors import Space
from service.telemetry import Progress

Rows = NDArray[np.int64]

_QUERIES = 64
"""Viewers whose questions calibrate an index, a third of them with what they really seek."""

_FLOATS_TO_ROWS = INDEX_FROM_ROWS
"""Up to so many people vectors are decoded when a bundle is opened, 15 MB at most: scoring everyone then takes a third."""


def write_space(
    writer: BundleWriter, name: str, population: Population, vectors: tuple[Tastes, Rows], how: tuple[int, Progress]
) -> None:
    """Add one space, its rows in the given order. `how`: the seed of everything drawn, and who is told how far it is."""
    tastes, order = vectors
    base = tastes.spaces[name].base
    in_order = np.array_equal(order, np.arange(len(order)))
    planes = Planes.of(base.slice(0, base.n) if in_order else base.gather(order))
    for part in ("high", "low", "floor", "step"):
        writer.array(f"vectors.{name}.{part}", getattr(planes, part))


def read_space(bundle: Bundle, name: str, n_people: int) -> Space:
    """The space of a bundle. Raises ValueError when its parts do not fit each other."""
    planes = Planes(*(bundle.array(f"vectors.{name}.{part}") for part in ("high", "low", "floor", "step")))
    if planes.n != n_people:
        raise ValueError(f"vectors of {planes.n} people, and {n_people} people")
    return Space(decoded(planes) if planes.n <= _FLOATS_TO_ROWS else planes)


def decoded(planes: Planes) -> FloatVectors:
    return FloatVectors(planes.slice(0, planes.n))
