"""Who likes, passed or blocked whom, both ways: what a bundle says, and what the feed has brought since.

The memory that serves when the database is away, so it must never forget a block. Kept by id, not by row: relations outlive
a change of profile.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.domain import Kind, Relations

LIKED, PASSED, BLOCKED = 1, 2, 3
"""What stands between an ordered pair, as the compressed relations hold it. A pair may bear an opinion and a block."""

STANDING: dict[Kind, int] = {Kind.LIKE: LIKED, Kind.PASS: PASSED, Kind.UNMATCH: PASSED, Kind.BLOCK: BLOCKED}
"""What each kind leaves standing; withdrawals, messages and views leave nothing."""

_OPINIONS = {Kind.LIKE: LIKED, Kind.PASS: PASSED, Kind.UNMATCH: PASSED, Kind.UNLIKE: 0, Kind.UNPASS: 0}
_BLOCKS = {Kind.BLOCK: True, Kind.UNBLOCK: False}

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Compressed relations of n people in one direction: person r has `ids[indptr[r]:indptr[r + 1]]`, sorted, with `kinds`."""

    indptr: NDArray[np.int64]
    ids: Ids
    kinds: NDArray[np.int8]

    def of(self, row: int) -> tuple[Ids, NDArray[np.int8]]:
        part = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return self.ids[part], self.kinds[part]

    def counts(self, kind: int) -> NDArray[np.int32]:
        """How many relations of a kind each person has, int32 (n,)."""
        before = np.concatenate(([0], np.cumsum(self.kinds == kind)))
        return (before[self.indptr[1:]] - before[self.indptr[:-1]]).astype(np.int32)


@dataclass(slots=True)
class _Since:
    """What the feed has brought for one person in one direction: opinion (0: none) and block, by the other's id."""

    opinions: dict[int, int] = field(default_factory=dict)
    blocks: dict[int, bool] = field(default_factory=dict)

    def forget(self, other: int) -> None:
        self.opinions.pop(other, None)
        self.blocks.pop(other, None)


def compress(ids: Ids, owners: Ids, others: Ids, kinds: NDArray[np.int8]) -> Side:
    """Relations by owner. `ids` int64 (n,) sorted; the rest parallel, int64 and int8 (m,); unknown owners are left out."""
    rows = np.minimum(np.searchsorted(ids, owners), max(0, len(ids) - 1))
    known = ids[rows] == owners if len(ids) else np.zeros(len(owners), np.bool_)
    rows, others, kinds = rows[known], others[known], kinds[known]
    order = np.lexsort((kinds, others, rows))
    indptr = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=len(ids)), out=indptr[1:])
    return Side(indptr, others[order], kinds[order])


class RelationMemory:
    """Standing relations of everyone. `ids`: int64 (n,), sorted: the people whom the compressed sides describe, in order."""

    def __init__(self, ids: Ids, given: Side, received: Side) -> None:
        self.given = given
        self.received = received
        self._ids = ids
        self._given: dict[int, _Since] = {}
        self._received: dict[int, _Since] = {}
        self._cut: set[int] = set()
        """Erased since the base was made: what the base says of them is void, also when the id is somebody new's."""

    def of(self, person_id: int) -> Relations:
        """How a person stands to others now; empty for an unknown one."""
        opinions, blocked_by_them = self._side(person_id, self.given, self._given)
        received, blocked_them = self._side(person_id, self.received, self._received)
        return Relations(
            liked=frozenset(other for other, kind in opinions.items() if kind == LIKED),
            passed=frozenset(other for other, kind in opinions.items() if kind == PASSED),
            liked_by=frozenset(other for other, kind in received.items() if kind == LIKED),
            passed_by=frozenset(other for other, kind in received.items() if kind == PASSED),
            blocked=frozenset(blocked_by_them | blocked_them),
        )

    def opinion(self, actor_id: int, target_id: int) -> int:
        """LIKED, PASSED or 0: what of an ordered pair stands."""
        since = self._given.get(actor_id)
        if since is not None and target_id in since.opinions:
            return since.opinions[target_id]
        if actor_id in self._cut or target_id in self._cut:
            return 0
        row = self._base_row(actor_id)
        if row is None:
            return 0
        others, kinds = self.given.of(row)
        place = int(others.searchsorted(target_id))
        found = place < len(others) and others[place] == target_id and kinds[place] != BLOCKED
        return int(kinds[place]) if found else 0

    def apply(self, actor_id: int, target_id: int, kind: Kind) -> tuple[int, int]:
        """Remember one event; gives the pair's opinion before and after. Applying it again changes nothing."""
        before = self.opinion(actor_id, target_id)
        given = self._given.setdefault(actor_id, _Since())
        received = self._received.setdefault(target_id, _Since())
        if kind in _BLOCKS:
            given.blocks[target_id] = received.blocks[actor_id] = _BLOCKS[kind]
        elif kind in _OPINIONS:
            given.opinions[target_id] = received.opinions[actor_id] = _OPINIONS[kind]
            return before, _OPINIONS[kind]
        return before, before

    def erase(self, person_id: int) -> Relations:
        """Forget a person on both sides of every pair; gives what stood until now."""
        stood = self.of(person_id)
        for own, other_side in ((self._given, self._received), (self._received, self._given)):
            since = own.pop(person_id, None)
            for other in (*since.opinions, *since.blocks) if since else ():
                if other in other_side:
                    other_side[other].forget(person_id)
        self._cut.add(person_id)
        return stood

    def _side(self, person_id: int, base: Side, overlay: dict[int, _Since]) -> tuple[dict[int, int], set[int]]:
        opinions: dict[int, int] = {}
        blocked: set[int] = set()
        row = None if person_id in self._cut else self._base_row(person_id)
        if row is not None:
            others, kinds = base.of(row)
            for other, kind in zip(others.tolist(), kinds.tolist(), strict=True):
                if other in self._cut:
                    continue
                if kind == BLOCKED:
                    blocked.add(other)
                else:
                    opinions[other] = kind
        since = overlay.get(person_id)
        if since is not None:
            opinions.update(since.opinions)
            blocked.update(other for other, stands in since.blocks.items() if stands)
            blocked.difference_update(other for other, stands in since.blocks.items() if not stands)
        return opinions, blocked

    def _base_row(self, person_id: int) -> int | None:
        place = int(self._ids.searchsorted(person_id))
        return place if place < len(self._ids) and self._ids[place] == person_id else None
