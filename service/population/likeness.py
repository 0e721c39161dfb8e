"""Who is like a given person, in what profiles say and in whom they please and like."""

from typing import TYPE_CHECKING

import numpy as np
from amity_rankers.contract import Found
from numpy.typing import NDArray

from service.domain import Profile
from service.features.assemble import Floats, assemble
from service.population import bits
from service.population.columns import Columns
from service.population.tastes import SPACES, Tastes
from service.population.vectors import Passing
from service.population.viewer import candidate_columns, viewer_view

if TYPE_CHECKING:
    from service.population.population import Population

_SCORE_ALL = 20_000
"""Up to so many people all are compared, about 5 ms; beyond, the best of each space are."""

_AGE_SCALE_YEARS = 10.0


def most_alike(population: "Population", person: Profile, hidden: frozenset[int], k: int) -> Found:
    """The k active people most like `person`, best first, ties by id; scores in [0, 1], float32.

    The mean of two cosines, of content and of tastes, negative ones taken as 0. Without vectors: the mean of what is known of
    shared interests (Jaccard), closeness in age (exp(-years / 10)) and a shared location.
    """
    rows = population.rows(np.fromiter((*hidden, person.id), np.int64, len(hidden) + 1))
    columns = population.columns.at_present()
    base, overlay = population.shown.copy(), columns.added("shown").copy()
    bits.clear(base, rows[(rows >= 0) & (rows < columns.n_base)])
    overlay[rows[(rows >= columns.n_base) & (rows < columns.n)] - columns.n_base] = False
    passing = Passing.of(base, overlay)
    tastes = population.tastes
    if tastes is None:
        ids = columns.take("id", _some(columns, passing))
        scores = _by_attributes(population, person, ids)
    else:
        row = population.row(person.id)
        same = row is not None and population.profile(person.id) == person
        mutual, content = tastes.of_profile(person, row, same)
        near = _near(columns, tastes, passing, (mutual, content), k)
        ids = columns.take("id", near)
        theirs = tastes.gather(near)
        scores = np.asarray((_cosines(theirs[0], mutual) + _cosines(theirs[1], content)) / 2, np.float32)
    order = np.lexsort((ids, -scores))[: max(0, k)]
    return Found(ids[order], scores[order].astype(np.float32))


def _near(
    columns: Columns, tastes: Tastes, passing: Passing, vectors: tuple[Floats | None, Floats | None], k: int
) -> NDArray[np.int64]:
    """Rows worth comparing: all of them while they are few, else the best of either space."""
    if passing.n_base + len(passing.overlay) <= _SCORE_ALL:
        return _some(columns, passing)
    found = [
        tastes.spaces[name].search(passing, lambda rows: columns.take("id", rows), vector, 4 * k + 100).rows
        for name, vector in zip(SPACES, vectors, strict=True)
        if vector is not None
    ]
    return np.unique(np.concatenate(found)) if found else _some(columns, passing)[: 4 * k]


def _some(columns: Columns, passing: Passing) -> NDArray[np.int64]:
    """Rows of all who pass, in no order that means anything; of a great many, the first."""
    return np.concatenate((bits.rows_of(passing.base), np.flatnonzero(passing.overlay) + columns.n_base))[:_SCORE_ALL]


def _cosines(vectors: Floats, own: Floats | None) -> Floats:
    """Cosines with one's own vector, in [0, 1]: negative ones and unknown vectors are 0."""
    if own is None:
        return np.zeros(len(vectors), np.float32)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    cosines = np.divide(vectors @ own, lengths, out=np.zeros(len(vectors), np.float32), where=lengths > 1e-9)
    return np.asarray(np.clip(np.nan_to_num(cosines), 0, 1), np.float32)


def _by_attributes(population: "Population", person: Profile, ids: NDArray[np.int64]) -> Floats:
    features = assemble(
        viewer_view(population, person, 0.0),
        candidate_columns(population, ids, ()),
        ("interest_jaccard", "age_gap_years", "same_location"),
    )
    parts = np.stack((features[:, 0], np.exp(-features[:, 1] / _AGE_SCALE_YEARS), features[:, 2]), axis=1)
    known = np.isfinite(parts)
    return np.asarray(np.where(known, parts, 0).sum(axis=1) / np.maximum(1, known.sum(axis=1)), np.float32)
