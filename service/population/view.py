"""The eligible people of one request, as candidate sources see them: the contract's `People`."""

import math
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from amity_rankers.contract import Found
from numpy.typing import NDArray

from service.domain import Filters, Profile, Relations
from service.features.assemble import CandidateColumns, Floats, ViewerView, assemble
from service.features.geography import km_of_squared_chords, squared_chords
from service.metrics import SEARCHES
from service.population import bits
from service.population.drawing import drawn_rows, newest_rows
from service.population.planner import Plan
from service.population.remembered import Remembered
from service.population.tastes import SPACES
from service.population.vectors import Passing
from service.population.viewer import candidate_columns, viewer_view

if TYPE_CHECKING:
    from service.population.population import Population

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

_OWN_PROFILE_WEIGHT = 5
"""In the content query the viewer's own profile weighs as much as five liked people: it leads while likes are few."""

_MAX_LIKED = 200
"""Liked people whose profiles enter the content query; more would not move the mean."""

_PLAIN_COLUMNS = ("age", "created_at_s", "last_active_at_s", "n_likes_received")


class Asking(Protocol):
    """Who asks for whom: all that decides who is eligible. `without` are left out for this request alone."""

    @property
    def viewer(self) -> Profile: ...
    @property
    def relations(self) -> Relations: ...
    @property
    def filters(self) -> Filters: ...
    @property
    def exclude_seen(self) -> bool: ...
    @property
    def now_s(self) -> float: ...
    @property
    def without(self) -> frozenset[int]: ...


class PeopleView:
    """The contract's `People`, and what the service itself asks. Made on the event loop, where all is looked up that the loop may
    change; read in threads, where the first who needs the mask of the base makes it, once for all, unless `prepare` has."""

    def __init__(self, population: "Population", asking: Asking) -> None:
        self.viewer_id = asking.viewer.id
        self._plans: dict[str, Plan] = {}
        self._population = population
        self._asking = asking
        self._columns = population.columns.at_present()
        self._overlay = population.passing_overlay(asking.viewer, asking.filters, asking.now_s)
        self._out = self._left_out()
        self._lock = threading.Lock()
        self._found: Passing | None = None
        self._prepared_s = 0.0
        # The eligible whom this view has found: nine in ten of the candidates, who are asked about three times.
        self._remembered = Remembered()
        self._looked_up: tuple[Ids | None, Rows] = (None, np.empty(0, np.int64))
        self._gathered: tuple[Ids | None, CandidateColumns | None] = (None, None)

    @property
    def is_prepared(self) -> bool:
        return self._found is not None

    def prepare(self) -> None:
        """Find who is eligible, unless it has been done."""
        with self._lock:
            if self._found is None:
                found = self._eligible()
                self._prepared_s = time.perf_counter()
                self._found = found

    @property
    def prepared_s(self) -> float:
        """When it was found who is eligible, in seconds of `perf_counter`."""
        self.prepare()
        return self._prepared_s

    @property
    def n_eligible(self) -> int:
        return self._passing.n_base + int(np.count_nonzero(self._passing.overlay))

    @cached_property
    def liked_by(self) -> Ids:
        """Eligible people who like the viewer and whom the viewer has neither liked nor passed yet, int64 (k,)."""
        waiting = self._asking.relations.liked_by - self._asking.relations.seen()
        ids = np.fromiter(waiting, np.int64, len(waiting))
        return ids[self.contains(ids)]

    def contains(self, ids: Ids) -> Mask:
        """Which of `ids` are eligible, bool (n,)."""
        there = self._remembered.rows(ids) >= 0
        if not there.all():
            others = ids[~there]
            rows = self._population.rows(others)
            passing = self._pass(rows)
            there[~there] = passing
            self._remembered.add(others[passing], rows[passing])
        return there

    def incarnations(self, ids: Ids) -> NDArray[np.int32]:
        """Which person each of `ids` stood for when this view was made, int32 (n,); 0 for who is gone or has changed since, but
        for those whom this view had found before."""
        rows = self._rows(ids)
        there = (rows >= 0) & (rows < self._columns.n)
        found = np.zeros(len(ids), np.int32)
        found[there] = self._columns.take("incarnation", rows[there])
        return found

    def search(self, space: str, query: Floats, k: int) -> Found:
        """The k eligible people with the largest inner product with `query`; nobody while there are no vectors.

        Raises ValueError for an unknown space and for a query that does not fit it.
        """
        if space not in SPACES:
            raise ValueError(f"no space named {space!r}; there are {', '.join(SPACES)}")
        tastes = self._population.tastes
        if tastes is None:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        found = tastes.spaces[space].search(self._passing, self._ids_of, query, k)
        self._remembered.add(found.ids.copy(), found.rows)  # what a source gets it may write to
        self._plans[space] = found.plan
        SEARCHES.labels(space, found.plan.method).inc()
        return Found(found.ids, found.scores)

    def searches(self) -> dict[str, str | int | float]:
        """How each space was searched last, as attributes of a span: the plan's choice and its estimates."""
        return {
            f"amity.search.{space}.{name}": value
            for space, plan in list(self._plans.items())  # a search that was given up may still end
            for name, value in msgspec.structs.asdict(plan).items()
        }

    def viewer_vector(self, space: str) -> Floats | None:
        """What the viewer asks a space, float32 (d,); None without vectors, or while nothing is known about the viewer.

        `mutual`: (p, q); where they are all zero, as before anybody has liked anybody, nothing is known. `content`: the direction
        of the viewer's own profile and of those of the people they like.
        """
        if space not in SPACES:
            raise ValueError(f"no space named {space!r}; there are {', '.join(SPACES)}")
        viewer = self._viewer
        if space == "content":
            return None if viewer.content is None else self._content_query(viewer.content)
        if viewer.p is None or viewer.q is None or not (viewer.p.any() or viewer.q.any()):
            return None
        return np.concatenate((viewer.p, viewer.q))

    def draw(self, k: int, seed: int) -> Ids:
        """k of the eligible ids, all if they are fewer, drawn by `seed`, each with the same probability, in random order."""
        return self._handed_out(drawn_rows(self._columns, self._passing, k, seed))

    def newest(self, k: int, since_s: float, seed: int) -> tuple[Ids, NDArray[np.float64]]:
        """The k eligible people who joined last, and not before `since_s`, newest first, ties by lot; and when they joined."""
        rows, joined_s = newest_rows(self._columns, self._population.newest, self._passing, (k, since_s, seed))
        return self._handed_out(rows), joined_s

    def eligible_ids(self) -> Ids:
        """All eligible ids, int64 (n_eligible,)."""
        return self._ids_of(self._eligible_rows)

    def column(self, name: str) -> NDArray[Any]:
        """A column aligned with `eligible_ids()`. Raises ValueError for one that the contract does not name."""
        if name == "distance_km":
            squared = squared_chords(self._columns.take("place", self._eligible_rows), self._viewer.place)
            return km_of_squared_chords(squared).astype(np.float32)
        if name not in _PLAIN_COLUMNS:
            raise ValueError(f"no column named {name!r}; there are {', '.join(_PLAIN_COLUMNS)}, distance_km")
        return self._columns.take(name, self._eligible_rows)

    def features(self, ids: Ids, names: tuple[str, ...]) -> Floats:
        """The features of people, float32 (len(ids), len(names)); raises ValueError for a name that is no feature."""
        asked, people = self._gathered
        if asked is not ids or people is None:  # two rankers of one slate ask for the same people
            people = candidate_columns(self._population, ids, self._asking.relations.liked_by, self._rows(ids))
            self._gathered = (ids, people)
        return assemble(self._viewer, people, names)

    @property
    def _passing(self) -> Passing:
        self.prepare()
        assert self._found is not None
        return self._found

    def _eligible(self) -> Passing:
        asking, n_base = self._asking, self._columns.n_base
        base = self._population.passing_base(asking.viewer, asking.filters, asking.now_s)
        bits.clear(base, self._out[self._out < n_base])
        self._overlay[self._out[self._out >= n_base] - n_base] = False
        return Passing.of(base, self._overlay)

    def _pass(self, rows: Rows) -> Mask:
        """Which rows (n,), -1 for nobody, are eligible, bool (n,)."""
        n_base, there = self._columns.n_base, np.zeros(len(rows), np.bool_)
        in_base = (rows >= 0) & (rows < n_base)
        there[in_base] = bits.test(self._passing.base, rows[in_base])
        # Who has changed since this view was made has a row beyond it, and is left to the next request.
        added = (rows >= n_base) & (rows < self._columns.n)
        there[added] = self._passing.overlay[rows[added] - n_base]
        return there

    def _rows(self, ids: Ids) -> Rows:
        """Rows of people, int64 (n,); -1 for who is unknown or erased.

        Whom this view has found stays as they were then: who is erased or changed meanwhile is scored as before, and goes by
        the incarnation, or by the profile, that is compared when the slate is made.
        """
        asked, rows = self._looked_up
        if asked is not ids:  # of one pool incarnations and features are asked for
            rows = self._remembered.rows(ids)
            unknown = rows < 0
            if unknown.any():
                rows[unknown] = self._population.rows(ids[unknown])
            self._looked_up = (ids, rows)
        return rows

    def _left_out(self) -> Rows:
        """Rows of the viewer and of whom relations and the request leave out."""
        relations = self._asking.relations
        out = relations.hidden() | self._asking.without | {self.viewer_id}
        if self._asking.exclude_seen:
            out |= relations.seen()
        rows = self._population.rows(np.fromiter(out, np.int64, len(out)))
        return rows[rows >= 0]

    @cached_property
    def _viewer(self) -> ViewerView:
        return viewer_view(self._population, self._asking.viewer, self._asking.now_s, self._asking.relations)

    @cached_property
    def _eligible_rows(self) -> Rows:
        base, added = bits.rows_of(self._passing.base), np.flatnonzero(self._passing.overlay)
        return np.concatenate((base, added + self._columns.n_base))

    def _ids_of(self, rows: Rows) -> Ids:
        return np.asarray(self._columns.take("id", rows), np.int64)

    def _handed_out(self, rows: Rows) -> Ids:
        """The ids of eligible rows, for a source, which may write to them."""
        ids = self._ids_of(rows)
        self._remembered.add(ids.copy(), rows)
        return ids

    def _content_query(self, own: Floats) -> Floats | None:
        tastes = self._population.tastes
        total = own * _OWN_PROFILE_WEIGHT
        some = sorted(self._asking.relations.liked)[:_MAX_LIKED]
        if tastes is not None and some:
            liked = self._population.rows(np.array(some, np.int64))
            contents = tastes.spaces["content"].gather(liked[liked >= 0])
            total += contents[~np.isnan(contents[:, 0])].sum(axis=0)
        norm = math.sqrt(total.dot(total))
        return (total / norm).astype(np.float32) if norm > 1e-9 else None
