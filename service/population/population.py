"""A replica's picture of everyone, in memory: attributes, vectors, relations and profiles, base and overlay.

A `Population` belongs to the event loop, which alone changes it. Views handed to threads read arrays that are replaced, not
resized, and rows whose meaning never changes while they are shown.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import isnan

import msgspec
import numpy as np
from amity_rankers.contract import Found
from numpy.typing import NDArray

from service.domain import FeedPosition, Filters, Profile, Relations
from service.features.assemble import CandidateColumns, ViewerView
from service.population import bits
from service.population.columns import COUNTS, Columns, Part
from service.population.directory import Directory
from service.population.drawing import newest_first
from service.population.learning import Learnt, items_of
from service.population.likeness import most_alike
from service.population.mask import BaseMask, eligible_rows
from service.population.profiles import ProfileBytes, decode, encode
from service.population.relations import RelationMemory
from service.population.standing import LIKED, PASSED
from service.population.table import Table, seconds
from service.population.tastes import Tastes
from service.population.view import Asking, PeopleView
from service.population.viewer import candidate_columns, viewer_view
from service.population.vocabulary import Vocabularies

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

START = FeedPosition()
"""Before every change."""

MASK_AT_ONCE = 100_000
"""Up to so many rows a view makes its mask when it is made, in .1 ms or less; beyond, in a thread, since a million take .5 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What a population starts from, aligned by row. `tastes` is None without vectors. `newest`: rows as `newest_first` gives
    them; None: to be found."""

    columns: Columns
    words: Vocabularies
    directory: Directory
    profiles: ProfileBytes
    relations: RelationMemory
    tastes: Tastes | None = None
    bundle_version: str | None = None
    position: FeedPosition = START
    newest: NDArray[np.integer] | None = None


class Population:
    """Everyone who can be recommended, as of a feed position.

    `position`: the changes up to it are in here; the feed moves it on. `bundle_version` is None when this was loaded straight
    from the database, without vectors.
    """

    def __init__(self, base: Base) -> None:
        self.columns = base.columns
        self.words = base.words
        self.directory = base.directory
        self.tastes = base.tastes
        self.bundle_version = base.bundle_version
        self.position = base.position
        self.base_profiles = base.profiles
        self.memory = base.relations
        self.newest = newest_first(base.columns) if base.newest is None else base.newest
        self.base_mask = BaseMask(Part(base.columns, added=False), base.words)
        self.shown = bits.pack(np.asarray(base.columns.base("active"), np.bool_))
        """Of the base: active, and neither superseded by an appended row nor erased."""
        self.learnt = Learnt(base.relations.given, base.relations.received)
        self._changed: dict[int, bytes] = {}
        # Of the overlay, whose tastes are to be made anew, in the order of their first news.
        self._waiting: dict[int, None] = {}

    @property
    def n_people(self) -> int:
        """People known, the paused and banned included."""
        return self.directory.n_people

    @property
    def n_overlay(self) -> int:
        """Rows appended since the base was made."""
        return self.columns.n_added

    def row(self, person_id: int) -> int | None:
        """Where a person is now; None for the unknown and the erased."""
        return self.directory.row(person_id)

    def rows(self, ids: Ids) -> Rows:
        """Rows of people, int64 (n,); -1 for the unknown and the erased."""
        return self.directory.rows(ids)

    def ids(self) -> Ids:
        """Ids of everyone known, int64 (n_people,), in no particular order."""
        return self.directory.ids()

    def profile(self, person_id: int) -> Profile | None:
        """The person as last known; None for the unknown and the erased."""
        return self._known(person_id, self.base_profiles.get)

    def at_hand(self, person_id: int) -> Profile | None:
        """The same where it takes no waiting for a disk; else None."""
        return self._known(person_id, self.base_profiles.at_hand)

    def relations(self, person_id: int) -> Relations:
        """How a person stands to others, as last known."""
        return self.memory.of(person_id)

    def passing_base(self, viewer: Profile, filters: Filters, now_s: float) -> bits.Words:
        """Who of the base is eligible by what both are and seek, and by the filters, the viewer perhaps among them. Safe in
        threads."""
        return self.base_mask.eligible(viewer, filters, now_s, self.shown)

    def passing_overlay(self, viewer: Profile, filters: Filters, now_s: float) -> Mask:
        """The same by row of the overlay, bool (n_overlay,). On the event loop, which alone changes these rows: .1 ms for
        5,000."""
        shown: Mask = self.columns.added("shown").copy()
        if len(shown):
            shown &= eligible_rows(Part(self.columns, added=True), self.words, viewer, filters, now_s)
        return shown

    def mask(self, viewer: Profile, filters: Filters, now_s: float) -> Mask:
        """By row, who is eligible by what both are and seek, and by the filters; bool (rows,)."""
        base = bits.unpack(self.passing_base(viewer, filters, now_s), self.columns.n_base)
        found: Mask = np.concatenate((base, self.passing_overlay(viewer, filters, now_s)))
        row = self.row(viewer.id)
        if row is not None:
            found[row] = False
        return found

    def eligible(self, asking: Asking) -> PeopleView:
        """Everyone eligible for one request, by attributes and relations. Where there are many people, `prepare` it in a thread:
        making the mask takes about .5 ms for a million."""
        view = PeopleView(self, asking)
        if self.columns.n <= MASK_AT_ONCE:
            view.prepare()
        return view

    def similar(self, person: Profile, hidden: frozenset[int], k: int) -> Found:
        """The k active people most like `person` in content and taste, without the person and the hidden; scores in [0, 1]."""
        return most_alike(self, person, hidden, k)

    def viewer_view(self, viewer: Profile, now_s: float, relations: Relations | None = None) -> ViewerView:
        """What features need of a viewer, who need not be known here yet. With `relations`, tastes are as of them."""
        return viewer_view(self, viewer, now_s, relations)

    def candidate_columns(self, ids: Ids, liked_by: Iterable[int]) -> CandidateColumns:
        """What features need of candidates; `liked_by` are those who like the viewer. Unknown ids become blank people."""
        return candidate_columns(self, ids, liked_by)

    def apply_profiles(self, profiles: Iterable[Profile]) -> None:
        """Take in people as the database has them now; of one given twice the last stands. What is known changes nothing, and
        who was only active again keeps their row. A hundred take 3.5 ms when all have changed, 2 of them for their words, and .5
        when none has."""
        latest = list({profile.id: profile for profile in profiles}.values())
        rows = self._rows_of_same(latest)
        active_s = np.full(len(rows), np.nan)
        active_s[rows >= 0] = self.columns.take("last_active_at_s", rows[rows >= 0])
        changed: list[int] = []
        seen: list[int] = []
        for place, (profile, row, known_s) in enumerate(zip(latest, rows.tolist(), active_s.tolist(), strict=True)):
            known = self._profile_at(profile.id, row, known_s, self.base_profiles.get) if row >= 0 else None
            if known == profile:
                continue
            if known is not None and msgspec.structs.replace(known, last_active_at=profile.last_active_at) == profile:
                seen.append(place)
            else:
                changed.append(place)
        if seen:
            self.columns.set("last_active_at_s", rows[seen], np.array([seconds(latest[at].last_active_at) for at in seen]))
        if changed:
            self._place([latest[at] for at in changed], rows[changed])

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
            self._hide(np.array([row]))
            self.directory.forget(person_id)
            self.learnt.reborn.add(person_id)
            self._changed.pop(person_id, None)
            self._waiting.pop(person_id, None)

    def apply_interactions(self, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None:
        """Remember events in the order in which they were committed; `kinds` are codes. What is known already changes nothing."""
        moved = self.memory.apply(actors, targets, kinds)
        for opinion, word in ((LIKED, "likes"), (PASSED, "passes")):
            steps = (moved.after == opinion).astype(np.int32) - (moved.before == opinion)
            for direction, ids in (("given", moved.actors), ("received", moved.targets)):
                self._step(f"n_{word}_{direction}", ids[steps != 0], steps[steps != 0])
        self._await_folding(self.directory.elsewhere(np.unique(np.concatenate((moved.actors, moved.targets)))))

    def replace_relations(self, memory: RelationMemory, counted: Mapping[str, NDArray[np.int32]]) -> None:
        """Put relations read anew in the place of those known. `counted`: by name of COUNTS, what they come to for the first
        rows, int32 (m,); rows appended since are counted here. 2 ms for a million. Threads read old counts or new ones."""
        self.memory = memory
        n_base, n_counted = self.columns.n_base, min(map(len, counted.values()))
        for name, values in counted.items():
            self.columns.base(name)[:] = values[:n_base]
            self.columns.added(name)[: n_counted - n_base] = values[n_base:]
        since = np.arange(n_counted, self.columns.n)
        for name, values in self._counts_of(self.columns.take("id", since), np.full(len(since), -1)).items():
            self.columns.set(name, since, values)

    def fold_in(self, at_most: int) -> bool:
        """Tastes of people of the overlay anew, from likes that came since, of those first who have waited longest; whether more
        wait. Of others tastes count as they were before. Six together take .6 ms with a few opinions each, 1.5
        with a hundred."""
        ids = np.fromiter(islice(self._waiting, at_most), np.int64)
        if self.tastes is None or not len(ids):
            return False
        for person_id in ids.tolist():
            del self._waiting[person_id]
        rows = self.rows(ids)
        contents = self.tastes.spaces["content"].gather(rows)
        items = items_of(self, self.tastes, ids, contents, [self.memory.of(person_id) for person_id in ids.tolist()])
        known = ~(np.isnan(contents[:, 0]) | np.isnan(items[:, 0]))
        self.tastes.spaces["mutual"].put(rows[known], items[known], np.ones(int(known.sum()), np.bool_))
        return bool(self._waiting)

    def _known(self, person_id: int, of_base: Callable[[int], Profile | None]) -> Profile | None:
        row = self.row(person_id)
        if row is None:
            return None
        return self._profile_at(person_id, row, self.columns.value("last_active_at_s", row), of_base)

    def _profile_at(self, person_id: int, row: int, active_s: float, of_base: Callable[[int], Profile | None]) -> Profile | None:
        """The person of a row, last active then; None when the event loop has erased them meanwhile. `of_base` has rows of the
        base."""
        changed = self._changed.get(person_id)
        if changed is None and row >= self.columns.n_base:
            return None
        stored = of_base(row) if changed is None else decode(changed)
        if stored is None:
            return None
        active_at = None if isnan(active_s) else datetime.fromtimestamp(active_s, UTC)
        return stored if active_at == stored.last_active_at else msgspec.structs.replace(stored, last_active_at=active_at)

    def _rows_of_same(self, profiles: Sequence[Profile]) -> Rows:
        """Rows of these people, -1 for who is not here. Whose id has been given to somebody new since is erased, and not here."""
        rows = self.rows(np.array([profile.id for profile in profiles], np.int64))
        there = np.flatnonzero(rows >= 0)
        incarnations = np.array([profiles[place].incarnation for place in there.tolist()], np.int64)
        gone = there[incarnations > self.columns.take("incarnation", rows[there])]
        self.erase(profiles[place].id for place in gone.tolist())
        rows[gone] = -1
        return rows

    def _place(self, profiles: Sequence[Profile], previous: Rows) -> None:
        """Write changed people into rows of the overlay: the one that they have there (`previous`), or new ones."""
        moves = previous < self.columns.n_base
        rows = previous.copy()
        rows[moves] = self.columns.reserve(int(moves.sum()))
        ids = np.array([profile.id for profile in profiles], np.int64)
        if self.tastes is not None:
            self.tastes.put(rows, previous, profiles)
        for name, values in self._counts_of(ids, previous).items():
            self.columns.set(name, rows, values)
        self.columns.fill(rows, Table.of(profiles, self.words))
        self._hide(previous[moves & (previous >= 0)])
        # Before the rows: who finds one in another thread finds its profile too.
        self._changed.update((profile.id, encode(profile)) for profile in profiles)
        self.directory.put(ids, rows)
        self._await_folding(ids)

    def _await_folding(self, ids: Ids) -> None:
        if self.tastes is not None and self.tastes.fold_in is not None:
            self._waiting.update(dict.fromkeys(ids.tolist()))

    def _counts_of(self, ids: Ids, known: Rows) -> dict[str, NDArray[np.int32]]:
        """The counts of people, from their rows where these are known (not -1)."""
        counts = {name: np.zeros(len(ids), np.int32) for name in COUNTS}
        for name in COUNTS:
            counts[name][known >= 0] = self.columns.take(name, known[known >= 0])
        for place in np.flatnonzero((known < 0) & self.memory.heard_of(ids)).tolist():
            stands = self.memory.counted(int(ids[place]))
            for name, side in zip(COUNTS, (stands.liked_by, stands.passed_by, stands.liked, stands.passed), strict=True):
                counts[name][place] = len(side)
        return counts

    def _hide(self, rows: Rows) -> None:
        bits.clear(self.shown, rows[rows < self.columns.n_base])
        self.columns.hide_added(rows[rows >= self.columns.n_base])

    def _count(self, name: str, ids: Iterable[int], step: int) -> None:
        people = np.fromiter(ids, np.int64)
        self._step(name, people, np.full(len(people), step, np.int32))

    def _step(self, name: str, ids: Ids, steps: NDArray[np.int32]) -> None:
        rows = self.rows(ids)
        self.columns.add(name, rows[rows >= 0], steps[rows >= 0])
