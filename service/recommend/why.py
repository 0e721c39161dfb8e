"""Why somebody is recommended to a viewer, or at which stage they left: for operators, who may know what a product must not."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from service.domain import Degradation, ExperimentArm, Profile, RecommendationRequest
from service.errors import StageFailed, Unavailable
from service.recommend.computation import seed_of
from service.recommend.eligibility import ineligible_reason
from service.recommend.explaining import contributing, in_words
from service.recommend.messages import INELIGIBLE, NOBODY_KNOWN
from service.recommend.pool_store import Look
from service.recommend.pools import Pool
from service.recommend.ports import Asking, EligiblePeople, Trail
from service.recommend.ranking import Ranking, RankingTask
from service.recommend.retrieval import Retrieval
from service.recommend.sources import prepare
from service.recommend.turns import Course, Courses, Turn, check_place
from service.recommend.viewers import ViewerState
from service.resilience import Clock, Deadline, Limiter

LeftAt = Literal["unknown", "eligibility", "population", "retrieval", "pool", "selection"]


class Contribution(msgspec.Struct, frozen=True):
    """`value`: the feature's, null where it is unknown. `contribution`: what it adds to the log-odds of the score, against an
    average candidate."""

    feature: str
    value: float | None
    contribution: float


class WhyReply(msgspec.Struct, frozen=True, kw_only=True):
    """`left_at` null: the candidate is shown. A score is given for everybody eligible: what it is in the pool, or would be."""

    user_id: int
    candidate_id: int
    left_at: Annotated[
        LeftAt | None,
        msgspec.Meta(
            description="`unknown`: nobody of this id. `eligibility`: by the `rule`. `population`: not in this replica's memory "
            "yet. `retrieval`: found by no source. `pool`: found, and not in the ranked pool. `selection`: not in the slate"
        ),
    ]
    message: str
    rule: Annotated[str | None, msgspec.Meta(description="The first rule of eligibility that is broken")] = None
    position: Annotated[int | None, msgspec.Meta(description="In the slate, from 1")] = None
    slot: Literal["ranked", "exploration"] | None = None
    rank: Annotated[int | None, msgspec.Meta(description="In the pool, by score, from 1")] = None
    pool_size: int | None = None
    match_score: float | None = None
    sources: Annotated[tuple[str, ...], msgspec.Meta(description="That found the candidate")] = ()
    source_ranks: Annotated[dict[str, int], msgspec.Meta(description="From 1, of sources that were asked once more")] = {}
    algorithm_version: str | None = None
    bundle_version: str | None = None
    experiment: ExperimentArm | None = None
    cached: Annotated[bool, msgspec.Meta(description="Whether the pool was there already")] = False
    explained: Annotated[bool, msgspec.Meta(description="False where the ranker could not tell its reasons")] = False
    reasons: tuple[str, ...] = ()
    contributions: Annotated[tuple[Contribution, ...], msgspec.Meta(description="The weightiest first")] = ()
    degraded: tuple[Degradation, ...] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One candidate before one viewer."""

    turn: Turn
    viewer: ViewerState
    candidate: Profile
    asking: Asking
    people: EligiblePeople


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Why:
    """Goes the way of a request and looks at one candidate. Nobody is shown anything, and nothing is stored or remembered. `plan`
    says who would rank, out of which pool."""

    courses: Courses
    retrieval: Retrieval
    ranking: Ranking
    limiter: Limiter
    plan: Callable[[RecommendationRequest, Trail], Turn]
    deadline_s: float
    monotonic: Clock = time.monotonic

    async def ask(self, request: RecommendationRequest, candidate_id: int) -> WhyReply:
        """Of an interleaved slate, by the first of the two rankers. Raises UnknownUser, BadInput, Overloaded, and Unavailable
        when the database is away and the viewer is not known here. Operators wait longer than viewers: the request, looking for
        the unfound, and explaining have a deadline each."""
        async with self.limiter:
            trail = Trail()
            turn = self.plan(replace(request, recorded=False), trail)
            look = await self.courses.pools.look(turn.wanted, turn.deadline, turn.now_s)
            token = None if look.tokens is None else look.tokens.version
            viewer = await self.courses.viewers.state(request.viewer_id, token, turn.memory, turn.deadline, trail)
            if viewer is None:
                raise Unavailable(NOBODY_KNOWN)
            check_place(viewer, request)
            known = await self.courses.faces.many([candidate_id], turn.memory, turn.deadline, trail)
            if candidate_id in known:
                reply = await self._of_somebody(turn, look, viewer, known[candidate_id].profile)
            else:
                reply = _left(request, candidate_id, "unknown", "There is nobody of this id.")
        return replace(reply, experiment=turn.arm, degraded=tuple(trail.degraded), request_id=request.request_id)

    async def _of_somebody(self, turn: Turn, look: Look, viewer: ViewerState, candidate: Profile) -> WhyReply:
        rule = ineligible_reason(viewer.profile, candidate, viewer.relations, turn.request, turn.now)
        if rule is not None:
            return replace(_left(turn.request, candidate.id, "eligibility", f"Not eligible: {INELIGIBLE[rule]}."), rule=rule)
        asking = replace(turn.asking(viewer), without=turn.request.exclude_ids)
        case = _Case(turn, viewer, candidate, asking, turn.memory.eligible(asking))
        await prepare(case.people, self.courses.door, turn.deadline)
        if not case.people.contains(_ids(candidate)).all():
            message = "Eligible by the database, and not by this replica's memory: it has not heard of a change yet."
            return _left(turn.request, candidate.id, "population", message)
        course, cached = await self._course(turn, look, viewer)
        place = np.flatnonzero(course.pool.id_array() == candidate.id)
        reply = self._in_pool(case, course, int(place[0])) if len(place) else await self._unfound(case, course.pool)
        reply = replace(reply, cached=cached, bundle_version=course.pool.bundle_version, pool_size=len(course.pool))
        return await self._explained(case, reply)

    async def _course(self, turn: Turn, look: Look, viewer: ViewerState) -> tuple[Course, bool]:
        """The pool that a request would be served from, and whether it was there."""
        found = await self.courses.pools.choose(look, turn.wanted, viewer.marks, turn.deadline, turn.now_s)
        if found.pool is not None:
            course = await self.courses.show(turn, found.pool, viewer, look.tokens)
            if not course.leaves_out:
                return course, True
        return await self.courses.compute(turn, turn.job(viewer, look, instead_of=found.pool), viewer), False

    def _in_pool(self, case: _Case, course: Course, place: int) -> WhyReply:
        pool, rank = course.pool, place + 1
        bits = int(pool.found_by_array()[place])
        shown = {one.entry.fragment.profile.id: (at, one.entry.slot) for at, one in enumerate(course.shown, start=1)}
        position, slot = shown.get(case.candidate.id, (None, None))
        left_at: LeftAt | None = None
        if position is not None:
            message = f"Shown at position {position} of {len(shown)}: rank {rank} of {len(pool)} in the pool."
        elif pool.reused().get(case.candidate.id, 1) != case.candidate.incarnation:
            left_at, message = "selection", "In a pool that was made when the id was somebody else's."
        else:
            left_at, message = "selection", f"Rank {rank} of {len(pool)} in the pool: {len(shown)} others are shown."
        return replace(
            _left(case.turn.request, case.candidate.id, left_at, message),
            position=position,
            slot=slot,
            rank=rank,
            match_score=round(float(pool.score_array()[place]), 4),
            sources=tuple(name for i, name in enumerate(pool.source_names) if bits >> i & 1),
            algorithm_version=pool.algorithm_version,
        )

    async def _unfound(self, case: _Case, pool: Pool) -> WhyReply:
        """Of somebody who is not in the pool: whether a source finds them, asked once more with the lots of that pool."""
        turn, trail, deadline = case.turn, case.turn.trail, Deadline(self.deadline_s, self.monotonic)
        lists = await self.retrieval.lists(case.people, pool.created_at_s, seed_of(pool.pool_id), deadline, trail)
        places = {name: np.flatnonzero(ids == case.candidate.id) for name, ids in sorted(lists.items())}
        ranks = {name: int(place[0]) + 1 for name, place in places.items() if len(place)}
        task = RankingTask(case.viewer.profile.id, _ids(case.candidate), case.people, turn.models.rankers, turn.algorithm)
        ranked = await self.ranking.rank(task, deadline, trail)
        left_at: LeftAt = "pool" if ranks else "retrieval"
        if not ranks:
            message = "Eligible, and found by no source."
        elif case.candidate.id in self.retrieval.merged(lists, case.people).ids:
            message = "Found now, and not when the pool was made."
        else:
            message = "Found, and behind so many others that the pool was full."
        return replace(
            _left(turn.request, case.candidate.id, left_at, message),
            match_score=round(float(ranked.scores[0]), 4),
            sources=tuple(ranks),
            source_ranks=ranks,
            algorithm_version=ranked.algorithm_version,
        )

    async def _explained(self, case: _Case, reply: WhyReply) -> WhyReply:
        loaded = case.turn.models.rankers.get(reply.algorithm_version or "")
        if loaded is None or contributing(loaded) is None:
            return reply
        deadline = Deadline(self.deadline_s, self.monotonic)
        try:
            why = await self.courses.explaining.ask(loaded, case.people, case.candidate, deadline)
        except StageFailed as exc:
            case.turn.trail.bend("explain", exc.reason, None)
            return reply
        by_weight = sorted(why.contributions.items(), key=lambda added: (-abs(added[1]), added[0]))
        said = [(name, why.values[name], amount) for name, amount in by_weight]
        return replace(
            reply,
            explained=True,
            reasons=in_words(why, case.asking, case.candidate),
            contributions=tuple(Contribution(name, value if isfinite(value) else None, amount) for name, value, amount in said),
        )


def _left(request: RecommendationRequest, candidate_id: int, left_at: LeftAt | None, message: str) -> WhyReply:
    return WhyReply(user_id=request.viewer_id, candidate_id=candidate_id, left_at=left_at, message=message)


def _ids(candidate: Profile) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([candidate.id], np.int64)
