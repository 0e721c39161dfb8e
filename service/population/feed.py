"""The change feed, tailed: what anyone commits is in this replica's memory a fraction of a second later."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Literal, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import structlog
from numpy.typing import NDArray

from service.domain import Change, Kind
from service.errors import AmityError
from service.metrics import FEED_CHANGES, FEED_FAILURES, FEED_LAG, FEED_LAST_POLL
from service.population.holder import PopulationHolder
from service.population.loader import ERASURES_AT_ONCE, PEOPLE_A_READ, Origin, apply_profiles, erase, reconcile
from service.population.population import Population
from service.repositories.changes import is_all
from service.repositories.columns import CODES

T = TypeVar("T")
Ids = NDArray[np.int64]

_LOG = structlog.get_logger("amity.population")

_INTERACTIONS_AT_ONCE = 1_000
"""Applied before other tasks get their turn: 2 ms among a million people and ten million relations."""

_FOLDED_AT_ONCE, _FOLDS_A_LOOK = 6, 96
"""People of the overlay whose tastes are made anew between two turns, 1.5 ms where each has a hundred opinions, and after a look
at the feed: a tenth of the time. More wait for the next look."""

_LONGEST_PAUSE_S = 5.0
_LOOK_BEYOND_S = 1.0
"""Between two looks at what was not read yet or is held back: one more read, of a row as a rule."""


class Audience(Protocol):
    """Who holds what the feed may contradict: told on the event loop, of each change that is applied to any population.

    `now` is its clock, which ticks with all that it is told of people, by whomever.
    """

    @property
    def now(self) -> int: ...

    def changed(self, people: Sequence[int]) -> None:
        """Profiles, of people new and old."""
        ...

    def erased(self, people: Sequence[int]) -> None: ...

    def heard(self, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None:
        """Interactions in the order in which they were written; `kinds` are codes."""
        ...

    def lost(self) -> None:
        """Anything may have changed."""
        ...

    def caught_up(self, people: Population, since: int) -> None:
        """All that was committed of profiles when the clock showed `since` is in this population."""
        ...


class Nobody:
    """The audience of a feed that nobody listens to."""

    now = 0

    def changed(self, people: Sequence[int]) -> None: ...

    def erased(self, people: Sequence[int]) -> None: ...

    def heard(self, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None: ...

    def lost(self) -> None: ...

    def caught_up(self, people: Population, since: int) -> None: ...


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
        audience: Audience | None = None,
    ) -> None:
        self._origin = origin
        self._holder = holder
        self._poll_s = poll_ms / 1000
        self._listeners = dict(listeners or {})
        self.audience: Audience = audience or Nobody()
        self._nudged = asyncio.Event()
        # The highest change_id that each population has: a lower one that comes later was perhaps overtaken by it.
        self._newest: WeakKeyDictionary[Population, int] = WeakKeyDictionary()
        self._looked_beyond_s = float("-inf")

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
                people, since = self._holder.current, self.audience.now
                await self.catch_up()
                await self._look_beyond(people, since)
                await self._fold_in()
                failures = 0
            except AmityError as exc:
                failures += 1
                FEED_FAILURES.inc()
                if failures == 1:
                    _LOG.warning("change feed cannot be read", reason=exc.message)
            await self._pause(min(_LONGEST_PAUSE_S, self._poll_s * 2 ** min(failures, 10)))

    async def close_gap(self) -> None:
        """When the feed no longer reaches back to the population's position, compare it with the database whole."""
        people = self._holder.current
        if await self._origin.changes.has_gap(people.position):
            _LOG.warning("gap in the change feed; comparing everyone with the database")
            await reconcile(self._origin, people)
            self.audience.lost()
            self._newest.pop(people, None)
            self._holder.report()

    async def catch_up(self, population: Population | None = None) -> int:
        """Apply all that is committed by now to a population, the serving one unless another is given; how many changes."""
        n_applied = 0
        while True:
            people = population or self._holder.current
            if people not in self._newest:
                self._newest[people] = await self._origin.changes.newest(people.position)
            changes = await self._origin.changes.read(people.position)
            FEED_LAST_POLL.set_to_current_time()
            for is_erasure, run in groupby(changes, key=lambda change: change.entity == "erasure"):
                await (self._apply_erasures if is_erasure else self._apply)(people, list(run))
            n_applied += len(changes)
            if changes:
                self._holder.report()
            if is_all(changes):
                return n_applied

    async def _look_beyond(self, people: Population, since: int) -> None:
        """How far behind the feed is now, after it was read to its end for `people`, which began when it was `since`."""
        if time.monotonic() - self._looked_beyond_s < _LOOK_BEYOND_S:
            return
        self._looked_beyond_s = time.monotonic()
        beyond = await self._origin.changes.beyond(self._holder.current.position)
        FEED_LAG.set(beyond.waiting_s)
        if not beyond.of_people and self._holder.current is people:
            self.audience.caught_up(people, since)

    async def _fold_in(self) -> None:
        for _ in range(0, _FOLDS_A_LOOK, _FOLDED_AT_ONCE):
            if not self._holder.current.fold_in(_FOLDED_AT_ONCE):
                return
            await asyncio.sleep(0)

    async def _apply(self, people: Population, changes: Sequence[Change]) -> None:
        """Changes between two erasures: first the people, then what they did. Profiles are read as they are now, whatever their
        place among the changes, so that only the order of interactions and erasures matters."""
        of = {entity: [change for change in changes if change.entity == entity] for entity in ("user", "interaction")}
        if of["user"]:
            await self._apply_users(people, of["user"])
        if of["interaction"]:
            await self._apply_interactions(people, of["interaction"])
        for entity in dict.fromkeys(change.entity for change in changes):
            if entity in self._listeners:
                self._listeners[entity]()
        self._moved_on(people, changes)

    async def _apply_users(self, people: Population, changes: Sequence[Change]) -> None:
        """Read those people as they are now; who is not there any more has been erased since, and goes at once."""
        for some in _chunks(_people_of(changes), PEOPLE_A_READ):
            self.audience.changed(some)
            found = await self._origin.users.many(some)
            await erase(people, [person_id for person_id in some if person_id not in found])
            await apply_profiles(people, list(found.values()))

    async def _apply_erasures(self, people: Population, changes: Sequence[Change]) -> None:
        """Forget those people, and who is there under such an id now is taken in as somebody new. In one turn, so that nobody
        misses the newcomer in between; what the newcomer did comes later in the feed, for writers hold erasures up."""
        for some in _chunks(_people_of(changes), ERASURES_AT_ONCE):
            self.audience.erased(some)
            found = await self._origin.users.many(some)
            people.erase(some)
            people.apply_profiles(found.values())
            await asyncio.sleep(0)
        self._moved_on(people, changes)

    async def _apply_interactions(self, people: Population, changes: Sequence[Change]) -> None:
        """In the order in which rows were written. What a change already applied may have overtaken is read from the database."""
        self.audience.heard(*_joined(changes))
        newest = self._newest[people]
        in_order = sorted(changes, key=lambda change: change.position.change_id)
        late, rest = ([one for one in in_order if (one.position.change_id < newest) is is_late] for is_late in (True, False))
        if rest:
            await _apply_events(people, *_joined(rest))
        if late:
            actors, targets, kinds = _joined(late)
            wrote = kinds == CODES[Kind.MESSAGE]
            await _apply_events(people, actors[wrote], targets[wrote], kinds[wrote])
            await _apply_events(people, *await self._origin.changes.standing(actors, targets))

    def _moved_on(self, people: Population, changes: Sequence[Change]) -> None:
        people.position = changes[-1].position
        self._newest[people] = max(self._newest[people], *(change.position.change_id for change in changes))
        for entity, n in Counter(change.entity for change in changes).items():
            FEED_CHANGES.labels(entity).inc(n)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):  # nobody nudged: time for the next look
            # Not wait_for, which in Python 3.11 swallows a cancellation that comes together with a nudge.
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        self._nudged.clear()


async def _apply_events(people: Population, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None:
    for start in range(0, len(actors), _INTERACTIONS_AT_ONCE):
        part = slice(start, start + _INTERACTIONS_AT_ONCE)
        people.apply_interactions(actors[part], targets[part], kinds[part])
        await asyncio.sleep(0)


def _joined(changes: Sequence[Change]) -> tuple[Ids, Ids, NDArray[np.int8]]:
    parts = tuple(zip(*((change.ids, change.others, change.kinds) for change in changes), strict=True))
    return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2])


def _people_of(changes: Sequence[Change]) -> list[int]:
    ids: list[int] = np.unique(np.concatenate([change.ids for change in changes])).tolist()
    return ids


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
