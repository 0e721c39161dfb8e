"""What the orchestrator needs of the world, as Protocols: it knows no HTTP, no Redis and no SQL, and runs in tests with fakes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from amity_rankers.contract import CandidateSource, Floats, Found, Ids, Mask, People
from numpy.typing import NDArray

from service.domain import (
    Degradation,
    Filters,
    Impression,
    Profile,
    Relations,
    ServedFeatures,
)
from service.experiments.routing import Router
from service.fleet.tokens import Asked, Tokens
from service.fleet.wire import Command
from service.plugins import LoadedRanker
from service.resilience import Deadline


class PeopleStore(Protocol):
    """People as the database has them. Raises DatabaseUnavailable."""

    async def viewer(self, person_id: int, /) -> tuple[Profile, Relations] | None:
        """Who asks, and how they stand to others."""
        ...

    async def many(self, ids: Sequence[int], /) -> Mapping[int, Profile]: ...


class TokenSource(Protocol):
    """A viewer's tokens, and what is read together with them. Losing Redis raises nothing."""

    async def read(
        self, viewer_id: int, extra_keys: Sequence[str], deadline: Deadline, is_stranger: bool = False
    ) -> tuple[Tokens, list[bytes | None]] | None: ...

    def begin_read(self, viewer_id: int) -> Asked | None:
        """Ask for the tokens alone, and make none; None at once while Redis is known to be away."""
        ...

    async def changed(self, viewer_ids: Collection[int]) -> bool: ...

    async def drop_pools(self, viewer_ids: Collection[int] | None) -> bool: ...

    def prolonged(self, viewer_id: int) -> list[Command]: ...


class SharedStore(Protocol):
    """What all replicas write to; None while it is away."""

    async def run(self, what: str, commands: Sequence[Command], deadline: Deadline) -> list[Any] | None: ...


class LeaseOffice(Protocol):
    """Who computes what: one in the fleet."""

    async def contend(
        self, key: str, owner: str, life_ms: int, names: Sequence[str]
    ) -> tuple[bool, list[bytes | None]] | None: ...

    async def release(self, key: str, owner: str) -> None: ...

    def releasing(self, key: str, owner: str) -> list[Command]: ...


class ImpressionSink(Protocol):
    """Takes what was shown, at once; writes it later. `features` come with the first slate of a computed pool, or alone with one
    that was made before anybody saw it."""

    def offer(self, impression: Impression | None, features: ServedFeatures | None) -> None: ...


class Asking(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Who asks for whom: all that decides who is eligible. `without` are left out for this request alone."""

    viewer: Profile
    relations: Relations
    filters: Filters
    exclude_seen: bool
    now_s: float
    without: frozenset[int] = frozenset()


class EligiblePeople(People, Protocol):
    """Everyone eligible for one Asking, as sources see them, and what the service itself asks about them."""

    @property
    def is_prepared(self) -> bool:
        """Whether it is known already who is eligible; if not, whoever asks first finds out, and all others wait."""
        ...

    @property
    def prepared_s(self) -> float:
        """When that became known, in seconds of `perf_counter`; asking finds it out."""
        ...

    def prepare(self) -> None:
        """Find out who is eligible. Safe in threads."""
        ...

    def searches(self) -> dict[str, str | int | float]:
        """How vectors were searched so far, as attributes of a span."""
        ...

    def contains(self, ids: Ids) -> Mask:
        """Which of `ids`, int64 (n,), are eligible: bool (n,)."""
        ...

    def incarnations(self, ids: Ids) -> NDArray[np.int32]:
        """Which person each of `ids` stood for when this view was made, int32 (n,); 0 where that is no longer known."""
        ...

    def features(self, ids: Ids, names: tuple[str, ...]) -> Floats:
        """The features of people of this population, float32 (n, len(names))."""
        ...


class Population(Protocol):
    """A replica's picture of everyone, in memory."""

    @property
    def bundle_version(self) -> str | None: ...

    @property
    def n_people(self) -> int: ...

    def profile(self, person_id: int) -> Profile | None:
        """The person as last known; None for the unknown and the erased."""
        ...

    def at_hand(self, person_id: int) -> Profile | None:
        """The same where it takes no waiting for a disk; else None."""
        ...

    def relations(self, person_id: int) -> Relations: ...

    def eligible(self, asking: Asking) -> EligiblePeople: ...

    def similar(self, person: Profile, hidden: frozenset[int], k: int) -> Found:
        """The k active people most like `person` in content and taste, without the person and the hidden; scores in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is swapped whole with a bundle: people and the rankers trained on them, and what they replaced, if anything."""

    population: Population
    rankers: Mapping[str, LoadedRanker]
    replaced: "Replaced | None" = None


@dataclass(frozen=True, slots=True)
class Replaced:
    """The bundle that served before, and when it ceased to, in monotonic seconds."""

    bundle_version: str | None
    at_s: float


class ModelSource(Protocol):
    """Where the models stand now; a request takes them once and keeps them to its end."""

    @property
    def current(self) -> Models: ...


class RouterSource(Protocol):
    """Who ranks for whom, as experiments stand now."""

    @property
    def router(self) -> Router: ...


class NamedSource(Protocol):
    """A candidate source under the name it is installed as."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> CandidateSource: ...

    @property
    def own(self) -> bool:
        """Whether it is our own, which does not hang."""
        ...


class Trail:
    """What was bent while answering one request."""

    def __init__(self) -> None:
        self.degraded: list[Degradation] = []

    def bend(self, stage: str, reason: str, fallback: str | None) -> None:
        found = Degradation(stage, reason, fallback)
        self.extend((found,))

    def extend(self, degraded: Iterable[Degradation]) -> None:
        """What was bent elsewhere, for this request too."""
        self.degraded.extend(found for found in degraded if found not in self.degraded)
