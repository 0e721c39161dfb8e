"""A vector space as files of a bundle: two planes of bytes, and for many people an index and what was measured of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import BundleWriter
from service.domain import Filters
from service.population.bits import pack
from service.population.calibration import Asked, calibrate
from service.population.index import INDEX_FROM_ROWS, Index
from service.population.index_training import Asks, build_index
from service.population.planes import Floats, FloatVectors, Planes
from service.population.planner import Calibration, Planner
from service.population.population import Population
from service.population.tastes import SPACES, Tastes
from service.population.vectors import Space
from service.telemetry import Progress, silent

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Writing:
    """How a population is written: the seed of everything drawn, and who is told how far it is."""

    seed: int = 0
    report: Progress = silent


UNSEEN = Writing()
"""With seed 0, and nobody told."""

_PLANES = ("high", "low", "floor", "step")

_VIEWERS = 96
_SEEKING = 32
"""Viewers whose questions calibrate an index, and how many of them ask under the mask of what they really seek."""


def write_spaces(writer: BundleWriter, population: Population, tastes: Tastes, order: Rows, how: Writing) -> None:
    """Add both spaces, with rows in the given order; with indexes where there are many people."""
    viewers, asked = np.empty(0, np.int64), list[Asked]()
    if len(order) >= INDEX_FROM_ROWS:
        viewers = np.sort(np.random.default_rng([how.seed, 7]).choice(len(order), _VIEWERS, replace=False))
        asked = _sought(population, order, viewers)
    in_order = np.array_equal(order, np.arange(len(order)))
    for name in SPACES:
        base = tastes.spaces[name].base
        planes = Planes.of(base.slice(0, base.n) if in_order else base.gather(order))
        for part in _PLANES:
            writer.array(f"vectors.{name}.{part}", getattr(planes, part))
        if len(viewers):
            # Where people ask with what they are, nothing is stretched: see index_training.
            asks = tastes.query if name == "mutual" else None
            items = planes.gather(viewers)
            _write_index(writer, name, planes, _Asking(items if asks is None else asks(items), asked, asks), how)


class _Asking(NamedTuple):
    """What some viewers ask, float32 (m, d), under which masks, and how it follows from what they are."""

    queries: Floats
    asked: list[Asked]
    asks: Asks | None


def _write_index(writer: BundleWriter, name: str, planes: Planes, asking: _Asking, how: Writing) -> None:
    for n_codes in layouts(planes):
        tell = partial(how.report, f"Index of {name}")
        index = build_index(planes, n_codes, how.seed, asking.asks, tell)
        how.report(f"Calibration of {name}", 0, 1)
        calibration = calibrate(planes, index, asking.queries, asking.asked, seed=how.seed)
        how.report(f"Calibration of {name}", 1, 1)
        if calibration.is_whole:
            break
    for kind, arrays in (("index", index.dump()), ("calibration", calibration.dump())):
        for part, array in arrays.items():
            writer.array(f"{kind}.{name}.{part}", array)


def layouts(planes: Planes) -> Iterator[int]:
    """How many codes a row an index may have, in the order to be tried; each where the one before did not reach the target.

    A code for two dimensions takes half the memory, and half the time to scan. At 1,000,000 × 128, calibrated ms with a code for
    two against for one, at .98 recall: 100 % passing .82, .87; 30 % .72, .83; 10 % .70, 1.19; 2 % .95, 1.51; with a code for
    four, which names half as many rows again, 1.12, .73, .68, .93. Among the people of Slashdot .33, .30, .30, .41 with a code
    for two, and .75, .39, .39, .47 with one for four. A code for two suffices for ten million too.
    """
    if planes.d % 2 == 0:
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


def _sought(population: Population, order: Rows, viewers: Rows) -> list[Asked]:
    """Whom some of the viewers may be shown by what they and the others seek. Masks and viewers by rows in the given order."""
    asked: list[Asked] = []
    for query in range(0, len(viewers), len(viewers) // _SEEKING):
        viewer = population.base_profiles.get(int(order[viewers[query]]))
        asked.append(Asked(query, pack(population.mask(viewer, Filters(), 0.0)[order])))
    return asked
