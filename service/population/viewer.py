"""From a population's rows to the plain inputs of `assemble`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile
from service.features.assemble import CandidateColumns, ViewerView
from service.features.geography import unit_vectors
from service.population.columns import COUNTS, completeness
from service.population.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from service.population.population import Population

_NAN = float("nan")


def viewer_view(population: "Population", viewer: Profile, now_s: float) -> ViewerView:
    """The viewer as the profile says, with the counts and tastes that the population knows."""
    row = population.row(viewer.id)
    counts = [0] * len(COUNTS) if row is None else [int(population.columns[name][row]) for name in COUNTS]
    mutual = content = None
    tastes = population.tastes
    if tastes is not None:
        same = row is not None and population.profile(viewer.id) == viewer
        mutual, content = tastes.of_profile(viewer, row, same)
    return ViewerView(
        now_s=now_s,
        age=_NAN if viewer.age is None else viewer.age,
        location=population.words.locations.code(viewer.location),
        place=_place(viewer),
        seeks_min_age=-np.inf if viewer.seeks_min_age is None else viewer.seeks_min_age,
        seeks_max_age=np.inf if viewer.seeks_max_age is None else viewer.seeks_max_age,
        interests=population.words.interests.codes(viewer.interests),
        completeness=completeness(viewer),
        n_likes_received=counts[0],
        n_passes_received=counts[1],
        n_likes_given=counts[2],
        n_passes_given=counts[3],
        p=None if mutual is None or tastes is None else tastes.p(mutual),
        q=None if mutual is None or tastes is None else tastes.q(mutual),
        content=content,
    )


def candidate_columns(population: "Population", ids: NDArray[np.int64], liked_by: Iterable[int]) -> CandidateColumns:
    """Rows gathered column by column. An unknown id, erased a moment ago say, becomes a person of whom nothing is known."""
    rows = population.rows(ids)
    absent = np.flatnonzero(rows < 0)
    columns = population.columns
    take = np.maximum(rows, 0)
    tastes = population.tastes
    mutual, content = (None, None) if tastes is None else tastes.gather(take)
    # The spans are read before the codes: codes are only ever added, so spans never reach beyond them.
    starts, n_interests = columns["interest_starts"][take], columns["n_interests"][take]
    found = CandidateColumns(
        ids=ids,
        age=columns["age"][take],
        location=columns["location"][take],
        place=columns["place"][take],
        seeks_min_age=columns["seeks_min_age"][take],
        seeks_max_age=columns["seeks_max_age"][take],
        interests=columns.interests,
        interest_starts=starts,
        n_interests=n_interests,
        completeness=columns["completeness"][take],
        created_at_s=columns["created_at_s"][take],
        last_active_at_s=columns["last_active_at_s"][take],
        n_likes_received=columns["n_likes_received"][take],
        n_passes_received=columns["n_passes_received"][take],
        n_likes_given=columns["n_likes_given"][take],
        n_passes_given=columns["n_passes_given"][take],
        likes_viewer=np.isin(ids, np.fromiter(liked_by, np.int64)),
        p=None if mutual is None or tastes is None else tastes.p(mutual),
        q=None if mutual is None or tastes is None else tastes.q(mutual),
        content=content,
    )
    for column in (found.age, found.place, found.created_at_s, found.last_active_at_s, found.p, found.q, found.content):
        if column is not None:
            column[absent] = np.nan
    found.location[absent] = UNKNOWN
    found.seeks_min_age[absent], found.seeks_max_age[absent] = -np.inf, np.inf
    for numbers in (found.n_interests, found.completeness, *(getattr(found, name) for name in COUNTS)):
        numbers[absent] = 0
    return found


def _place(viewer: Profile) -> NDArray[np.float64]:
    if viewer.latitude is None or viewer.longitude is None:
        return np.full(3, np.nan)
    return unit_vectors(viewer.latitude, viewer.longitude)
