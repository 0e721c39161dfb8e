"""A replica's picture of everyone, in memory: attributes, vectors, relations and profiles, base and overlay.

A `Population` belongs to the event loop, which alone changes it. Views handed to threads read arrays that are replaced, not
resized, and rows whose meaning never changes while they are shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import Found
from numpy.typing import NDArray

from service.domain import FeedPosition, Filters, Kind, Profile, Relations
from service.features.assemble import CandidateColumns, ViewerView
from service.population.columns import COUNTS, Columns
from service.population.likeness import most_alike
from service.population.mask import Mask, eligible_mask
from service.population.profiles import ProfileBytes
from service.population.relations import LIKED, PASSED, RelationMemory
from service.population.tastes import Placed, Tastes
from service.population.view import Asking, PeopleView
from service.population.viewer import candidate_columns, viewer_view
from service.population.vocabulary import Vocabularies

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]

START = FeedPosition()
"""Before every change."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What a population starts from, aligned by row: people by ascending id. `tastes` is None without vectors."""

    columns: Columns
    words: Vocabularies
    profiles: ProfileBytes
    relations: RelationMemory
    tastes: Tastes | None = None
    bundle_version: str | None = None
    position: FeedPosition = START


class Population:
    """Everyone who can be recommended, as of a feed position.

    `position`: the changes up to it are in here; the feed moves it on. `bundle_version` is None when this was loaded straight
    from the database, without vectors.
    """

    def __init__(self, base: Base) -> None:
        self.columns = base.columns
        self.words = base.words
        self.tastes = base.tastes
        self.bundle_version = base.bundle_version
        self.position = base.position
        self.base_profiles = base.profiles
        self.base_ids: Ids = base.columns["id"].copy()
        self.memory = base.relations
        # For each row of the base the row that now stands for the same person, -1 when erased.
        self._successor = np.arange(len(self.base_ids), dtype=np.int64)
        self._added: dict[int, int] = {}
        self._changed: dict[int, Profile] = {}
        self._n_erased = 0

    @property
    def n_people(self) -> int:
        """People known, the paused and banned included."""
        return len(self.base_ids) + len(self._added) - self._n_erased

    @property
    def n_overlay(self) -> int:
        """Rows appended since the base was made."""
        return self.columns.n - self.columns.n_base

    def row(self, person_id: int) -> int | None:
        """Where a person is now; None for the unknown and the erased."""
        if person_id in self._added:
            return self._added[person_id]
        place = int(self.base_ids.searchsorted(person_id))
        if place == len(self.base_ids) or self.base_ids[place] != person_id:
            return None
        row = int(self._successor[place])
        return row if row >= 0 else None

    def rows(self, ids: Ids) -> Rows:
        """Rows of people, int64 (n,); -1 for the unknown and the erased."""
        rows = np.full(len(ids), -1, np.int64)
        place = np.searchsorted(self.base_ids, ids)
        in_base = place < len(self.base_ids)
        in_base[in_base] = self.base_ids[place[in_base]] == ids[in_base]
        rows[in_base] = self._successor[place[in_base]]
        if self._added:
            for index in np.flatnonzero(rows < 0).tolist():
                rows[index] = self._added.get(int(ids[index]), -1)
        return rows

    def ids(self) -> Ids:
        """Ids of everyone known, int64 (n_people,), in no particular order."""
        there = self._successor >= 0
        return np.concatenate((self.base_ids[there], np.fromiter(self._added, np.int64, len(self._added))))

    def profile(self, person_id: int) -> Profile | None:
        """The person as last known; None for the unknown and the erased."""
        if person_id in self._changed:
            return self._changed[person_id]
        row = self.row(person_id)
        return None if row is None else self.base_profiles.get(row)

    def relations(self, person_id: int) -> Relations:
        """How a person stands to others, as last known."""
        return self.memory.of(person_id)

    def mask(self, viewer: Profile, filters: Filters, now_s: float) -> Mask:
        """By row, who is eligible by what both are and seek, and by the filters; bool (rows,)."""
        return eligible_mask(self.columns, self.words, viewer, filters, now_s)

    def eligible(self, asking: Asking) -> PeopleView:
        """Everyone eligible for one request, by attributes and relations. On the event loop: about 0.3 ms for 5,000."""
        return PeopleView(self, asking)

    def similar(self, person: Profile, hidden: frozenset[int], k: int) -> Found:
        """The k active people most like `person` in content and taste, without the person and the hidden; scores in [0, 1]."""
        return most_alike(self, person, hidden, k)

    def viewer_view(self, viewer: Profile, now_s: float) -> ViewerView:
        """What features need of a viewer, who need not be known here yet."""
        return viewer_view(self, viewer, now_s)

    def candidate_columns(self, ids: Ids, liked_by: Iterable[int]) -> CandidateColumns:
        """What features need of candidates; `liked_by` are those who like the viewer. Unknown ids become blank people."""
        return candidate_columns(self, ids, liked_by)

    def apply_profiles(self, profiles: Iterable[Profile]) -> None:
        """Take in people as the database has them now. A profile already known changes nothing."""
        placed: dict[int, Placed] = {}
        for profile in profiles:
            row = self.row(profile.id)
            if row is not None and self._is_another(row, profile):
                self.erase((profile.id,))
                row = None
            if row is None or self.profile(profile.id) != profile:
                new = self._put(row, profile)
                first = placed.get(new)  # given twice: tastes are those of the row before all this
                placed[new] = Placed(new, row if first is None else first.previous, profile)
        if self.tastes is not None:
            self.tastes.put(list(placed.values()))

    def erase(self, ids: Iterable[int]) -> None:
        """Forget people wholly: nobody sees them, and what others did to them counts no more."""
        for person_id in ids:
            row = self.row(person_id)
            stood = self.memory.erase(person_id)
            self._count("n_likes_received", stood.liked, -1)
            self._count("n_passes_received", stood.passed, -1)
            self._count("n_likes_given", stood.liked_by, -1)
            self._count("n_passes_given", stood.passed_by, -1)
            if row is None:
                continue
            self.columns.hide(row)
            self._changed.pop(person_id, None)
            if self._added.pop(person_id, None) is None:
                self._successor[self.base_ids.searchsorted(person_id)] = -1
                self._n_erased += 1

    def apply_interactions(self, actors: Sequence[int], targets: Sequence[int], kinds: Sequence[Kind]) -> None:
        """Remember events in the order in which they were committed. What is known already changes nothing."""
        names = {LIKED: ("n_likes_given", "n_likes_received"), PASSED: ("n_passes_given", "n_passes_received")}
        for actor, target, kind in zip(actors, targets, kinds, strict=True):
            before, after = self.memory.apply(actor, target, kind)
            if before == after:
                continue
            for opinion, step in ((before, -1), (after, 1)):
                if opinion in names:
                    given, received = names[opinion]
                    self._count(given, (actor,), step)
                    self._count(received, (target,), step)

    def _is_another(self, row: int, profile: Profile) -> bool:
        """Whether the id has been given to somebody new since."""
        return profile.incarnation > int(self.columns["incarnation"][row])

    def _put(self, row: int | None, profile: Profile) -> int:
        if row is not None and row >= self.columns.n_base:
            self.columns.replace(row, profile, self.words)
            new = row
        elif row is not None:
            counts = [int(self.columns[name][row]) for name in COUNTS]
            new = self.columns.append(profile, counts, self.words)
            self.columns.hide(row)
            self._successor[row] = new
        else:
            stands = self.memory.counted(profile.id)
            counts = [len(stands.liked_by), len(stands.passed_by), len(stands.liked), len(stands.passed)]
            new = self.columns.append(profile, counts, self.words)
            self._added[profile.id] = new
        self._changed[profile.id] = profile
        return new

    def _count(self, name: str, ids: Iterable[int], step: int) -> None:
        for person_id in ids:
            row = self.row(person_id)
            if row is not None:
                self.columns[name][row] += step
