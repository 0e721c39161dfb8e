"""Steps 7 to 9: from a pool to the people shown, checked on what the database says now, and refilled when somebody drops out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from amity_rankers.contract import Ids, Mask

from service.domain import Profile, RecommendationRequest, RecommendedPerson, Relations
from service.recommend.eligibility import ineligible_reason, left_out
from service.recommend.pools import Pool
from service.recommend.selection import EXPLORING, Place, select

ReadProfiles = Callable[[Sequence[int]], Awaitable[Mapping[int, Profile]]]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One position of a slate."""

    person: RecommendedPerson
    propensity: float


@dataclass(frozen=True, slots=True, eq=False)
class Viewing:
    """Whose slate it is: the request, with the viewer and the relations that are its newest."""

    request: RecommendationRequest
    viewer: Profile
    relations: Relations
    now: datetime


async def fill(pool: Pool, viewing: Viewing, exploration_share: float, read_profiles: ReadProfiles) -> list[Shown]:
    """The slate: at most `limit` people of the pool, each eligible by the profile that was just read.

    One read of the slate's profiles as a rule. Where somebody drops out, others move up and are read and checked in turn,
    twice as many each time, so that a pool of 500 whom nobody may see any more costs six reads and not 25.
    """
    request = viewing.request
    ids, explorable, reused = pool.id_array(), _explorable(pool), pool.reused()
    out = left_out(viewing.relations, request)
    left = np.array([index for index, who in enumerate(ids.tolist()) if who not in out], np.int64)
    known: dict[int, Profile] = {}
    ahead = 0
    while True:
        places = select(ids[left], explorable[left], request.limit, exploration_share, pool.pool_id.int & (2**64 - 1))
        unread = [who for place in places if (who := int(ids[left[place.index]])) not in known]
        if not unread:
            return _shown(pool, left, places, known)
        unread += [who for who in ids[left[:ahead]].tolist() if who not in known and who not in unread]
        read = await read_profiles(unread)
        known.update(read)
        refused = {who for who in unread if who not in read or _refused(viewing, read[who], reused.get(who, 1))}
        if not refused:
            return _shown(pool, left, places, known)
        left = np.array([index for index in left.tolist() if int(ids[index]) not in refused], np.int64)
        ahead = max(request.limit, 2 * ahead)


def _refused(viewing: Viewing, candidate: Profile, incarnation: int) -> bool:
    """Whether nobody may see the candidate here, or the id is somebody else's than when it was scored as `incarnation`."""
    reason = ineligible_reason(viewing.viewer, candidate, viewing.relations, viewing.request, viewing.now)
    return reason is not None or candidate.incarnation != incarnation


def _explorable(pool: Pool) -> Mask:
    bits = sum(1 << i for i, name in enumerate(pool.source_names) if name in EXPLORING)
    return np.asarray((pool.found_by_array() & np.uint64(bits)) != 0)


def _shown(pool: Pool, left: Ids, places: list[Place], known: dict[int, Profile]) -> list[Shown]:
    ids, scores, found_by = pool.id_array(), pool.score_array(), pool.found_by_array()
    shown = []
    for place in places:
        index = int(left[place.index])
        bits = int(found_by[index])
        sources = tuple(name for i, name in enumerate(pool.source_names) if bits >> i & 1)
        person = person_of(known[int(ids[index])], float(scores[index]), place, sources)
        shown.append(Shown(person, place.propensity))
    return shown


def person_of(profile: Profile, score: float, place: Place, sources: tuple[str, ...]) -> RecommendedPerson:
    """One person as the interface shows them. Scores keep four digits: more would be noise."""
    return RecommendedPerson(
        **shown_of(profile),
        match_score=round(score, 4),
        slot=place.slot,
        sources=sources,
    )


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
