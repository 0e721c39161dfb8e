"""People like a given person, checked on what the database says now."""

from dataclasses import dataclass

from service.domain import Profile, Relations, SimilarPeople, SimilarPerson, Status
from service.recommend.pool_store import Pools
from service.recommend.ports import ModelSource, Trail
from service.recommend.profiles import Faces
from service.recommend.slates import shown_of
from service.recommend.viewers import Viewers
from service.resilience import Deadline
from service.telemetry import stage
from service.threads import ThreadDoor

SPARE = 20
"""Found beyond the limit, so that a few who were paused a moment ago leave no gap."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Similar:
    """Serves from memory when the database is away."""

    models: ModelSource
    pools: Pools
    viewers: Viewers
    faces: Faces
    door: ThreadDoor

    async def find(self, person_id: int, limit: int, deadline: Deadline, trail: Trail, request_id: str) -> SimilarPeople:
        """At most `limit` people, the most alike first; never the person, the inactive, or a blocked pair.

        What was bent is in the trail. Raises UnknownUser, and StageFailed when the search does not end before the deadline.
        """
        memory = self.models.current.population
        tokens = await self.pools.tokens(person_id, deadline)
        viewer = await self.viewers.state(person_id, None if tokens is None else tokens.version, memory, deadline, trail)
        people: list[SimilarPerson] = []
        if viewer is not None:
            with stage("similar"):
                asked = (viewer.profile, viewer.relations.blocked, limit + SPARE)
                found = await self.door.call("similar", memory.similar, *asked, deadline=deadline)
            likeness = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
            known = await self.faces.many(list(likeness), memory, deadline, trail)
            living = (known[who].profile for who in likeness if who in known)
            people = [_shown(one, likeness[one.id]) for one in living if _may_show(one, person_id, viewer.relations)][:limit]
        return SimilarPeople(
            similar=tuple(people),
            total_count=len(people),
            bundle_version=memory.bundle_version,
            request_id=request_id,
        )


def _may_show(candidate: Profile, person_id: int, relations: Relations) -> bool:
    return candidate.id != person_id and candidate.status is Status.ACTIVE and candidate.id not in relations.blocked


def _shown(profile: Profile, similarity: float) -> SimilarPerson:
    return SimilarPerson(**shown_of(profile), similarity=round(similarity, 4))
