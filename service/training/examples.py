"""From interactions to pairs with an outcome: who said yes or no to whom, and when."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain import Kind
from service.population.standing import LIKED, PASSED, STANDING
from service.repositories.columns import KINDS, InteractionTable

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Seconds = NDArray[np.float64]

POSITIVE = frozenset({Kind.LIKE, Kind.MESSAGE})
NEGATIVE = frozenset({Kind.PASS, Kind.UNMATCH, Kind.BLOCK})
"""Views and withdrawals say neither."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Ordered pairs whose outcome is known, in order of time.

    `actor`, `target`: int64 (m,), rows of people. `positive`: bool (m,): liked or wrote to, and neither passed nor blocked.
    `opinion`: int8 (m,): LIKED, PASSED or 0, what the service would count as standing; a message or a block alone is none.
    `n_messages`: int64 (m,). `time_s`: float64 (m,), seconds since 1970: when the outcome was first expressed.
    """

    actor: Rows
    target: Rows
    positive: Mask
    opinion: NDArray[np.int8]
    n_messages: Rows
    time_s: Seconds

    def __len__(self) -> int:
        return len(self.actor)

    def where(self, keep: Mask | Rows) -> "Pairs":
        return Pairs(
            self.actor[keep],
            self.target[keep],
            self.positive[keep],
            self.opinion[keep],
            self.n_messages[keep],
            self.time_s[keep],
        )

    def counted(self) -> NDArray[np.int8]:
        """As what each pair is counted by the population: its opinion, or LIKED for messages without one; int8 (m,)."""
        return np.where((self.opinion == 0) & (self.n_messages > 0), np.int8(LIKED), self.opinion)

    def keys(self, n_people: int) -> Rows:
        """One number an ordered pair, int64 (m,)."""
        return self.actor * n_people + self.target

    def reversed_keys(self, n_people: int) -> Rows:
        """The key of the other direction."""
        return self.target * n_people + self.actor


def rows_of(ids: Rows, wanted: Rows) -> Rows:
    """Positions of `wanted` in the sorted `ids`, int64; -1 where absent."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[place] == wanted, place, -1)


def pairs_of(events: InteractionTable, ids: Rows) -> Pairs:
    """One pair for each actor and target with an outcome; `ids` are all people, sorted. Those of unknown people are left out.

    A pass or block outweighs likes and messages of the same pair: it is what stands, or what they came to.
    """
    actor, target = rows_of(ids, events.actor), rows_of(ids, events.target)
    says = (_by_kind(POSITIVE) - _by_kind(NEGATIVE))[events.kind]
    used = np.flatnonzero((says != 0) & (actor >= 0) & (target >= 0))
    key = actor[used] * len(ids) + target[used]
    order = np.lexsort((events.occurred_at_s[used], key))
    used, key = used[order], key[order]
    if not len(used):
        return Pairs(used, used, np.zeros(0, np.bool_), np.zeros(0, np.int8), used, np.zeros(0))
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    kind, says, time_s = events.kind[used], says[used], events.occurred_at_s[used]
    outcome = np.minimum.reduceat(says, starts)
    decisive = says == np.repeat(outcome, np.diff(np.append(starts, len(used))))
    pairs = Pairs(
        actor=key[starts] // len(ids),
        target=key[starts] % len(ids),
        positive=outcome > 0,
        opinion=np.maximum.reduceat(_OPINION[kind], starts),
        n_messages=np.add.reduceat(_by_kind({Kind.MESSAGE})[kind].astype(np.int64), starts),
        time_s=np.minimum.reduceat(np.where(decisive, time_s, np.inf), starts),
    )
    return pairs.where(np.argsort(pairs.time_s, kind="stable"))


def _by_kind(kinds: Collection[Kind]) -> NDArray[np.int8]:
    """1 at the codes of `kinds`, int8 (kinds,)."""
    return np.array([kind in kinds for kind in KINDS], np.int8)


_OPINION = np.array([STANDING[kind] if STANDING.get(kind) in (LIKED, PASSED) else 0 for kind in KINDS], np.int8)


def answered(pairs: Pairs, within: Pairs, n_people: int) -> Mask:
    """Which of `pairs` are matches: positive, and so is the other direction among `within`; bool (len(pairs),)."""
    back = within.where(within.positive)
    return np.asarray(pairs.positive & np.isin(pairs.reversed_keys(n_people), back.keys(n_people)), np.bool_)
