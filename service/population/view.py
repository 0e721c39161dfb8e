"""Everyone eligible for one request, as candidate sources see them."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from amity_rankers.contract import Found
from numpy.typing import NDArray

from service.domain import Filters, Profile, Relations
from service.features.assemble import Floats, ViewerView, assemble
from service.features.geography import km_of_squared_chords, squared_chords
from service.population.mask import Mask, eligible_mask
from service.population.tastes import SPACES
from service.population.viewer import candidate_columns, viewer_view

if TYPE_CHECKING:
    from service.population.population import Population

Ids = NDArray[np.int64]

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
    """The contract's `People`, and what the service itself asks. Made on the event loop, read in threads."""

    def __init__(self, population: "Population", asking: Asking) -> None:
        self.viewer_id = asking.viewer.id
        self._population = population
        self._asking = asking
        self._columns = population.columns.at_present()
        self._mask: Mask = eligible_mask(self._columns, population.words, asking.viewer, asking.filters, asking.now_s)
        relations = asking.relations
        out = relations.hidden() | asking.without
        if asking.exclude_seen:
            out |= relations.seen()
        rows = self._rows(out)
        self._mask[rows[rows >= 0]] = False
        self.n_eligible = int(np.count_nonzero(self._mask))

    @cached_property
    def liked_by(self) -> Ids:
        """Eligible people who like the viewer and whom the viewer has neither liked nor passed yet, int64 (k,)."""
        waiting = self._asking.relations.liked_by - self._asking.relations.seen()
        ids = np.fromiter(waiting, np.int64, len(waiting))
        return ids[self.contains(ids)]

    def contains(self, ids: Ids) -> Mask:
        """Which of `ids` are eligible, bool (n,)."""
        rows = self._population.rows(ids)
        # Who has changed since this view was made has a row beyond it, and is left to the next request.
        there = (rows >= 0) & (rows < len(self._mask))
        there[there] = self._mask[rows[there]]
        return there

    def incarnations(self, ids: Ids) -> NDArray[np.int32]:
        """Which person each of `ids` stood for when this view was made, int32 (n,); 0 for who is gone or has changed since."""
        rows = self._population.rows(ids)
        there = (rows >= 0) & (rows < len(self._mask))
        found = np.zeros(len(ids), np.int32)
        found[there] = self._columns["incarnation"][rows[there]]
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
        return Found(*tastes.spaces[space].search(self._mask, self._columns["id"], query, k))

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

    def eligible_ids(self) -> Ids:
        """All eligible ids, int64 (n_eligible,)."""
        return np.asarray(self._columns["id"][self._eligible_rows], np.int64)

    def column(self, name: str) -> NDArray[Any]:
        """A column aligned with `eligible_ids()`. Raises ValueError for one that the contract does not name."""
        if name == "distance_km":
            squared = squared_chords(self._columns["place"][self._eligible_rows], self._viewer.place)
            return km_of_squared_chords(squared).astype(np.float32)
        if name not in _PLAIN_COLUMNS:
            raise ValueError(f"no column named {name!r}; there are {', '.join(_PLAIN_COLUMNS)}, distance_km")
        return np.asarray(self._columns[name][self._eligible_rows])

    def features(self, ids: Ids, names: tuple[str, ...]) -> Floats:
        """The features of people, float32 (len(ids), len(names)); raises ValueError for a name that is no feature."""
        people = candidate_columns(self._population, ids, self._asking.relations.liked_by)
        return assemble(self._viewer, people, names)

    @cached_property
    def _viewer(self) -> ViewerView:
        return viewer_view(self._population, self._asking.viewer, self._asking.now_s)

    @cached_property
    def _eligible_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._mask)

    def _content_query(self, own: Floats) -> Floats | None:
        tastes = self._population.tastes
        total = own * _OWN_PROFILE_WEIGHT
        liked = self._rows(frozenset(sorted(self._asking.relations.liked)[:_MAX_LIKED]))
        if tastes is not None and (liked >= 0).any():
            total = total + np.nan_to_num(tastes.spaces["content"].gather(liked[liked >= 0])).sum(axis=0)
        norm = float(np.linalg.norm(total))
        return (total / norm).astype(np.float32) if norm > 1e-9 else None

    def _rows(self, ids: frozenset[int]) -> NDArray[np.int64]:
        return self._population.rows(np.fromiter(ids, np.int64, len(ids)))
