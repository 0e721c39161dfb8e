"""The life of one request, from the question to the slate. It knows no HTTP, no Redis and no SQL."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from uuid import UUID

from service.domain import RecommendationRequest, SimilarPeople, Slate
from service.errors import BadInput, NotFound, Overloaded, Unavailable
from service.fleet.tokens import Tokens
from service.metrics import IN_FLIGHT
from service.recommend import answers
from service.recommend.answers import Answer, Reply
from service.recommend.held import Promise, Slates
from service.recommend.identifiers import uuid7
from service.recommend.interleave import Interleaving
from service.recommend.messages import NOBODY_KNOWN, NOTHING_WORKS, explain
from service.recommend.performance import Performance
from service.recommend.pool_store import HELD_NO_MORE, HELD_SLATE, Wanted, told_of
from service.recommend.pools import Digest, PoolKey, digest_of
from service.recommend.ports import ImpressionSink, Models, ModelSource, RouterSource, TokenSource, Trail
from service.recommend.ready import Ready
from service.recommend.renewals import Renewals
from service.recommend.similar import Similar
from service.recommend.stages import unexpected
from service.recommend.turns import Courses, Turn, check_place
from service.resilience import Clock, Deadline, Limiter
from service.telemetry import Stage, current_timings, stage

_held_digest = lru_cache(4096)(digest_of)
"""4 us once for each set of filters that is in use, .5 us each time after. For the short questions of `ready` alone: others may
bear 100 kB of words, and 4096 of those would be half a GB."""


def now_utc() -> datetime:
    return datetime.now(UTC)


def after_reply(work: Callable[[], None]) -> None:
    """In the next turn of the event loop: the reply is written in this one."""
    asyncio.get_running_loop().call_soon(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an orchestrator is built from. Clocks and identifiers are parts too, so that tests decide on them."""

    models: ModelSource
    routing: RouterSource
    tokens: TokenSource
    courses: Courses
    slates: Slates
    renewals: Renewals
    impressions: ImpressionSink
    performance: Performance
    limiter: Limiter
    later: Callable[[Callable[[], None]], object] = after_reply
    """Does what nobody waits for."""
    now: Callable[[], datetime] = now_utc
    monotonic: Clock = time.monotonic
    new_id: Callable[[], UUID] = uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that the orchestrator itself heeds."""

    deadline_s: float
    default_ranker: str


class Orchestrator:
    """Answers requests. One for a replica."""

    def __init__(self, parts: Parts, policy: Policy) -> None:
        self._parts = parts
        self._policy = policy
        self._courses = courses = parts.courses
        self._interleaving = Interleaving(courses, parts.renewals)
        self._similar = Similar(
            models=parts.models, pools=courses.pools, viewers=courses.viewers, faces=courses.faces, door=courses.door
        )

    async def ready(self, request: RecommendationRequest) -> Ready | None:
        """The answer that is there already, from one read of Redis; None when there is none, and `recommend` has to make one.

        Counted and remembered as any answer. No request stands in a queue for it: it costs less than its place there. Raises
        UnknownAlgorithm.
        """
        promise = self.promise(request)
        if promise is None:
            return None
        with stage("pool") as look:
            await promise.asked
        return self.redeem(promise, look, current_timings())

    def promise(self, request: RecommendationRequest) -> Promise | None:
        """The first half of `ready`, up to where it waits for `asked`."""
        parts, models = self._parts, self._parts.models.current
        if request.exclude_ids or request.explain or not request.use_cache or not request.recorded:
            return None
        routed = parts.routing.router.route(request, models.rankers)
        if routed.against is not None:
            return None
        started_s, bundle = parts.monotonic(), models.population.bundle_version
        key = self._key(request, models, routed.algorithm, bundle, _held_digest)
        held = parts.slates.find(key, request.limit)
        if held is None or held.finished.experiment != routed.arm:
            return None
        asked = self._courses.pools.begin_tokens(request.viewer_id)
        return None if asked is None else Promise(request, key, held, asked, started_s)

    def redeem(self, promise: Promise, look: Stage, stages_ms: Mapping[str, float]) -> Ready | None:
        """The second half, once the tokens have come: `look` is the stage in which they did, and `stages_ms` its time."""
        parts, values, held = self._parts, promise.asked.result(), promise.held
        now = parts.now()
        if values is None or not parts.slates.stands(held, promise.key, Tokens.of(values), now.timestamp()):
            look.attributes = HELD_NO_MORE
            return None
        look.attributes = HELD_SLATE
        slate_id, generation_ms = parts.new_id(), (parts.monotonic() - promise.started_s) * 1000
        ready = held.finished.answer(promise.request, generation_ms, slate_id)
        parts.performance.observe(answers.observation_of_ready(held.finished, ready, stages_ms))
        parts.impressions.offer(held.finished.impression(promise.request, slate_id, now, ready.generation_time_ms), None)
        answers.count_ready(ready)
        return ready

    async def recommend(self, request: RecommendationRequest) -> Slate:
        """The slate for a request. Raises Overloaded, UnknownUser and BadInput (UnknownAlgorithm); nothing else fails it:
        what nobody foresaw is counted and becomes an empty slate that says so."""
        return (await self.reply(request)).slate

    async def reply(self, request: RecommendationRequest) -> Reply:
        """The same for who wants its bytes."""
        try:
            return await self._admitted(request)
        except Overloaded:
            if request.recorded:
                self._parts.performance.refuse(self._asked_of(request))
            raise

    async def _admitted(self, request: RecommendationRequest) -> Reply:
        parts, started_s, error = self._parts, self._parts.monotonic(), False
        trail, timings, turn = Trail(), current_timings(), None
        async with parts.limiter:
            IN_FLIGHT.inc()
            try:
                turn = self.turn(request, trail)
                answer = await self._answer(turn)
            except (BadInput, NotFound):
                raise
            except Exception as exc:  # noqa: BLE001 - the door of a request
                unexpected("request", exc)
                trail.bend("request", "exception", None)
                arm = None if turn is None else turn.arm
                answer, error = Answer.nothing(self._policy.default_ranker, NOTHING_WORKS, arm), True
            finally:
                IN_FLIGHT.dec()
        generation_ms = (parts.monotonic() - started_s) * 1000
        reply = Reply(
            answer=answer,
            request_id=request.request_id,
            explain=request.explain,
            degraded=tuple(trail.degraded),
            generation_time_ms=round(generation_ms, 3),
            slate_id=parts.new_id(),
        )
        if request.recorded:  # an operator's look is no answer: it would count for an arm that nobody was shown
            parts.performance.observe(answers.observation(reply, error, timings))
            answers.count(reply)
            if answer.counts:
                parts.later(partial(self._remember, reply, request.viewer_id, parts.now()))
        return reply

    def _remember(self, reply: Reply, viewer_id: int, now: datetime) -> None:
        """What a reply leaves behind, once it has left: the slate, be it without the features of its pool."""
        write_down, features = reply.answer.features, None
        try:
            features = None if write_down is None else write_down()
        except Exception as exc:  # noqa: BLE001 - the door of a request, which has gone through it
            unexpected("request", exc)
        try:
            self._parts.impressions.offer(answers.impression(reply, viewer_id, now), features)
        except Exception as exc:  # noqa: BLE001 - the same door
            unexpected("request", exc)

    async def _answer(self, turn: Turn) -> Answer:
        """The story. Step 1, the question's form, is the controller's; 2, who ranks, and 10, its traces, are the caller's."""
        if turn.against is not None:
            return await self._interleaving.answer(turn, turn.against)
        parts, courses, request, trail = self._parts, self._courses, turn.request, turn.trail

        with stage("pool") as looking:
            look = await courses.pools.look(turn.wanted, turn.deadline, turn.now_s)  # 3
        version = None if look.tokens is None else look.tokens.version
        viewer = await courses.viewers.state(request.viewer_id, version, turn.memory, turn.deadline, trail)
        if viewer is None:
            return Answer.nothing(turn.algorithm, NOBODY_KNOWN, turn.arm)
        check_place(viewer, request)

        course = None
        found = await courses.pools.choose(look, turn.wanted, viewer.marks, turn.deadline, turn.now_s)
        looking.tell(told_of((look, found)))
        if found.pool is not None:
            course = await courses.show(turn, found.pool, viewer, look.tokens)  # 7, 8, 9
        if course is None or (course.leaves_out and not request.exclude_ids):
            job = turn.job(viewer, look, instead_of=found.pool)
            course = await courses.compute(turn, job, viewer)  # 4, 5, 6, then 7, 8, 9
        elif found.standing == "stale" and request.recorded and not trail.degraded:
            parts.renewals.offer(turn.job(viewer, look, instead_of=found.pool))
        if request.exclude_ids and course.leaves_out:
            course = await courses.compute(turn, turn.job_for_once(course), course.viewer)
        finished = parts.slates.keep(turn, course)
        told = await courses.explain(turn, course) if request.explain else None

        return Answer(
            algorithm_version=course.pool.algorithm_version,
            bundle_version=course.pool.bundle_version,
            experiment=turn.arm,
            shown=tuple(course.shown),
            pool=course.pool,
            features=course.features,
            told=told,
            cached=course.pool is found.pool,
            message=await explain(len(course.shown), course.n_eligible, request.limit, course.asking, courses.counting(turn)),
            finished=finished,
        )

    async def similar(self, person_id: int, limit: int, trail: Trail, request_id: str = "") -> SimilarPeople:
        """People like this one; what was bent is in the trail. Raises UnknownUser and Overloaded."""
        async with self._parts.limiter:
            deadline = Deadline(self._policy.deadline_s, self._parts.monotonic)
            return await self._similar.find(person_id, limit, deadline, trail, request_id)

    async def refresh(self, user_ids: Sequence[int] | None) -> int:
        """Drop the pools of these people (None: of all) on every replica; gives how many people that are.

        Raises Unavailable when Redis did not take it: replicas that still reach it would go on serving the old ones.
        """
        if not await self._parts.tokens.drop_pools(user_ids):
            raise Unavailable("Redis cannot be reached; the pools were not dropped")
        return self._parts.models.current.population.n_people if user_ids is None else len(set(user_ids))

    def turn(self, request: RecommendationRequest, trail: Trail) -> Turn:
        """Who ranks, out of which pool, until when. After a new bundle, pools of the one before serve stale for a while: else
        every request of the fleet would miss at once."""
        parts, models = self._parts, self._parts.models.current
        routed = parts.routing.router.route(request, models.rankers)
        turn = Turn(
            models=models,
            request=request,
            algorithm=routed.algorithm,
            arm=routed.arm,
            wanted=self._wanted(request, models, routed.algorithm),
            deadline=Deadline(self._policy.deadline_s, parts.monotonic),
            trail=trail,
            now=parts.now(),
        )
        if routed.against is None:
            return turn
        other = replace(turn, algorithm=routed.against, wanted=self._wanted(request, models, routed.against))
        return replace(turn, against=other)

    def _wanted(self, request: RecommendationRequest, models: Models, algorithm: str) -> Wanted:
        bundle, replaced = models.population.bundle_version, models.replaced
        is_new = replaced is not None and self._parts.monotonic() - replaced.at_s < 2 * self._courses.pools.lives.soft_s
        return Wanted(
            key=self._key(request, models, algorithm, bundle),
            bundle_version=bundle,
            previous=self._key(request, models, algorithm, replaced.bundle_version) if replaced and is_new else None,
            use_cache=request.use_cache,
            is_stranger=not self._courses.viewers.knows(request.viewer_id),
        )

    def _key(
        self,
        request: RecommendationRequest,
        models: Models,
        algorithm: str,
        bundle: str | None,
        digest: Digest = digest_of,
    ) -> PoolKey:
        ranker = models.rankers.get(algorithm)
        version = (algorithm, ranker.version if ranker else "")
        return PoolKey.of(request, bundle, version, self._courses.computation.sources, digest)

    def _asked_of(self, request: RecommendationRequest) -> str:
        """Whom a request is counted against that was not even routed: a name of ours, since callers could invent any number."""
        asked = request.algorithm_version
        return asked if asked is not None and asked in self._parts.models.current.rankers else self._policy.default_ranker
