"""People like a given person, checked on what the database says now."""

from service.domain import Profile, Relations, SimilarPeople, SimilarPerson, Status
from service.recommend.ports import ModelSource, Trail
from service.recommend.profiles import Truth
from service.recommend.slates import shown_of
from service.resilience import Deadline
from service.telemetry import stage
from service.threads import ThreadDoor

SPARE = 20
"""Found beyond the limit, so that a few who were paused a moment ago leave no gap."""


class Similar:
    """Serves from memory when the database is away."""

    def __init__(self, models: ModelSource, truth: Truth, door: ThreadDoor) -> None:
        self._models = models
        self._truth = truth
        self._door = door

    async def find(self, person_id: int, limit: int, deadline: Deadline, request_id: str) -> SimilarPeople:
        """At most `limit` people, the most alike first; never the person, the inactive, or a blocked pair.

        Raises UnknownUser, and StageFailed when the search does not end before the deadline.
        """
        memory, trail = self._models.current.population, Trail()
        person, relations = await self._truth.both(person_id, memory, deadline, trail)
        people: list[SimilarPerson] = []
        if person is not None:
            with stage("similar"):
                asked = (person, relations.blocked, limit + SPARE)
                found = await self._door.call("similar", memory.similar, *asked, deadline=deadline)
            likeness = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
            profiles = await self._truth.profiles(list(likeness), memory, deadline, trail)
            living = (profiles[who] for who in likeness if who in profiles)
            people = [_shown(one, likeness[one.id]) for one in living if _may_show(one, person_id, relations)][:limit]
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
