"""The life of one request, from the question to the slate. It knows no HTTP, no Redis and no SQL."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from service.domain import Profile, RecommendationRequest, Relations, ServedFeatures, SimilarPeople, Slate
from service.errors import BadInput, NotFound, Overloaded, Unavailable
from service.experiments.routing import route
from service.recommend import answers
from service.recommend.answers import Answer
from service.recommend.computation import Computation, Job
from service.recommend.identifiers import uuid7
from service.recommend.messages import NOBODY_KNOWN, NOTHING_WORKS, Count, explain
from service.recommend.performance import Performance
from service.recommend.pools import Pool, PoolKey, PoolRead, viewer_digest
from service.recommend.ports import Asking, ImpressionSink, Models, ModelSource, PoolStore, Trail
from service.recommend.profiles import Truth
from service.recommend.retrieval import prepare
from service.recommend.similar import Similar
from service.recommend.slates import Shown, Viewing, fill
from service.recommend.stages import unexpected
from service.resilience import Deadline, Limiter, side_by_side
from service.telemetry import IN_FLIGHT, current_timings, stage
from service.threads import ThreadDoor


def now_utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an orchestrator is built from. Clocks and identifiers are parts too, so that tests decide on them."""

    models: ModelSource
    truth: Truth
    pools: PoolStore
    computation: Computation
    impressions: ImpressionSink
    performance: Performance
    limiter: Limiter
    door: ThreadDoor
    now: Callable[[], datetime] = now_utc
    monotonic: Callable[[], float] = time.monotonic
    new_id: Callable[[], UUID] = uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that the orchestrator itself heeds."""

    deadline_s: float
    default_ranker: str
    exploration_share: float


class Orchestrator:
    """Answers requests. One for a replica."""

    def __init__(self, parts: Parts, policy: Policy) -> None:
        self._parts = parts
        self._policy = policy
        self._similar = Similar(parts.models, parts.truth, parts.door)

    async def recommend(self, request: RecommendationRequest) -> Slate:
        """The slate for a request. Raises Overloaded, UnknownUser and BadInput (UnknownAlgorithm); nothing else fails it:
        what nobody foresaw is counted and becomes an empty slate that says so."""
        try:
            return await self._admitted(request)
        except Overloaded:
            self._parts.performance.refuse(self._asked_of(request))
            raise

    async def _admitted(self, request: RecommendationRequest) -> Slate:
        parts, started_s, error = self._parts, self._parts.monotonic(), False
        trail, timings = Trail(), current_timings()
        async with parts.limiter:
            IN_FLIGHT.inc()
            try:
                answer = await self._answer(request, trail)
            except (BadInput, NotFound):
                raise
            except Exception as exc:  # noqa: BLE001 - the door of a request
                unexpected("request", exc)
                trail.bend("request", "exception", None)
                answer, error = Answer.nothing(self._policy.default_ranker, NOTHING_WORKS), True
            finally:
                IN_FLIGHT.dec()
        generation_ms = (parts.monotonic() - started_s) * 1000
        slate = answers.slate_of(answer, request, trail, generation_ms, parts.new_id())
        parts.performance.observe(answers.observation(answer, slate, error, timings))
        if answer.pool is not None and answer.shown and request.recorded:
            seen = answers.impression(answer, slate, answer.pool, request.viewer_id, parts.now())
            parts.impressions.offer(seen, answer.features)
        answers.count(slate)
        return slate

    async def _answer(self, request: RecommendationRequest, trail: Trail) -> Answer:
        """The story. Step 1, the question's form, is the controller's; step 10, its traces, is the caller's."""
        parts, policy = self._parts, self._policy
        deadline = Deadline(policy.deadline_s, parts.monotonic)
        models = parts.models.current
        turn, memory = Turn(models, request, deadline, trail, parts.now()), models.population

        algorithm, arm = route(request, tuple(models.rankers), policy.default_ranker)  # 2

        key = self._key(request, models, algorithm)
        (viewer, relations), looked = await side_by_side(  # 3
            parts.truth.both(request.viewer_id, memory, deadline, trail),
            self._look(key, request.use_cache, deadline),
        )
        if viewer is None:
            return Answer.nothing(algorithm, NOBODY_KNOWN)
        _check_place(viewer, request)
        asking = _asking(viewer, relations, request, turn.now)

        course = None
        if looked.pool is not None and looked.pool.viewer_digest == viewer_digest(viewer, relations):
            course = await self._show(turn, looked.pool, asking, None)  # 7, 8, 9
        if course is None or (course.leaves_out and not request.exclude_ids):
            # The features of a pool are kept with its first impression, so one that nobody sees is not kept for others either.
            generations = looked.generations if request.recorded and not trail.degraded else None
            job = Job(asking, models, algorithm, key, generations, shared=request.use_cache and request.recorded)
            course = await self._compute(turn, job)  # 4, 5, 6, then 7, 8, 9
        if request.exclude_ids and course.leaves_out:
            course = await self._compute(turn, Job(course.asking, models, algorithm, key, None, shared=False))

        return Answer(
            algorithm_version=course.pool.algorithm_version,
            bundle_version=memory.bundle_version,
            experiment=arm,
            shown=tuple(course.shown),
            pool=course.pool,
            features=course.features,
            cached=course.pool is looked.pool,
            message=await explain(len(course.shown), course.n_eligible, request.limit, course.asking, self._counting(turn)),
        )

    async def similar(self, person_id: int, limit: int, request_id: str = "") -> SimilarPeople:
        """People like this one. Raises UnknownUser and Overloaded."""
        async with self._parts.limiter:
            deadline = Deadline(self._policy.deadline_s, self._parts.monotonic)
            return await self._similar.find(person_id, limit, deadline, request_id)

    async def refresh(self, user_ids: Sequence[int] | None) -> int:
        """Drop the pools of these people (None: of all) on every replica; gives how many people that are.

        Raises Unavailable when Redis did not take it: replicas that still reach it would go on serving the old ones.
        """
        if not await self._parts.pools.invalidate(user_ids):
            raise Unavailable("Redis cannot be reached; the pools were not dropped")
        return self._parts.models.current.population.n_people if user_ids is None else len(set(user_ids))

    def _asked_of(self, request: RecommendationRequest) -> str:
        """Whom a request is counted against that was not even routed: a name of ours, since callers could invent any number."""
        asked = request.algorithm_version
        return asked if asked is not None and asked in self._parts.models.current.rankers else self._policy.default_ranker

    def _key(self, request: RecommendationRequest, models: Models, algorithm: str) -> PoolKey:
        ranker = models.rankers.get(algorithm)
        version = (algorithm, ranker.version if ranker else "")
        return PoolKey.of(request, models.population.bundle_version, version, self._parts.computation.sources)

    async def _look(self, key: PoolKey, use_cache: bool, deadline: Deadline) -> PoolRead:
        """What Redis has; without `use_cache` only the generations under which a pool may be stored."""
        with stage("pool"):
            pools = self._parts.pools
            return await (pools.read(key, deadline) if use_cache else pools.read_generations(key, deadline))

    async def _compute(self, turn: "Turn", job: Job) -> "Course":
        """A new pool, shown by relations that were read after it was made: making one takes long enough for a block."""
        pool, features = await self._parts.computation.make(job, turn.deadline, turn.trail)
        memory = turn.models.population
        relations = await self._parts.truth.relations(turn.request.viewer_id, memory, turn.deadline, turn.trail)
        return await self._show(turn, pool, msgspec.structs.replace(job.asking, relations=relations), features)

    async def _show(self, turn: "Turn", pool: Pool, asking: Asking, features: ServedFeatures | None) -> "Course":
        async def read(ids: Sequence[int]) -> Mapping[int, Profile]:
            return await self._parts.truth.profiles(ids, turn.models.population, turn.deadline, turn.trail)

        viewing = Viewing(turn.request, asking.viewer, asking.relations, turn.now)
        with stage("selection"):
            shown = await fill(pool, viewing, self._policy.exploration_share, read)
        asked = msgspec.structs.replace(asking, without=turn.request.exclude_ids)
        n_eligible = len(shown) if len(shown) == turn.request.limit else await self._counting(turn)(asked)
        return Course(pool, features, shown, asked, n_eligible)

    def _counting(self, turn: "Turn") -> Count:
        async def count(asking: Asking) -> int:
            people = turn.models.population.eligible(asking)
            await prepare(people, self._parts.door, turn.deadline)
            return people.n_eligible

        return count


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What stays the same throughout one request."""

    models: Models
    request: RecommendationRequest
    deadline: Deadline
    trail: Trail
    now: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A pool and the slate out of it. `asking` is what decided on it, exclude_ids and the newest relations included;
    `n_eligible` how many people that memory knows it lets through, counted for short slates only, since it costs a mask."""

    pool: Pool
    features: ServedFeatures | None
    shown: list[Shown]
    asking: Asking
    n_eligible: int

    @property
    def leaves_out(self) -> bool:
        """Whether the slate is short though memory knows more people who are eligible now."""
        return self.n_eligible > len(self.shown)


def _asking(viewer: Profile, relations: Relations, request: RecommendationRequest, now: datetime) -> Asking:
    return Asking(
        viewer=viewer,
        relations=relations,
        filters=request.filters,
        exclude_seen=request.exclude_seen,
        now_s=now.timestamp(),
    )


def _check_place(viewer: Profile, request: RecommendationRequest) -> None:
    if request.filters.max_km is not None and (viewer.latitude is None or viewer.longitude is None):
        raise BadInput.of("max_km", "needs the viewer's place, and it is unknown")
