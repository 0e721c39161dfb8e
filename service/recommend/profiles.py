"""Viewer, relations and profiles as the database has them now, or, while it is away, as memory knows them; profiles held where
news of their changes arrives."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from service.domain import Profile, Relations
from service.errors import CircuitOpen, StageFailed, UnknownUser
from service.recommend.drops import Drops
from service.recommend.fragments import Fragment, Fragments
from service.recommend.ports import PeopleStore, Population, Trail
from service.recommend.settled import Settled
from service.recommend.stages import enter
from service.resilience import Breaker, Deadline, bounded
from service.telemetry import stage

T = TypeVar("T")

LEAST_S = 0.02
"""A read gets this long even when slow rankers have used up the deadline: fresh profiles and blocks are worth it."""


class Truth:
    """Reads with one breaker for all, so that a database that hangs costs its timeout a few times and not each time."""

    def __init__(self, people: PeopleStore, breaker: Breaker, timeout_s: float) -> None:
        self._people = people
        self._breaker = breaker
        self._timeout_s = timeout_s

    async def viewer(
        self, viewer_id: int, memory: Population, deadline: Deadline, trail: Trail
    ) -> tuple[Profile | None, Relations]:
        """The viewer, and how they stand to others: one read, told as two stages: `degraded` and dashboards know both. None when
        the database is away and memory does not know them. Raises UnknownUser."""
        try:
            with stage("relations"):
                found = await enter("viewer", self._breaker, lambda: self._within(self._people.viewer(viewer_id), deadline))
        except StageFailed as exc:
            _bend("viewer", exc, trail)
            _bend("relations", exc, trail)
            return memory.profile(viewer_id), memory.relations(viewer_id)
        if found is None:
            raise UnknownUser(viewer_id)
        return found

    async def profiles(self, ids: Sequence[int], memory: Population, deadline: Deadline, trail: Trail) -> Mapping[int, Profile]:
        """The people of `ids` who exist, in one read."""
        try:
            return await enter("profiles", self._breaker, lambda: self._within(self._people.many(ids), deadline))
        except StageFailed as exc:
            _bend("profiles", exc, trail)
        known = ((person_id, memory.profile(person_id)) for person_id in ids)
        return {person_id: profile for person_id, profile in known if profile is not None}

    async def _within(self, reading: Awaitable[T], deadline: Deadline) -> T:
        return await bounded(reading, deadline.at_most(self._timeout_s, LEAST_S))


class Faces:
    """Profiles of those who are shown: held, settled or read."""

    def __init__(self, truth: Truth, fragments: Fragments, settled: Settled) -> None:
        self._truth = truth
        self._fragments = fragments
        self._settled = settled

    @property
    def drops(self) -> Drops:
        """Tells whether what was made of profiles still shows people as they are."""
        return self._fragments.drops

    async def many(self, ids: Sequence[int], memory: Population, deadline: Deadline, trail: Trail) -> Mapping[int, Fragment]:
        """The people of `ids` who exist, in one read at most. What memory knows while the database is away is not held."""
        own = Trail()

        async def read(missing: Sequence[int]) -> Mapping[int, Profile]:
            known = self._settled.of(missing, memory) if self._fragments.usable else {}
            unknown = [one for one in missing if one not in known]
            return {**known, **await self._truth.profiles(unknown, memory, deadline, own)} if unknown else known

        found = await self._fragments.many(ids, read, lambda: not own.degraded)
        trail.extend(own.degraded)
        return found


def _bend(name: str, exc: StageFailed, trail: Trail) -> None:
    trail.bend(name, "unavailable" if isinstance(exc, CircuitOpen) else exc.reason, "memory")
