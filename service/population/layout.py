"""The order of rows in a bundle: neighbours next to neighbours, so that a block of rows is a place on the map."""

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from service.population.bits import BLOCK_ROWS
from service.population.columns import Columns

Rows = NDArray[np.int64]


def by_place(columns: Columns) -> Rows:
    """Rows of the base in the order in which a bundle keeps them, int64 (n_base,); who has no place comes last.

    Sort-tile-recursive packing (Leutenegger, Lopez and Edgington, ICDE 1997): strips of equal numbers of people from west to
    east, each from south to north, so that blocks of BLOCK_ROWS are compact where people are dense, and wide elsewhere.
    """
    place = np.asarray(columns.base("place"), np.float64)
    ids = columns.base("id")
    known = np.flatnonzero(~np.isnan(place[:, 0]))
    longitude = np.arctan2(place[known, 1], place[known, 0])
    by_longitude = known[np.lexsort((ids[known], longitude))]
    n_blocks = ceil(len(known) / BLOCK_ROWS)
    strip_rows = ceil(sqrt(n_blocks)) * BLOCK_ROWS
    strip = np.arange(len(known)) // max(1, strip_rows)
    order = np.lexsort((ids[by_longitude], place[by_longitude, 2], strip))
    unknown = np.flatnonzero(np.isnan(place[:, 0]))
    return np.concatenate((by_longitude[order], unknown[np.argsort(ids[unknown], kind="stable")]))
