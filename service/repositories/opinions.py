"""How interactions change what stands between two people: the rules, without I/O.

One opinion (like, pass or their withdrawal) and one block stand from each person on each other. Messages and views are
events; they never replace one another.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

from msgspec.structs import replace

from service.domain import NO_TIME, Interaction, Kind

OPINION, BLOCK, MESSAGE, VIEW = 1, 2, 3, 4

FAMILY: dict[Kind, int] = {
    Kind.LIKE: OPINION,
    Kind.PASS: OPINION,
    Kind.UNLIKE: OPINION,
    Kind.UNPASS: OPINION,
    Kind.UNMATCH: OPINION,
    Kind.BLOCK: BLOCK,
    Kind.UNBLOCK: BLOCK,
    Kind.MESSAGE: MESSAGE,
    Kind.VIEW: VIEW,
}

WITHDRAWS: dict[Kind, frozenset[Kind]] = {
    Kind.UNLIKE: frozenset({Kind.LIKE}),
    Kind.UNPASS: frozenset({Kind.PASS, Kind.UNMATCH}),
    Kind.UNBLOCK: frozenset({Kind.BLOCK}),
}
"""What a withdrawal undoes. `unmatch` leaves a standing opinion that counts as a pass, so `unpass` lifts it."""


class Standing(NamedTuple):
    """What stands from one person on another in one family."""

    kind: Kind
    occurred_at: datetime


Pair = tuple[int, int]
"""Two ids, the lower first: a match has no direction."""

Place = tuple[int, int, int]
"""Actor, target and family: at most one Standing each."""


_TICK = timedelta(microseconds=1)
_LAST = NO_TIME - _TICK


def pair(one_id: int, other_id: int) -> Pair:
    return (one_id, other_id) if one_id < other_id else (other_id, one_id)


HIDING = frozenset({Kind.PASS, Kind.UNMATCH, Kind.BLOCK})
"""What keeps two people from being shown to one another, while it stands."""


class Ledger:
    """What stands among some people, and what becomes of it as interactions are applied one after another."""

    def __init__(self, standing: Mapping[Place, Standing], matches: Mapping[Pair, datetime]) -> None:
        self._standing = dict(standing)
        self._matches = dict(matches)
        self._before = dict(matches)
        self.written: dict[Place, Interaction] = {}
        """The last interaction applied at each place: the rows to write."""
        self.returned: set[Pair] = set()
        """Pairs of whom one may see the other again: what hid them was replaced by something that does not."""

    def dated(self, given: Interaction, now: datetime) -> Interaction:
        """An opinion or block as it is to be applied: what is still to come is done now, and after all that stands between the
        two, whatever time a clock that was ahead of this one has left there; a file with that in it, imported again, must not
        undo what is done now."""
        if given.occurred_at <= now:
            return given
        places = product(_directions((given.actor_id, given.target_id)), (OPINION, BLOCK))
        stands = [self._standing.get((*direction, family)) for direction, family in places]
        return replace(given, occurred_at=max([now, *(min(found.occurred_at, _LAST) + _TICK for found in stands if found)]))

    def apply(self, given: Interaction) -> bool:
        """Apply one opinion or block; False when it changes nothing: repeated, outdated, or nothing to withdraw.

        What changes nothing but comes later still leaves its time, so that nothing from in between replaces it afterwards.
        """
        place = (given.actor_id, given.target_id, FAMILY[given.kind])
        before = self._standing.get(place)
        if before is not None and given.occurred_at < before.occurred_at:
            if given.kind is Kind.BLOCK:  # its lifting came first; the match before it ends all the same
                self._settle(given)
            return False
        changes = self._changes(given, None if before is None else before.kind)
        if changes or self._moves(given, before):
            self._standing[place] = Standing(given.kind, given.occurred_at)
            self.written[place] = given
        if changes and before is not None and given.kind not in HIDING and before.kind in HIDING | {Kind.LIKE}:
            self.returned.add(pair(given.actor_id, given.target_id))
        self._settle(given)
        return changes

    def made(self) -> dict[Pair, datetime]:
        """Matches that are there now and were not, or are newer: those to insert."""
        return {people: at for people, at in self._matches.items() if self._before.get(people) != at}

    def ended(self) -> list[Pair]:
        """Matches that were there and are not: those to delete."""
        return [people for people in self._before if people not in self._matches]

    def _changes(self, given: Interaction, before: Kind | None) -> bool:
        if given.kind is Kind.UNMATCH:
            return pair(given.actor_id, given.target_id) in self._matches
        if given.kind in WITHDRAWS:
            return before in WITHDRAWS[given.kind]
        return given.kind is not before

    def _moves(self, given: Interaction, before: Standing | None) -> bool:
        """Whether the interaction leaves its time though it changes nothing: it says again what stands, or withdraws where
        nothing does. Not so the lifting of no block between a match: it would read as that of a block that ended the match."""
        if given.kind is Kind.UNBLOCK and pair(given.actor_id, given.target_id) in self._matches:
            return False
        if before is None:
            return given.kind in WITHDRAWS
        again = given.kind is before.kind or (given.kind in WITHDRAWS and before.kind in WITHDRAWS)
        return again and given.occurred_at > before.occurred_at

    def _settle(self, given: Interaction) -> None:
        """Two standing likes without a block are a match from the like that completes them; anything less ends it.

        Lifting a block does not bring back the match that it ended: one of the likes must be younger than the lifting.
        """
        people = pair(given.actor_id, given.target_id)
        if not self._mutual(*people):
            self._matches.pop(people, None)
            return
        completed_at = max(self._standing[(*direction, OPINION)].occurred_at for direction in _directions(people))
        lifted = [found.occurred_at for direction in _directions(people) if (found := self._standing.get((*direction, BLOCK)))]
        if any(completed_at < at for at in lifted):
            if given.kind is Kind.BLOCK:
                self._matches.pop(people, None)
        elif given.kind in (Kind.LIKE, Kind.UNBLOCK):
            self._matches.setdefault(people, completed_at)

    def _mutual(self, low: int, high: int) -> bool:
        directions = _directions((low, high))
        liked = all(self._stands(*direction, OPINION, Kind.LIKE) for direction in directions)
        return liked and not any(self._stands(*direction, BLOCK, Kind.BLOCK) for direction in directions)

    def _stands(self, actor_id: int, target_id: int, family: int, kind: Kind) -> bool:
        standing = self._standing.get((actor_id, target_id, family))
        return standing is not None and standing.kind is kind


def _directions(people: Pair) -> tuple[Pair, Pair]:
    return people, people[::-1]
