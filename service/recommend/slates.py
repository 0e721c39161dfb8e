"""Steps 7 to 9: from a pool to the people shown, checked on what the database says now, and refilled when somebody drops out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from amity_rankers.contract import Ids, Mask

from service.domain import Profile, RecommendationRequest, RecommendedPerson
from service.recommend.eligibility import ineligible_reason, left_out
from service.recommend.fragments import Entry, Fragment
from service.recommend.pools import Pool
from service.recommend.selection import Place, bits_of, explorable, lowest_lots, select
from service.recommend.viewers import ViewerState

ReadFragments = Callable[[Sequence[int]], Awaitable[Mapping[int, Fragment]]]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
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
    request = viewing.request
    ids, may_explore, reused = pool.id_array(), explorable(pool.source_names, pool.found_by_array()), pool.reused()
    seed = pool.lot_seed
    out = viewing.out()
    left = np.array([index for index, who in enumerate(ids.tolist()) if who not in out], np.int64)
    known: dict[int, Fragment] = {}
    ahead = 0
    while True:
        places = select(ids[left], may_explore[left], request.limit, exploration_share, seed)
        unread = [who for place in places if (who := int(ids[left[place.index]])) not in known]
        if not unread:
            break
        unread += [who for who in ids[left[:ahead]].tolist() if who not in known and who not in unread]
        found = await read(unread)
        known.update(found)
        refused = {who for who in unread if who not in found or _refused(viewing, found[who].profile, reused.get(who, 1))}
        if not refused:
            break
        left = np.array([index for index in left.tolist() if int(ids[index]) not in refused], np.int64)
        ahead = max(request.limit, 2 * ahead)
    explores = bool(places) and places[-1].slot == "exploration"
    return _shown(pool, left, places, known, _among(pool, may_explore, left[request.limit :]) if explores else 0)


def _among(pool: Pool, may_explore: Mask, behind: Ids) -> int:
    """Who of those with the pool's lowest lots could be drawn: all of them who are `behind` the first of the slate."""
    could = np.zeros(len(pool), np.bool_)
    could[behind] = True
    return bits_of(could[lowest_lots(pool.id_array(), may_explore, pool.lot_seed)])


def _refused(viewing: Viewing, candidate: Profile, incarnation: int) -> bool:
    """Whether nobody may see the candidate here, or the id is somebody else's than when it was scored as `incarnation`."""
    viewer = viewing.viewer
    reason = ineligible_reason(viewer.profile, candidate, viewer.relations, viewing.request, viewing.now)
    return reason is not None or candidate.incarnation != incarnation


def _shown(pool: Pool, left: Ids, places: list[Place], known: dict[int, Fragment], among: int) -> list[Shown]:
    rows = left[[place.index for place in places]] if places else left[:0]
    arrays = (pool.id_array(), pool.score_array(), pool.found_by_array())
    ids, scores, found_by = (array[rows].tolist() for array in arrays)
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
