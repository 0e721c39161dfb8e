"""What stands between an ordered pair, in one byte: the small algebra under the memory of relations.

A pair may bear an opinion, a block and messages. A byte says of each of them what newer news made of it, or nothing: then what
was known before holds.
"""

import numpy as np
from numpy.typing import NDArray

from service.domain import Kind
from service.repositories.columns import KINDS

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

States = NDArray[np.uint8]
Keys = NDArray[np.int64]

# The opinion in two bits, LIKED, PASSED or withdrawn, 0 when the news says nothing of it; the block likewise; messages never end.
OPINION, WITHDRAWN = 0b00011, 0b00011
BLOCK, BLOCKS, LIFTED = 0b01100, 0b00100, 0b01000
WROTE = 0b10000

_NEWS = {
    Kind.LIKE: LIKED,
    Kind.PASS: PASSED,
    Kind.UNMATCH: PASSED,
    Kind.UNLIKE: WITHDRAWN,
    Kind.UNPASS: WITHDRAWN,
    Kind.BLOCK: BLOCKS,
    Kind.UNBLOCK: LIFTED,
    Kind.MESSAGE: WROTE,
}
# One more entry, the last, for the code -1: a kind that only a newer version of this service knows.
_NEWS_OF_CODE = np.array([*(_NEWS.get(kind, 0) for kind in KINDS), 0], np.uint8)
_STATE_OF_STANDING = np.array([0, LIKED, PASSED, BLOCKS, WROTE], np.uint8)

_ANY = np.arange(32, dtype=np.uint8)


def _over(older: States, newer: States) -> States:
    kept = np.where(newer & OPINION, newer & OPINION, older & OPINION)
    kept |= np.where(newer & BLOCK, newer & BLOCK, older & BLOCK)
    made: States = kept | ((older | newer) & WROTE)
    return made


_OVERLAID = _over(_ANY[:, None], _ANY[None, :]).ravel()
_OPINION_OF = np.where(_ANY & OPINION == WITHDRAWN, 0, _ANY & OPINION).astype(np.int8)
_COUNTS_AS = np.where((_OPINION_OF == 0) & (_ANY & WROTE > 0), LIKED, _OPINION_OF).astype(np.int8)


def news(kinds: NDArray[np.int8]) -> States:
    """What events say; `kinds` are codes into KINDS, -1 for an unknown one. 0 for those that decide nothing, such as views."""
    return _NEWS_OF_CODE[kinds]


def states(standing: NDArray[np.int8]) -> States:
    """The bytes of what compressed relations hold: LIKED, PASSED, BLOCKED, MESSAGED."""
    return _STATE_OF_STANDING[standing]


def overlaid(older: States, newer: States) -> States:
    """What stands when `newer` news comes upon `older`, elementwise."""
    made: States = _OVERLAID[older.astype(np.intp) * 32 + newer]
    return made


def opinions(stands: States) -> NDArray[np.int8]:
    """LIKED, PASSED or 0."""
    return _OPINION_OF[stands]


def counts_as(stands: States) -> NDArray[np.int8]:
    """LIKED, PASSED or 0: as what a pair is counted. A message counts as a like while no opinion stands."""
    return _COUNTS_AS[stands]


def folded(keys: Keys, said: States) -> tuple[Keys, States]:
    """News of sorted keys, those of one key from the oldest to the newest, as one piece of news for each key."""
    begins = np.empty(len(keys), np.bool_)
    begins[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    if len(first) == len(keys):
        return keys, said
    order = np.arange(len(keys))
    news: States = np.bitwise_or.reduceat(said & np.uint8(WROTE), first)
    for part in (OPINION, BLOCK):
        news |= _last(said & np.uint8(part), order, first)
    return keys[first], news


def _last(part: States, order: NDArray[np.int64], first: NDArray[np.int64]) -> States:
    """The last that is not 0 of each group."""
    last = np.maximum.reduceat(np.where(part, order, -1), first)
    return np.where(last >= 0, part[last], 0).astype(np.uint8)
