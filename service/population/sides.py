"""Relations of many people, compressed by person: who likes, passed, blocked or wrote to whom, as a bundle holds it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.population.standing import LIKED, MESSAGED, PASSED

Ids = NDArray[np.int64]

_KIND_BITS = 3


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


def compressed(ids: Ids, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> tuple[Side, Side]:
    """Relations as the given and the received sides of these people, each held once. `ids` int64 (n,) sorted; the rest
    parallel, int64 and int8 (m,).

    Left out are pairs of whom one is unknown: what only one side held could neither be found nor erased from the other. Who
    was not there yet when the people were read comes with the feed, and so does all that they did or met with.
    """
    actor_rows, target_rows = ranks(ids, actors), ranks(ids, targets)
    known = (actor_rows >= 0) & (target_rows >= 0)
    if not known.all():
        actors, targets, kinds = actors[known], targets[known], kinds[known]
        actor_rows, target_rows = actor_rows[known], target_rows[known]
    return _by_person(len(ids), actor_rows, targets, kinds), _by_person(len(ids), target_rows, actors, kinds)


def ranks(ids: Ids, wanted: Ids) -> NDArray[np.int64]:
    """The place of each among sorted `ids`, -1 for those who are not there."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    found = ids.searchsorted(wanted)
    found[found == len(ids)] = 0
    found[ids[found] != wanted] = -1
    return found


def _by_person(n_people: int, rows: NDArray[np.int64], others: Ids, kinds: NDArray[np.int8]) -> Side:
    rows, others, kinds = _in_order(rows, others, kinds)
    if len(rows):  # one message of a pair tells as much as a hundred
        again = (rows[1:] == rows[:-1]) & (others[1:] == others[:-1]) & (kinds[1:] == kinds[:-1])
        once = np.append(True, ~again)
        rows, others, kinds = rows[once], others[once], kinds[once]
    indptr = np.zeros(n_people + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_people), out=indptr[1:])
    return Side(indptr, others, kinds)


def _in_order(rows: NDArray[np.int64], others: Ids, kinds: NDArray[np.int8]) -> tuple[NDArray[np.int64], Ids, NDArray[np.int8]]:
    """By row, then by other, then by kind. Sorted as one number where the three fit: twenty million take 3 s instead of 11."""
    other_bits = int(others.max(initial=0)).bit_length()
    if int(rows.max(initial=0)).bit_length() + other_bits + _KIND_BITS > 63 or int(others.min(initial=0)) < 0:
        order = np.lexsort((kinds, others, rows))
        return rows[order], others[order], kinds[order]
    packed = (rows << (other_bits + _KIND_BITS)) | (others << _KIND_BITS) | kinds
    packed.sort()
    others = (packed >> _KIND_BITS) & ((1 << other_bits) - 1)
    return packed >> (other_bits + _KIND_BITS), others, (packed & ((1 << _KIND_BITS) - 1)).astype(np.int8)
