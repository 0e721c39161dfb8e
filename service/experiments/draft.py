"""Team-draft interleaving: two rankings in one slate, each position brought by one of them.

Source: Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008. Pure: the same
two lists and the same seed give the same slate on every replica, and in every language that has BLAKE2b.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from uuid import UUID

FIRST, SECOND = 0, 1
NOBODYS = -1
"""Stands where the other list had nobody left to bring: whoever has the longer list must not win by its length."""
_BLOCK_BYTES = 64


@dataclass(frozen=True, slots=True)
class Drafted:
    """A slate: `ids`, each once, and for each the team that brought it: FIRST, SECOND or NOBODYS."""

    ids: tuple[int, ...]
    teams: tuple[int, ...]


def team_draft(first: Sequence[int], second: Sequence[int], limit: int, seed: int) -> Drafted:
    """At most `limit` people of two rankings, best first; in neither of them is anybody twice.

    In each round a coin says which team chooses first, and each brings the best of its list who is not in the slate. Where a list
    is exhausted the other fills the rest. A shorter limit gives the beginning of the same slate, and of each list no more than
    the first `limit` can count.
    """
    lists = first, second
    places = [0, 0]
    taken: set[int] = set()
    ids: list[int] = []
    teams: list[int] = []
    coins = _coins(seed)
    while len(ids) < limit:
        leads = next(coins)
        for team in (leads, 1 - leads):
            for each in (FIRST, SECOND):
                places[each] = _next(lists[each], places[each], taken)
            if len(ids) == limit or places[team] == len(lists[team]):
                continue
            is_alone = places[1 - team] == len(lists[1 - team])
            ids.append(lists[team][places[team]])
            teams.append(NOBODYS if is_alone else team)
            taken.add(ids[-1])
        if all(place == len(ranking) for place, ranking in zip(places, lists, strict=True)):
            break
    return Drafted(tuple(ids), tuple(teams))


def seed_of(first: UUID, second: UUID) -> int:
    """The seed of a pair of pools, 0 to 2^64-1: as long as both serve, so does the slate that was drafted of them."""
    return int.from_bytes(blake2b(first.bytes + second.bytes, digest_size=8).digest(), "big")


def _next(ranking: Sequence[int], place: int, taken: set[int]) -> int:
    """The place of the best who is not taken, from `place` on; the length of the list when there is nobody."""
    while place < len(ranking) and ranking[place] in taken:
        place += 1
    return place


def _coins(seed: int) -> Iterator[int]:
    """The team that chooses first, round after round: the bits of BLAKE2b of seed and block number, lowest first."""
    for block in count():
        digest = blake2b(seed.to_bytes(8, "big") + block.to_bytes(8, "big"), digest_size=_BLOCK_BYTES).digest()
        bits = int.from_bytes(digest, "big")
        for bit in range(8 * _BLOCK_BYTES):
            yield bits >> bit & 1
