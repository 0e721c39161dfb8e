"""Who likes, passed, blocked or wrote to whom, both ways: what a bundle says, and what the feed has brought since.

The memory that serves when the database is away, so it must never forget a block. Kept by id, not by row: relations outlive
a change of profile. A message decides nothing about who may be shown to whom; it counts as a like while no opinion stands,
as it does in training, so that a site of messages alone has its popular people too.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.domain import Kind, Relations

LIKED, PASSED, BLOCKED, MESSAGED = 1, 2, 3, 4
"""What stands between an ordered pair, as the compressed relations hold it. A pair may bear an opinion (one of the first two),
a block and messages, in this order."""

STANDING: dict[Kind, int] = {
    Kind.LIKE: LIKED,
    Kind.PASS: PASSED,
    Kind.UNMATCH: PASSED,
    Kind.BLOCK: BLOCKED,
    Kind.MESSAGE: MESSAGED,
}
"""What each kind leaves standing; withdrawals and views leave nothing."""

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

    def likes_and_passes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """How many of each every person has, int32 (n,): standing opinions, and messages without one as likes."""
        starts = np.append(True, self.ids[1:] != self.ids[:-1])[: len(self.ids)]
        starts[self.indptr[:-1][np.diff(self.indptr) > 0]] = True
        first = np.flatnonzero(starts)
        opinion = self.kinds[first]
        last = self.kinds[np.append(first[1:], len(starts))[: len(first)] - 1]
        messaged = (opinion > PASSED) & (last == MESSAGED)
        return self._per_person(first[(opinion == LIKED) | messaged]), self._per_person(first[opinion == PASSED])

    def _per_person(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.diff(np.searchsorted(places, self.indptr)).astype(np.int32)


@dataclass(slots=True)
class _Since:
    """What the feed has brought for one person in one direction: opinion (0: none), block and messages, by the other's id."""

    opinions: dict[int, int] = field(default_factory=dict)
    blocks: dict[int, bool] = field(default_factory=dict)
    messaged: set[int] = field(default_factory=set)

    def others(self) -> set[int]:
        return self.opinions.keys() | self.blocks.keys() | self.messaged

    def forget(self, other: int) -> None:
        self.opinions.pop(other, None)
        self.blocks.pop(other, None)
        self.messaged.discard(other)


@dataclass(frozen=True, slots=True)
class Counted:
    """Whom the counts of a person are made of: standing opinions, and messages without one as likes."""

    liked: frozenset[int]
    passed: frozenset[int]
    liked_by: frozenset[int]
    passed_by: frozenset[int]


@dataclass(slots=True)
class _Stands:
    """All that stands for one person in one direction, by the other's id."""

    opinions: dict[int, int]
    blocked: set[int]
    messaged: set[int]

    def bearing(self, opinion: int) -> frozenset[int]:
        return frozenset(other for other, kind in self.opinions.items() if kind == opinion)

    def counted(self, opinion: int) -> frozenset[int]:
        borne = self.bearing(opinion)
        if opinion != LIKED:
            return borne
        return borne | {other for other in self.messaged if not self.opinions.get(other)}


def compress(ids: Ids, owners: Ids, others: Ids, kinds: NDArray[np.int8]) -> Side:
    """Relations by owner, each held once. `ids` int64 (n,) sorted; the rest parallel, int64 and int8 (m,); unknown owners are
    left out."""
    rows = np.minimum(np.searchsorted(ids, owners), max(0, len(ids) - 1))
    known = ids[rows] == owners if len(ids) else np.zeros(len(owners), np.bool_)
    rows, others, kinds = rows[known], others[known], kinds[known]
    order = np.lexsort((kinds, others, rows))
    rows, others, kinds = rows[order], others[order], kinds[order]
    if len(rows):  # one message of a pair tells as much as a hundred
        again = (rows[1:] == rows[:-1]) & (others[1:] == others[:-1]) & (kinds[1:] == kinds[:-1])
        once = np.append(True, ~again)
        rows, others, kinds = rows[once], others[once], kinds[once]
    indptr = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=len(ids)), out=indptr[1:])
    return Side(indptr, others, kinds)


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
        given, received = self._sides(person_id)
        return Relations(
            liked=given.bearing(LIKED),
            passed=given.bearing(PASSED),
            liked_by=received.bearing(LIKED),
            passed_by=received.bearing(PASSED),
            blocked=frozenset(given.blocked | received.blocked),
        )

    def counted(self, person_id: int) -> Counted:
        """What the counts of a person are made of now."""
        given, received = self._sides(person_id)
        return Counted(given.counted(LIKED), given.counted(PASSED), received.counted(LIKED), received.counted(PASSED))

    def counts_as(self, actor_id: int, target_id: int) -> int:
        """LIKED, PASSED or 0: as what an ordered pair is counted."""
        since = self._given.get(actor_id)
        stood = self._base_kinds(actor_id, target_id)
        opinion = since.opinions.get(target_id) if since is not None else None
        if opinion is None:
            opinion = next((kind for kind in stood if kind in (LIKED, PASSED)), 0)
        messaged = MESSAGED in stood or (since is not None and target_id in since.messaged)
        return opinion or (LIKED if messaged else 0)

    def apply(self, actor_id: int, target_id: int, kind: Kind) -> tuple[int, int]:
        """Remember one event; gives as what the pair counted before and counts after. Applying it again changes nothing."""
        before = self.counts_as(actor_id, target_id)
        given = self._given.setdefault(actor_id, _Since())
        received = self._received.setdefault(target_id, _Since())
        if kind in _BLOCKS:
            given.blocks[target_id] = received.blocks[actor_id] = _BLOCKS[kind]
        elif kind in _OPINIONS:
            given.opinions[target_id] = received.opinions[actor_id] = _OPINIONS[kind]
        elif kind == Kind.MESSAGE:
            given.messaged.add(target_id)
            received.messaged.add(actor_id)
        return before, self.counts_as(actor_id, target_id)

    def erase(self, person_id: int) -> Counted:
        """Forget a person on both sides of every pair; gives what was counted until now."""
        stood = self.counted(person_id)
        for own, other_side in ((self._given, self._received), (self._received, self._given)):
            since = own.pop(person_id, None)
            for other in since.others() if since else ():
                if other in other_side:
                    other_side[other].forget(person_id)
        self._cut.add(person_id)
        return stood

    def _sides(self, person_id: int) -> tuple[_Stands, _Stands]:
        return self._side(person_id, self.given, self._given), self._side(person_id, self.received, self._received)

    def _side(self, person_id: int, base: Side, overlay: dict[int, _Since]) -> _Stands:
        opinions: dict[int, int] = {}
        blocked: set[int] = set()
        messaged: set[int] = set()
        row = None if person_id in self._cut else self._base_row(person_id)
        if row is not None:
            others, kinds = base.of(row)
            for other, kind in zip(others.tolist(), kinds.tolist(), strict=True):
                if other in self._cut:
                    continue
                if kind == BLOCKED:
                    blocked.add(other)
                elif kind == MESSAGED:
                    messaged.add(other)
                else:
                    opinions[other] = kind
        since = overlay.get(person_id)
        if since is not None:
            opinions.update(since.opinions)
            blocked.update(other for other, stands in since.blocks.items() if stands)
            blocked.difference_update(other for other, stands in since.blocks.items() if not stands)
            messaged |= since.messaged
        return _Stands(opinions, blocked, messaged)

    def _base_kinds(self, actor_id: int, target_id: int) -> list[int]:
        row = None if actor_id in self._cut or target_id in self._cut else self._base_row(actor_id)
        if row is None:
            return []
        others, kinds = self.given.of(row)
        place = int(others.searchsorted(target_id))
        return [int(kind) for kind in kinds[place : int(others.searchsorted(target_id, "right"))]]

    def _base_row(self, person_id: int) -> int | None:
        place = int(self._ids.searchsorted(person_id))
        return place if place < len(self._ids) and self._ids[place] == person_id else None
