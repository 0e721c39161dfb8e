"""The queries, bodies and replies of all routes but those of people. The schema is made of them."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from service.bounds import Age, EventId, Word
from service.controllers.people_shapes import Instant
from service.domain import Filters, Kind, Match, PersonId, RecommendationRequest
from service.errors import BadInput

Limit = Annotated[int, Meta(ge=1, le=100, description="How many at most")]
Words = Annotated[tuple[Word, ...], Meta(max_length=50, description="Repeatable: any of them; whole value, any case")]
AlgorithmVersion = Annotated[str, Meta(min_length=1, max_length=100, description="An installed ranker")]


class WhyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a question for recommendations."""

    limit: Limit = 20
    exclude_seen: Annotated[bool, Meta(description="Leave out whom the viewer has liked or passed")] = True
    exclude_ids: Annotated[tuple[PersonId, ...], Meta(max_length=500, description="Repeatable: never these")] = ()
    min_age: Annotated[Age, Meta(description="At most max_age")] | None = None
    max_age: Age | None = None
    gender: Words = ()
    location: Words = ()
    interests: Words = ()
    max_km: Annotated[float, Meta(gt=0, description="Great-circle kilometres; needs the viewer's place")] | None = None
    active_within_days: Annotated[int, Meta(ge=1, le=36_500, description="Last active within so many days")] | None = None
    algorithm_version: AlgorithmVersion | None = None
    use_cache: Annotated[bool, Meta(description="False reads no ranked pool; what is computed is stored")] = True

    def to_request(self, viewer_id: int, request_id: str, recorded: bool = True) -> RecommendationRequest:
        """Raises BadInput where two parameters contradict each other."""
        if self.min_age is not None and self.max_age is not None and self.min_age > self.max_age:
            raise BadInput.of("min_age", "must be at most max_age")
        filters = Filters(
            min_age=self.min_age,
            max_age=self.max_age,
            genders=_canonical(self.gender),
            locations=_canonical(self.location),
            interests=_canonical(self.interests),
            max_km=self.max_km,
            active_within_days=self.active_within_days,
        )
        return RecommendationRequest(
            viewer_id=viewer_id,
            limit=self.limit,
            exclude_seen=self.exclude_seen,
            exclude_ids=frozenset(self.exclude_ids),
            filters=filters,
            algorithm_version=self.algorithm_version,
            use_cache=self.use_cache,
            recorded=recorded,
            request_id=request_id,
        )


class RecommendationQuery(WhyQuery, frozen=True, kw_only=True):
    explain: Annotated[bool, Meta(description="Adds `reasons` to each person")] = False

    def to_request(self, viewer_id: int, request_id: str, recorded: bool = True) -> RecommendationRequest:
        return msgspec.structs.replace(super().to_request(viewer_id, request_id, recorded), explain=self.explain)


def _canonical(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({word.casefold() for word in words}))


class RankQuery(msgspec.Struct, frozen=True, kw_only=True):
    algorithm_version: AlgorithmVersion | None = None


class RankBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An id given twice is ranked once."""

    candidate_ids: Annotated[tuple[PersonId, ...], Meta(min_length=1, max_length=1000)]


class SimilarQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit = 20


class PerformanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    scope: Annotated[Literal["fleet", "replica"], Meta(description="All replicas, or only the one that answers")] = "fleet"
    window_s: Annotated[int, Meta(ge=1, le=3600, description="The last so many seconds")] = 60


class RefreshBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either some viewers' ranked pools or, with scope `admin`, everybody's."""

    user_ids: Annotated[tuple[PersonId, ...], Meta(min_length=1, max_length=1000)] | None = None
    all: bool = False


class RefreshReply(msgspec.Struct, frozen=True):
    """`refreshed`: how many people were named, each once, or how many there are with `all`; whatever ranked pools they had are
    dropped on every replica."""

    refreshed: int
    request_id: str


class InteractionRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Leave `occurred_at` out of what has just been done: it is now by the database's clock, and applies whatever stands. With
    one from before, what stands from later stays; one that is still to come, by at most 5 minutes, is now. `event_id` tells a
    repeated message or view from a second one. `slate_id` is that of the answer in which the target was shown."""

    actor_id: PersonId
    target_id: PersonId
    kind: Kind
    occurred_at: Instant | None = None
    event_id: EventId | None = None
    slate_id: UUID | None = None


class InteractionBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recorded all or none, in the order in which they occurred: what has no `occurred_at` last, and of the same time in the
    order given."""

    interactions: Annotated[tuple[InteractionRecord, ...], Meta(min_length=1, max_length=1000)]


class InteractionsReply(msgspec.Struct, frozen=True):
    """`repeated` were known already; `matches` are the pairs that became mutual."""

    recorded: int
    repeated: int
    matches: tuple[tuple[int, int], ...]


class MatchesQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit = 20
    cursor: Annotated[str, Meta(max_length=200, description="`next_cursor` of the page before")] | None = None


class MatchesReply(msgspec.Struct, frozen=True):
    """Newest first; `next_cursor` is null on the last page."""

    matches: tuple[Match, ...]
    next_cursor: str | None
    request_id: str


class Algorithm(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    distribution: str
    distribution_version: str
    needs_bundle: bool
    loaded: bool
    breaker: str
    problem: str | None


class LeftOut(msgspec.Struct, frozen=True):
    """A ranker that cannot be used: which distributions register it, and what is wrong with it."""

    name: str
    distributions: tuple[str, ...]
    problem: str


class AlgorithmsReply(msgspec.Struct, frozen=True, kw_only=True):
    algorithms: tuple[Algorithm, ...]
    left_out: tuple[LeftOut, ...]
    default: str
    fallback: str
    bundle_version: str | None
    request_id: str


class Live(msgspec.Struct, frozen=True):
    status: Literal["live"]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """`degraded` names the servers that are away while answers are still given: `database`, `redis`."""

    status: Literal["ready"]
    degraded: tuple[str, ...]
    bundle_version: str | None
    people: int
