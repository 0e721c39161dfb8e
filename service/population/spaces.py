"""A vector space as files of a bundle: two planes of bytes, and for many people an index and what was measured of it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import BundleWriter
from service.domain import Filters
from service.population.bits import pack
from service.population.calibration import Asked, calibrate
from service.population.index import INDEX_FROM_ROWS, Index, build_index
from service.population.planes import FloatVectors, Planes
from service.population.planner import Calibration, Planner
from service.population.population import Population
from service.population.tastes import Tastes
from service.population.vectors import Space
from service.telemetry import Progress

Rows = NDArray[np.int64]

_PLANES = ("high", "low", "floor", "step")

_HALVED_UP_TO = 2_000_000

_VIEWERS = 96
_SEEKING = 32
"""Viewers whose questions calibrate an index, and how many of them ask under the mask of what they really seek."""


def write_space(
    writer: BundleWriter, name: str, population: Population, tastes: Tastes, layout: tuple[Rows, int], report: Progress
) -> None:
    """Add one space. `layout`: rows in the order to be kept, and the seed of everything drawn."""
    order, seed = layout
    base = tastes.spaces[name].base
    in_order = np.array_equal(order, np.arange(len(order)))
    planes = Planes.of(base.slice(0, base.n) if in_order else base.gather(order))
    for part in _PLANES:
        writer.array(f"vectors.{name}.{part}", getattr(planes, part))
    if planes.n < INDEX_FROM_ROWS:
        return
    viewers = np.sort(np.random.default_rng([seed, 7]).choice(planes.n, _VIEWERS, replace=False))
    items = planes.gather(viewers)
    queries = np.stack([tastes.query(item) for item in items]) if name == "mutual" else items
    asked = sought(population, order, viewers)
    for n_codes in layouts(planes):
        index = build_index(planes, n_codes, seed, lambda done, total: report(f"Index of {name}", done, total))
        report(f"Calibration of {name}", 0, 1)
        calibration = calibrate(planes, index, queries, asked, seed=seed)
        report(f"Calibration of {name}", 1, 1)
        if calibration.is_whole:
            break
    for kind, arrays in (("index", index.dump()), ("calibration", calibration.dump())):
        for part, array in arrays.items():
            writer.array(f"{kind}.{name}.{part}", array)


def layouts(planes: Planes) -> Iterator[int]:
    """How many codes a row an index may have, in the order to be tried; each where the one before did not reach the target.

    A code for two dimensions takes half the memory. At 1,000,000 × 128, p50 ms with a code for two against for one, at .98
    recall: 100 % passing 3.1, 1.7; 30 % 1.8, 1.5; 10 % 2.0, 2.3; 5 % 1.9, 2.3; 2 % 2.2, 3.1. Among more people the best stand too
    close for so few levels.
    """
    if planes.n <= _HALVED_UP_TO and planes.d % 2 == 0:
        yield planes.d // 2
    yield planes.d


def read_space(bundle: Bundle, name: str, n_people: int) -> Space:
    """The space of a bundle. Few people's vectors are decoded, 15 MB at most: scoring everyone then takes a third.

    Raises ValueError when its parts do not fit each other.
    """
    planes = Planes(*(bundle.array(f"vectors.{name}.{part}") for part in _PLANES))
    if planes.n != n_people:
        raise ValueError(f"vectors of {planes.n} people, and {n_people} people")
    parts = {kind: bundle.arrays(f"{kind}.{name}.") for kind in ("index", "calibration")}
    if parts["index"]:
        return Space(planes, Index.load(parts["index"]), Planner(Calibration.load(parts["calibration"])))
    return Space(FloatVectors(planes.slice(0, planes.n)) if planes.n < INDEX_FROM_ROWS else planes)


def sought(population: Population, order: Rows, viewers: Rows) -> list[Asked]:
    """Whom some of the viewers may be shown by what they and the others seek. Masks and viewers by rows in the given order."""
    asked: list[Asked] = []
    for query in range(0, len(viewers), len(viewers) // _SEEKING):
        viewer = population.base_profiles.get(int(order[viewers[query]]))
        asked.append(Asked(query, pack(population.mask(viewer, Filters(), 0.0)[order])))
    return asked
