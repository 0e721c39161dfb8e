"""People as pieces of JSON, encoded once and joined into many answers, byte for byte what msgspec makes of a Slate."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from service.domain import Degradation, ExperimentArm, Profile
from service.recommend.bounded import Bounded
from service.recommend.drops import Drops

ReadProfiles = Callable[[Sequence[int]], Awaitable[Mapping[int, Profile]]]

_encode = msgspec.json.Encoder().encode

_PROFILE_BYTES = 1000
"""A profile's Struct, numbers and headers of texts, beside the texts themselves; measured with tracemalloc."""


class _Before(msgspec.Struct, frozen=True):
    """What an answer tells of a person before the score, in the order of RecommendedPerson."""

    id: int
    name: str
    age: int | None
    gender: str | None
    location: str | None
    bio: str
    interests: tuple[str, ...]


class _After(msgspec.Struct, frozen=True):
    """What it tells after the sources."""

    created_at: datetime
    last_active_at: datetime | None


class Fragment(msgspec.Struct, frozen=True, eq=False):
    """A person as read, and their JSON up to the score and from `created_at` on."""

    profile: Profile
    head: bytes
    tail: bytes

    @property
    def n_bytes(self) -> int:
        """What it takes of memory, about: the texts are there twice, in the profile and in the JSON."""
        return 2 * (len(self.head) + len(self.tail)) + _PROFILE_BYTES


class Entry(NamedTuple):
    """One position of a slate."""

    fragment: Fragment
    match_score: float
    slot: Literal["ranked", "exploration"]
    sources: tuple[str, ...]


class SlateJson(msgspec.Struct, frozen=True, eq=False):
    """A Slate's JSON without what is new in each answer: up to the value of `generation_time_ms`, and from there to that of
    `slate_id`."""

    head: bytes
    tail: bytes

    def end(self, generation_time_ms: float, slate_id: UUID, request_id: str) -> bytes:
        """What follows `head`; `generation_time_ms` as it shall stand there, rounded."""
        return b'%b%b%b,"request_id":%b}' % (
            _encode(generation_time_ms),
            self.tail,
            _encode(slate_id),
            _encode(request_id),
        )


def fragment_of(profile: Profile) -> Fragment:
    before = _Before(
        profile.id, profile.name, profile.age, profile.gender, profile.location, profile.bio, tuple(profile.interests)
    )
    after = _After(profile.created_at, profile.last_active_at)
    return Fragment(profile, _encode(before)[:-1] + b',"match_score":', b"," + _encode(after)[1:])


def slate_head(
    entries: Sequence[Entry],
    algorithm_version: str,
    bundle_version: str | None,
    experiment: ExperimentArm | None,
    ordering: Literal["score", "market", "interleaved"] = "score",
) -> bytes:
    """The part of an answer that people and their ranking decide."""
    people = [
        b"".join((fragment.head, _encode(score), _found(slot, sources), fragment.tail))
        for fragment, score, slot, sources in entries
    ]
    about = _encode(
        {
            "total_count": len(people),
            "algorithm_version": algorithm_version,
            "bundle_version": bundle_version,
            "experiment": experiment,
            "ordering": ordering,
        }
    )
    return b"".join((b'{"recommendations":[', b",".join(people), b"],", about[1:-1], b',"generation_time_ms":'))


def slate_tail(cached: bool, degraded: Sequence[Degradation] = (), message: str | None = None) -> bytes:
    """The part of an answer that tells how it came about."""
    about = _encode({"cached": cached, "degraded": degraded, "message": message})
    return b"".join((b",", about[1:-1], b',"slate_id":'))


@lru_cache(maxsize=4096)
def _found(slot: str, sources: tuple[str, ...]) -> bytes:
    """How a person came into the slate. There are few different ones: each set of sources, twice."""
    return b"," + _encode({"slot": slot, "sources": sources})[1:-1]


class Fragments:
    """People's fragments by id, at most `max_bytes` of them; the longest unused goes first.

    Only while `usable()`: when it is known that news of changed profiles arrives. A fill that began before a drop of the same
    person is given to who asked and not kept.
    """

    def __init__(self, max_bytes: int, usable: Callable[[], bool]) -> None:
        self._usable = usable
        self._held: Bounded[int, Fragment] = Bounded("fragment", max_bytes, lambda fragment: fragment.n_bytes)
        self.drops = Drops()
        """Tells whether what was joined from fragments still shows people as they are."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def n_bytes(self) -> int:
        return self._held.n_bytes

    @property
    def usable(self) -> bool:
        """Whether what is held may be shown now."""
        return self._usable()

    async def many(
        self, ids: Sequence[int], read: ReadProfiles, is_truth: Callable[[], bool] = lambda: True
    ) -> dict[int, Fragment]:
        """The fragments of these people, in no order; those that are not held are read by one call of `read`. Whom that does
        not find is left out; what it found is kept if `is_truth` says so afterwards."""
        usable, since = self._usable(), self.drops.now
        found = self._held_of(ids) if usable else {}
        missing = [one for one in ids if one not in found]
        self._held.count(True, len(found))
        if not missing:
            return found
        self._held.count(False, len(missing))
        profiles = await read(missing)
        keeps = usable and self._usable() and is_truth()
        for person_id, profile in profiles.items():
            found[person_id] = fragment = fragment_of(profile)
            if keeps and self.drops.is_fresh((person_id,), since):
                self._held.put(person_id, fragment)
        return found

    def drop(self, ids: Iterable[int]) -> None:
        """Forget these people: their profiles have changed."""
        gone = list(ids)
        self.drops.drop(gone)
        for one in gone:
            self._held.pop(one)

    def clear(self) -> None:
        """Forget everybody: news may have been missed."""
        self.drops.drop_all()
        self._held.clear()

    def _held_of(self, ids: Sequence[int]) -> dict[int, Fragment]:
        return {one: fragment for one in ids if (fragment := self._held.get(one)) is not None}
