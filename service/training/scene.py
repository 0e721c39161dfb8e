"""Everyone as a ranker would have seen them at a moment: a population of what was known then, asked as online."""

from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain import Filters, Profile
from service.features.assemble import assemble
from service.features.content import ContentEncoder
from service.population.build import StandingPairs, build
from service.population.tastes import Tastes
from service.training.examples import Mask, Pairs, Rows
from service.training.factors import Factors

Floats = NDArray[np.float32]


class Scene:
    """n people at `now_s`, rows in order of id, with what stood between them by then and one set of vectors."""

    def __init__(self, profiles: Sequence[Profile], known: Pairs, now_s: float, tastes: Tastes) -> None:
        """`profiles` by ascending id. `known`: pairs whose outcome was known before `now_s`; features tell of nothing else."""
        self.now_s = now_s
        self.n_people = len(profiles)
        self._today = profiles
        self.profiles = _as_of(profiles, known, now_s)
        self.ids: Rows = np.array([profile.id for profile in profiles], np.int64)
        stands = StandingPairs(self.ids[known.actor], self.ids[known.target], known.opinion)
        self._population = build(self.profiles, stands, tastes)
        self._tastes = tastes

    def with_tastes(self, tastes: Tastes) -> "Scene":
        """The same scene with other vectors; all else is shared, which is safe because nothing in a scene changes."""
        twin = copy(self)
        twin._tastes, twin._population = tastes, copy(self._population)
        twin._population.tastes = tastes
        return twin

    def at(self, known: Pairs, now_s: float) -> "Scene":
        """The same people and vectors at another moment."""
        return Scene(self._today, known, now_s, self._tastes)

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


def tastes_of(factors: Factors, content: Floats, encoder: ContentEncoder) -> Tastes:
    """Everyone's vectors in the form that a population holds."""
    return Tastes(np.hstack([factors.q, factors.p]), content, encoder)


def _as_of(profiles: Sequence[Profile], known: Pairs, now_s: float) -> list[Profile]:
    """Profiles with `last_active_at` as it was known at `now_s`: a later visit is taken back to the last known deed.

    Who comes back later would otherwise be known by it. The rest of a profile is as it is today.
    """
    acted_s = np.full(len(profiles), np.nan)
    np.fmax.at(acted_s, known.actor, known.time_s)
    moment = datetime.fromtimestamp(now_s, UTC)
    return [
        profile
        if profile.last_active_at is None or profile.last_active_at <= moment
        else msgspec.structs.replace(profile, last_active_at=_instant(acted_s[row]))
        for row, profile in enumerate(profiles)
    ]


def _instant(seconds: float) -> datetime | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
