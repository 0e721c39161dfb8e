"""Everyone as a ranker would have seen them at a moment: a population of what was known then, asked as online."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from service.domain import Filters, Profile
from service.features.assemble import assemble
from service.features.content import ContentEncoder
from service.population.build import build
from service.population.population import Population
from service.population.standing import LIKED, PASSED
from service.population.tastes import Tastes
from service.training.examples import Mask, Pairs, Rows
from service.training.factors import Factors, fold_in

Floats = NDArray[np.float32]


class Scene:
    """n people at `now_s`, rows in order of id, with what stood between them by then and one set of vectors."""

    def __init__(self, profiles: Sequence[Profile], known: Pairs, now_s: float, tastes: Tastes) -> None:
        """`profiles` by ascending id. `known`: pairs whose outcome was known before `now_s`; features tell of nothing else."""
        self.profiles = profiles
        self.n_people = len(profiles)
        self.ids: Rows = np.array([profile.id for profile in profiles], np.int64)
        self.now_s = now_s
        self._tastes = tastes
        self._population = build(profiles, tastes=tastes)
        self._last_active_s = self._population.columns.base("last_active_at_s").copy()
        self._know(known)

    def with_tastes(self, tastes: Tastes) -> "Scene":
        """The same scene with other vectors."""
        twin = self._twin()
        twin._tastes = twin._population.tastes = tastes
        return twin

    def at(self, known: Pairs, now_s: float) -> "Scene":
        """The same people and vectors at another moment."""
        twin = self._twin()
        twin.now_s = now_s
        twin._know(known)
        return twin

    def eligible(self, row: int) -> Mask:
        """Whom one person may be shown by what both are and seek, bool (n,)."""
        return self._population.mask(self.profiles[row], Filters(), self.now_s)

    def mutual(self, viewer: int, candidates: Rows) -> Floats:
        """Interest in both directions, as retrieval scores it, float32 (len(candidates),)."""
        vectors, _ = self._tastes.gather(candidates)
        own, _ = self._tastes.gather(np.array([viewer]))
        return vectors @ self._tastes.query(own[0])

    def features(self, viewer: int, candidates: Rows, likes_viewer: Mask, names: tuple[str, ...]) -> Floats:
        """The features of `candidates` (rows, each once) for a viewer, float32 (len(candidates), len(names))."""
        ids = self.ids[candidates]
        columns = self._population.candidate_columns(ids, ids[likes_viewer].tolist())
        return assemble(self._population.viewer_view(self.profiles[viewer], self.now_s), columns, names)

    def _twin(self) -> "Scene":
        """A copy that shares all but the columns, of which some tell of the moment: a twentieth of building it anew."""
        twin = copy(self)
        population: Population = copy(self._population)
        population.columns = self._population.columns.twin()
        twin._population = population
        return twin

    def _know(self, known: Pairs) -> None:
        """Counts and last visits as they were at `now_s`. A later visit is taken back to the last known deed: who comes back
        later would otherwise be known by it. The rest of a profile is as it is today."""
        columns = self._population.columns
        counted = known.counted()
        for word, opinion in (("likes", LIKED), ("passes", PASSED)):
            held = known.where(counted == opinion)
            columns.base(f"n_{word}_given")[:] = np.bincount(held.actor, minlength=self.n_people)
            columns.base(f"n_{word}_received")[:] = np.bincount(held.target, minlength=self.n_people)
        acted_s = np.full(self.n_people, np.nan)
        np.fmax.at(acted_s, known.actor, known.time_s)
        columns.base("last_active_at_s")[:] = np.where(self._last_active_s > self.now_s, acted_s, self._last_active_s)


def tastes_of(factors: Factors, content: Floats, encoder: ContentEncoder) -> Tastes:
    """Everyone's vectors in the form that a population holds."""
    return Tastes.of(np.hstack([factors.q, factors.p]), content, encoder, fold_in(factors))
