"""Steps 7 to 9: from a pool to the people shown, checked on what the database says now, and refilled when somebody drops out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np

from service.domain import Profile, RecommendationRequest, RecommendedPerson
from service.recommend.eligibility import left_out, unfit_reason
from service.recommend.fragments import Entry, Fragment
from service.recommend.pools import Pool
from service.recommend.selection import Place, Places, among, lots_of, select
from service.recommend.viewers import ViewerState

ReadFragments = Callable[[Sequence[int]], Awaitable[Mapping[int, Fragment]]]


class Shown(msgspec.Struct, frozen=True, eq=False):
    """One position of a slate. `among`, of an exploration slot: bit i is set when the pool's i-th lowest lot could be drawn."""

    entry: Entry
    propensity: float
    among: int = 0

    @property
    def person(self) -> RecommendedPerson:
        return person_of(*self.entry)


@dataclass(frozen=True, slots=True, eq=False)
class Viewing:
    """Whose slate it is: the request, with the newest state of its viewer."""

    request: RecommendationRequest
    viewer: ViewerState
    now: datetime

    def out(self) -> frozenset[int]:
        """Everyone whom the viewer's relations or the request keep away."""
        if self.request.exclude_seen:
            return self.viewer.out | self.request.exclude_ids if self.request.exclude_ids else self.viewer.out
        return left_out(self.viewer.relations, self.request)


async def fill(pool: Pool, viewing: Viewing, exploration_share: float, read: ReadFragments) -> list[Shown]:
    """The slate: at most `limit` people of the pool, each eligible by the profile as it is now.

    One read of the slate's profiles as a rule. Where somebody drops out, others move up and are read and checked in turn,
    twice as many each time, so that a pool of 500 whom nobody may see any more costs six reads and not 25.
    """
    limit, ids, reused = viewing.request.limit, pool.id_array().tolist(), pool.reused()
    by_lots = lots_of(pool)
    left = _without(np.arange(len(ids)), ids, viewing.out())
    known: dict[int, Fragment] = {}
    ahead = 0
    while True:
        places = select(left, by_lots, limit, exploration_share)
        unread = [who for place in places if (who := ids[place.index]) not in known]
        if not unread:
            break
        unread += [who for at in left[:ahead].tolist() if (who := ids[at]) not in known and who not in unread]
        found = await read(unread)
        known.update(found)
        refused = {who for who in unread if who not in found or _refused(viewing, found[who].profile, reused.get(who, 1))}
        if not refused:
            break
        left = _without(left, ids, refused)
        ahead = max(limit, 2 * ahead)
    explores = bool(places) and places[-1].slot == "exploration"
    return _shown(pool, places, known, among(left, by_lots, limit) if explores else 0)


def _without(left: Places, ids: list[int], gone: Set[int]) -> Places:
    """The places of those who are not gone. Of a new pool nobody is."""
    if gone.isdisjoint(ids):
        return left
    return np.array([at for at in left.tolist() if ids[at] not in gone], np.int64)


def _refused(viewing: Viewing, candidate: Profile, incarnation: int) -> bool:
    """Whether this candidate, who is not `out`, may not be seen here, or the id is somebody else's than when it was scored as
    `incarnation`."""
    reason = unfit_reason(viewing.viewer.profile, candidate, viewing.request.filters, viewing.now)
    return reason is not None or candidate.incarnation != incarnation


def _shown(pool: Pool, places: list[Place], known: dict[int, Fragment], among: int) -> list[Shown]:
    rows = np.array([place.index for place in places], np.int64)
    ids, scores, found_by = (of.take(rows).tolist() for of in (pool.id_array(), pool.score_array(), pool.found_by_array()))
    shown = []
    for place, who, score, bits in zip(places, ids, scores, found_by, strict=True):
        # Scores keep four digits: more would be noise.
        entry = Entry(known[who], round(score, 4), place.slot, _sources(pool.source_names, bits))
        shown.append(Shown(entry, place.propensity, among if place.slot == "exploration" else 0))
    return shown


@lru_cache(1024)
def _sources(names: tuple[str, ...], bits: int) -> tuple[str, ...]:
    """Who found a candidate, as names; there are few different ones."""
    return tuple(name for i, name in enumerate(names) if bits >> i & 1)


def person_of(
    fragment: Fragment, match_score: float, slot: Literal["ranked", "exploration"], sources: tuple[str, ...]
) -> RecommendedPerson:
    """One person as the interface shows them."""
    return RecommendedPerson(**shown_of(fragment.profile), match_score=match_score, slot=slot, sources=sources)


def shown_of(profile: Profile) -> dict[str, Any]:
    """What everybody may know of a person. Not a base of the two Structs: theirs are in the order of the interface, in which
    figures come before times."""
    return {
        "id": profile.id,
        "name": profile.name,
        "age": profile.age,
        "gender": profile.gender,
        "location": profile.location,
        "bio": profile.bio,
        "interests": profile.interests,
        "created_at": profile.created_at,
        "last_active_at": profile.last_active_at,
    }
