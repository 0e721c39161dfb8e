"""What the rooms of the house hand one another: frozen, without behaviour, without I/O."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

PersonId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Ids are 1 to 2^63-1."""


class Status(enum.StrEnum):
    """Only the active are shown to anyone."""

    ACTIVE = "active"
    PAUSED = "paused"
    BANNED = "banned"


class Kind(enum.StrEnum):
    """What one person did to another. Of like and pass the later one stands; withdrawals undo what stands."""

    LIKE = "like"
    PASS = "pass"
    BLOCK = "block"
    MESSAGE = "message"
    VIEW = "view"
    UNLIKE = "unlike"
    UNPASS = "unpass"
    UNBLOCK = "unblock"
    UNMATCH = "unmatch"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One person, with what they seek. An empty `seeks_genders` and a None bound mean no preference."""

    id: PersonId
    name: str
    age: int | None = None
    gender: str | None = None
    location: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    bio: str = ""
    interests: tuple[str, ...] = ()
    seeks_genders: tuple[str, ...] = ()
    seeks_min_age: int | None = None
    seeks_max_age: int | None = None
    seeks_max_km: float | None = None
    status: Status = Status.ACTIVE
    created_at: datetime
    last_active_at: datetime | None = None
    incarnation: int = 1
    """Grows by one each time an erased id is used again for somebody new."""


NO_TIME = datetime.max.replace(tzinfo=UTC)
"""The `occurred_at` of what was given none: still to come, as any that the database's clock has not reached."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    actor_id: PersonId
    target_id: PersonId
    kind: Kind
    occurred_at: datetime
    """What is still to come when it is recorded is recorded as done then."""
    event_id: str | None = None
    slate_id: UUID | None = None


class Relations(msgspec.Struct, frozen=True, eq=False):
    """How one viewer stands to others, now: the part of the eligibility rules that interactions decide.

    `liked` and `passed` are the viewer's standing opinions; `liked_by` and `passed_by` those of others on the viewer;
    `blocked` holds both directions.
    """

    liked: frozenset[int] = frozenset()
    passed: frozenset[int] = frozenset()
    liked_by: frozenset[int] = frozenset()
    passed_by: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()

    def hidden(self) -> frozenset[int]:
        """Whom the viewer never sees: blocked either way, or having passed the viewer."""
        return self.blocked | self.passed_by

    def seen(self) -> frozenset[int]:
        """Whom `exclude_seen` leaves out."""
        return self.liked | self.passed


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """A request's filters. Texts are casefolded and sorted, so that equal filters are equal. An unknown value fails."""

    min_age: int | None = None
    max_age: int | None = None
    genders: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    max_km: float | None = None
    active_within_days: int | None = None


class RecommendationRequest(msgspec.Struct, frozen=True, kw_only=True):
    viewer_id: PersonId
    limit: int = 20
    exclude_seen: bool = True
    exclude_ids: frozenset[int] = frozenset()
    filters: Filters = Filters()
    algorithm_version: str | None = None
    use_cache: bool = True
    recorded: bool = True
    """False when nobody gets to see the slate: then no impression says that somebody did, and no figure of answers counts it."""
    explain: bool = False
    request_id: str = ""


class Degradation(msgspec.Struct, frozen=True):
    """One thing that was bent so that the request could be answered."""

    stage: str
    reason: str
    fallback: str | None


class ExperimentArm(msgspec.Struct, frozen=True):
    name: str
    arm: str


Reasons = Annotated[tuple[str, ...], msgspec.Meta(description="Only with `explain`: why, at most 3, the strongest first")]
Explained = Annotated[
    bool, msgspec.Meta(description="Only with `explain`: false where a ranker could not tell its reasons, which are then empty")
]


class RecommendedPerson(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    age: int | None
    gender: str | None
    location: str | None
    bio: str
    interests: tuple[str, ...]
    match_score: float
    slot: Literal["ranked", "exploration"]
    sources: tuple[str, ...]
    created_at: datetime
    last_active_at: datetime | None
    reasons: Reasons | UnsetType = UNSET


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request, to the letter of the interface."""

    recommendations: tuple[RecommendedPerson, ...]
    total_count: int
    algorithm_version: str
    bundle_version: str | None
    experiment: ExperimentArm | None
    ordering: Literal["score", "market", "interleaved"]
    generation_time_ms: float
    cached: bool
    degraded: tuple[Degradation, ...]
    message: str | None
    explained: Explained | UnsetType = UNSET
    slate_id: UUID
    request_id: str


class SimilarPerson(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    age: int | None
    gender: str | None
    location: str | None
    bio: str
    interests: tuple[str, ...]
    similarity: float
    created_at: datetime
    last_active_at: datetime | None


class SimilarPeople(msgspec.Struct, frozen=True, kw_only=True):
    similar: tuple[SimilarPerson, ...]
    total_count: int
    bundle_version: str | None
    request_id: str


class ShownPeople(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """The people of a slate, best first: the i-th entries belong to position i + 1. One and the same object when a slate is
    served again, so that what is made of it need not be made again."""

    candidate_ids: tuple[int, ...]
    scores: tuple[float, ...]
    propensities: tuple[float, ...]
    """1 for ranked slots; for exploration slots the probability of the draw, once the pool was what it was, among those of its
    candidates who could still be shown and explored. It says nothing about how the candidate came into the pool."""
    exploration: tuple[bool, ...]
    sources: tuple[tuple[str, ...], ...]
    hopefuls: int = 0
    """Among whom the exploration slots were drawn: bit i is set when the i-th `explorable` row of the pool's features was one of
    them. 0 without such slots."""


class Impression(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One slate as it was shown."""

    slate_id: UUID
    request_id: str
    viewer_id: int
    served_at: datetime
    algorithm_version: str
    bundle_version: str | None
    experiment: ExperimentArm | None
    pool_id: UUID
    people: ShownPeople
    cached: bool
    degraded: bool
    teams: tuple[int, ...] | None = None
    """Of an interleaved slate: the ranker, 0 or 1, that brought the person of each position, or -1 where the other had nobody
    left to bring. None: not interleaved, or such that it must not be counted."""
    generation_ms: float = 0.0

    @property
    def candidate_ids(self) -> tuple[int, ...]:
        return self.people.candidate_ids


class ServedFeatures(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The features of a pool's first and of whom it may explore, written once a pool, so that training sees what serving saw.

    `matrix` is float32, row-major, little-endian, shape (len(candidate_ids), len(names)). `explorable` are the rows of the
    explorable candidates with the lowest lots, the lowest first: whoever is drawn is one of them.
    """

    pool_id: UUID
    computed_at: datetime
    names: tuple[str, ...]
    candidate_ids: tuple[int, ...]
    matrix: bytes
    explorable: tuple[int, ...] = ()


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Two mutual likes, seen from one of the two."""

    user_id: int
    matched_at: datetime


class BundleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the bundle registry."""

    version: str
    created_at: datetime
    metrics: dict[str, float]
    live: bool = False
    published_at: datetime | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One committed change as the feed brings it.

    For `interaction`: `ids` are actors, `others` targets, int64, and `kinds` what they did, int8 codes into
    `repositories.columns.KINDS`, -1 for a kind unknown here; of equal length. For `user` and `erasure` only `ids` is filled;
    for `bundle` none is.
    """

    position: "FeedPosition"
    entity: Literal["user", "erasure", "interaction", "bundle", "experiment"]
    ids: NDArray[np.int64]
    others: NDArray[np.int64]
    kinds: NDArray[np.int8]


class FeedPosition(msgspec.Struct, frozen=True, order=True):
    """A place in the change feed. Ordered by transaction first: all of a transaction's changes become visible at once,
    and only those below the snapshot horizon are read, so that nothing that commits late is passed over."""

    xid: int = 0
    change_id: int = 0
