"""Who asks, and how they stand to others: read once, and held for as long as nothing says that it has changed.

What is held bears the version token that was read from Redis before PostgreSQL was. Writers replace the token after the commit
and before the reply, so under an unchanged token it is what PostgreSQL says. Where a token's replacement was lost, the change
feed drops what contradicts it. Without Redis there is no token, and PostgreSQL is asked each time.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from service.domain import Degradation, Kind, Profile, Relations
from service.recommend.bounded import Bounded
from service.recommend.drops import Drops
from service.recommend.flights import SingleFlight
from service.recommend.pools import ViewerMarks
from service.recommend.ports import Population, Trail
from service.recommend.profiles import Truth
from service.repositories.columns import CODES
from service.resilience import Deadline

Ids = NDArray[np.int64]

_PROFILE_BYTES, _ID_BYTES = 700, 32

_STANDS: dict[int, tuple[tuple[str, str], bool]] = {
    CODES[Kind.LIKE]: (("liked", "liked_by"), True),
    CODES[Kind.PASS]: (("passed", "passed_by"), True),
    CODES[Kind.UNMATCH]: (("passed", "passed_by"), True),
    CODES[Kind.BLOCK]: (("blocked", "blocked"), True),
    CODES[Kind.UNLIKE]: (("liked", "liked_by"), False),
    CODES[Kind.UNPASS]: (("passed", "passed_by"), False),
    CODES[Kind.UNBLOCK]: (("blocked", "blocked"), False),
}
"""By the code of a kind: the relation of the actor and that of the target that it touches, and whether the other is in there
after it."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class ViewerState:
    """A viewer as last read. `token` None: nothing says how long this stands, so it serves one request."""

    token: str | None
    profile: Profile
    relations: Relations
    marks: ViewerMarks
    out: frozenset[int]
    """Whom the viewer is not shown with `exclude_seen`, the viewer included."""
    erasures: int
    """Up to which erasure it is known that nobody in the relations is gone."""

    @classmethod
    def of(cls, profile: Profile, relations: Relations, token: str | None = None, erasures: int = 0) -> "ViewerState":
        out = relations.hidden() | relations.seen() | {profile.id}
        return cls(token, profile, relations, ViewerMarks.of(profile, relations), out, erasures)

    @property
    def n_bytes(self) -> int:
        sides = _sides(self.relations)
        ids = sum(sys.getsizeof(side) + _ID_BYTES * len(side) for side in sides)
        return _PROFILE_BYTES + 2 * (len(self.profile.bio) + len(self.profile.name)) + ids + sys.getsizeof(self.out)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What one read brought. `degraded` is not empty when some of it is from memory."""

    profile: Profile | None
    relations: Relations
    degraded: tuple[Degradation, ...]


class Viewers:
    """States by viewer, at most `max_bytes` of them."""

    def __init__(self, truth: Truth, max_bytes: int) -> None:
        self._truth = truth
        self._held: Bounded[int, ViewerState] = Bounded("viewer", max_bytes, lambda state: state.n_bytes)
        self._reads: SingleFlight[_Read] = SingleFlight()
        self._reading: Counter[int] = Counter()
        self._drops = Drops()
        self._erasures = Drops()

    async def state(
        self, viewer_id: int, token: str | None, memory: Population, deadline: Deadline, trail: Trail
    ) -> ViewerState | None:
        """The viewer as of `token`, or, without one, as of now. None when the database is away and memory does not know them.
        Raises UnknownUser."""
        held = None if token is None else self.held(viewer_id, token)
        self._held.count(held is not None)
        if held is not None:
            return held
        since, erasures = self._drops.now, self._erasures.now
        read = await self._read(viewer_id, token, memory, deadline)
        trail.extend(read.degraded)
        if read.profile is None:
            return None
        return self._hold(ViewerState.of(read.profile, read.relations, token, erasures), read, since)

    def knows(self, viewer_id: int) -> bool:
        """Whether anything is held of the viewer, however old."""
        return viewer_id in self._held

    def held(self, viewer_id: int, token: str) -> ViewerState | None:
        """What is held under this very token."""
        state = self._held.get(viewer_id)
        if state is None or state.token != token:
            return None
        if state.erasures != self._erasures.now:
            if not self._erasures.is_fresh(chain(*_sides(state.relations)), state.erasures):
                self._held.pop(viewer_id)
                return None
            state.erasures = self._erasures.now
        return state

    def drop(self, ids: Iterable[int]) -> None:
        """Forget these people's states, also those that are being read."""
        gone = list(ids)
        self._drops.drop(gone)
        for viewer_id in gone:
            self._held.pop(viewer_id)

    def erased(self, ids: Iterable[int]) -> None:
        """These people are gone, also from the relations of others: their ids may become somebody else's."""
        gone = list(ids)
        self.drop(gone)
        self._erasures.drop(gone)

    def clear(self) -> None:
        self._drops.drop_all()
        self._held.clear()

    def heard(self, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None:
        """Drop what contradicts these events, whose kinds are codes: what is held, and what is being read, of which it cannot be
        known. 10,000 events of people who are not held take 4 ms."""
        held, reading = self._held.keys(), self._reading
        concerned = {who for who in {*actors.tolist(), *targets.tolist()} if who in held or who in reading}
        if not concerned:
            return
        ids = np.fromiter(concerned, np.int64)
        places = np.flatnonzero(np.isin(actors, ids) | np.isin(targets, ids))
        events = zip(actors[places].tolist(), targets[places].tolist(), kinds[places].tolist(), strict=True)
        gone = set()
        for actor, target, code in events:
            if actor in concerned and self._contradicts(actor, target, code, 0):
                gone.add(actor)
            if target in concerned and self._contradicts(target, actor, code, 1):
                gone.add(target)
        self.drop(gone)

    def _contradicts(self, viewer_id: int, other: int, code: int, direction: int) -> bool:
        stands = _STANDS.get(code)
        if stands is None:
            return False
        state = self._held.peek(viewer_id)
        if state is None or viewer_id in self._reading:
            return True
        sides, is_in = stands
        return (other in getattr(state.relations, sides[direction])) is not is_in

    def _hold(self, state: ViewerState, read: _Read, since: int) -> ViewerState:
        """The state, held unless it is from memory or may have changed while it was read."""
        if state.token is None or read.degraded or not self._drops.is_fresh((state.profile.id,), since):
            return state
        held = self._held.peek(state.profile.id)
        if held is not None and held.token == state.token:  # of several who read it together, the first to end
            return held
        self._held.put(state.profile.id, state)
        return state

    async def _read(self, viewer_id: int, token: str | None, memory: Population, deadline: Deadline) -> _Read:
        """One read for all who want the same at once. Nobody joins one that began before something was dropped."""
        if token is None:
            return await self._ask(viewer_id, memory, deadline)
        key = (viewer_id, token, self._drops.now, self._erasures.now)
        read, _ = await self._reads.run(key, lambda: self._ask(viewer_id, memory, deadline))
        return read

    async def _ask(self, viewer_id: int, memory: Population, deadline: Deadline) -> _Read:
        trail = Trail()
        self._reading[viewer_id] += 1
        try:
            profile, relations = await self._truth.viewer(viewer_id, memory, deadline, trail)
        finally:
            self._reading[viewer_id] -= 1
            if not self._reading[viewer_id]:
                del self._reading[viewer_id]
        return _Read(profile, relations, tuple(trail.degraded))


def _sides(relations: Relations) -> tuple[frozenset[int], ...]:
    return (relations.liked, relations.passed, relations.liked_by, relations.passed_by, relations.blocked)
