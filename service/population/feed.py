"""The change feed, tailed: what anyone commits is in this replica's memory a fraction of a second later."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Literal, TypeVar

import structlog

from service.domain import Change, Profile
from service.errors import AmityError
from service.population.holder import PopulationHolder
from service.population.loader import Origin, from_database
from service.population.population import Population
from service.telemetry import FEED_CHANGES, FEED_FAILURES, FEED_LAST_POLL

T = TypeVar("T")

_LOG = structlog.get_logger("amity.population")

_PROFILES_AT_ONCE = 50
_INTERACTIONS_AT_ONCE = 250
"""Applied before other tasks get their turn: a profile takes 0.1 ms with its content vector, an interaction 0.02 ms."""

_USERS_A_READ = 100
_MOST_CHANGES_A_READ = 8
_ENTRIES_A_READ = 5_000
"""A change holds from one to 10,000 ids, and decoding 10,000 takes 10 ms, in which nobody else gets a turn. How many changes are
asked for follows how many ids the last ones held; 8 small ones a read are some 4,000 a second, more than writers bring."""

_LONGEST_PAUSE_S = 5.0


class ChangeFeed:
    """Keeps `holder.current` up to date. Position and state live in the population, so a swap loses and repeats nothing.

    `listeners` are called, on the event loop, after a change of an entity that is not this room's: `bundle`, `experiment`.
    """

    def __init__(
        self,
        origin: Origin,
        holder: PopulationHolder[Any],
        poll_ms: int,
        listeners: Mapping[Literal["bundle", "experiment"], Callable[[], None]] | None = None,
    ) -> None:
        self._origin = origin
        self._holder = holder
        self._poll_s = poll_ms / 1000
        self._listeners = dict(listeners or {})
        self._nudged = asyncio.Event()
        self._changes_a_read = 1

    def nudge(self) -> None:
        """Look at the feed at once: this replica has just written."""
        self._nudged.set()

    async def run(self) -> None:
        """Tail the feed until cancelled. While the database is away it is asked again, less and less often."""
        failures = 0
        while True:
            try:
                if failures:  # what happened meanwhile may be more than the feed kept, or another server may answer
                    await self.close_gap()
                await self.catch_up()
                failures = 0
            except AmityError as exc:
                failures += 1
                FEED_FAILURES.inc()
                if failures == 1:
                    _LOG.warning("change feed cannot be read", reason=exc.message)
            await self._pause(min(_LONGEST_PAUSE_S, self._poll_s * 2 ** min(failures, 10)))

    async def close_gap(self) -> None:
        """When the feed no longer reaches back to the population's position, read the database whole and go on from there."""
        people = self._holder.current
        if await self._origin.changes.has_gap(people.position):
            _LOG.warning("gap in the change feed; reading the database whole")
            renewed = await from_database(self._origin, people)
            if self._holder.current is people:  # else another bundle took its place meanwhile, with a position of its own
                self._holder.renew(renewed)

    async def catch_up(self, population: Population | None = None) -> int:
        """Apply all that is committed by now to a population, the serving one unless another is given; how many changes."""
        n_applied = 0
        while True:
            people = population or self._holder.current
            limit = self._changes_a_read
            changes = await self._origin.changes.read(people.position, limit)
            FEED_LAST_POLL.set_to_current_time()
            await self._apply(people, changes)
            n_applied += len(changes)
            self._learn_size(changes)
            if len(changes) < limit:
                if n_applied:
                    self._holder.report()
                return n_applied

    async def _apply(self, people: Population, changes: Sequence[Change]) -> None:
        for entity, run in groupby(changes, key=lambda change: change.entity):
            same = list(run)
            if entity == "user":
                await self._apply_users(people, same)
            elif entity == "erasure":
                await self._apply_erasures(people, same)
            elif entity == "interaction":
                await _apply_interactions(people, same)
            elif entity in self._listeners:
                self._listeners[entity]()
            people.position = same[-1].position
            FEED_CHANGES.labels(entity).inc(len(same))

    async def _apply_users(self, people: Population, changes: Iterable[Change]) -> None:
        """Read those people as they are now; who is not there any more has been erased since, and goes at once."""
        ids = list(dict.fromkeys(person_id for change in changes for person_id in change.ids))
        for some in _chunks(ids, _USERS_A_READ):
            found = await self._origin.users.many(some)
            people.erase(person_id for person_id in some if person_id not in found)
            profiles: list[Profile] = list(found.values())
            for few in _chunks(profiles, _PROFILES_AT_ONCE):
                people.apply_profiles(few)
                await asyncio.sleep(0)

    async def _apply_erasures(self, people: Population, changes: Iterable[Change]) -> None:
        """Forget those people, and who is there under such an id now is taken in as somebody new. In one turn, so that nobody
        misses the newcomer in between; what the newcomer did comes later in the feed, for writers hold erasures up."""
        for some in _chunks([person_id for change in changes for person_id in change.ids], _PROFILES_AT_ONCE):
            found = await self._origin.users.many(some)
            people.erase(some)
            people.apply_profiles(found.values())
            await asyncio.sleep(0)

    def _learn_size(self, changes: Sequence[Change]) -> None:
        if changes:
            mean = max(1, sum(len(change.ids) for change in changes) // len(changes))
            fitting = min(2 * self._changes_a_read, _ENTRIES_A_READ // mean)
            self._changes_a_read = max(1, min(_MOST_CHANGES_A_READ, fitting))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):  # nobody nudged: time for the next look
            # Not wait_for, which in Python 3.11 swallows a cancellation that comes together with a nudge.
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        self._nudged.clear()


async def _apply_interactions(people: Population, changes: Iterable[Change]) -> None:
    for change in changes:
        for part in _chunks(range(len(change.ids)), _INTERACTIONS_AT_ONCE):
            span = slice(part[0], part[-1] + 1)
            people.apply_interactions(change.ids[span], change.others[span], change.kinds[span])
            await asyncio.sleep(0)


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
