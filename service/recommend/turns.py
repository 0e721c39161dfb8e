"""What one request goes through with a pool: shown, found too short, made anew. The story itself is the orchestrator's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from service.domain import ExperimentArm, Profile, RecommendationRequest
from service.errors import BadInput
from service.fleet.tokens import Tokens
from service.recommend.computation import Computation, Job
from service.recommend.explaining import Explaining, Told
from service.recommend.fragments import Fragment
from service.recommend.messages import Count
from service.recommend.pool_store import Look, Pools, Wanted
from service.recommend.pools import Pool
from service.recommend.ports import Asking, Models, Population, Trail
from service.recommend.profiles import LEAST_S, Faces
from service.recommend.served import Serving
from service.recommend.slates import Shown, Viewing, fill
from service.recommend.sources import prepare
from service.recommend.viewers import Viewers, ViewerState
from service.resilience import Deadline
from service.telemetry import stage
from service.threads import ThreadDoor

_LONGEST_S = 1.0
"""Bound on a read of tokens where no deadline is near; Redis' own time limit is shorter."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Turn:
    """What stays the same throughout one request."""

    models: Models
    request: RecommendationRequest
    algorithm: str
    arm: ExperimentArm | None
    wanted: Wanted
    deadline: Deadline
    trail: Trail
    now: datetime
    against: "Turn | None" = None
    """The turn of another ranker, with which this one shares a slate."""

    @property
    def memory(self) -> Population:
        return self.models.population

    @property
    def now_s(self) -> float:
        return self.now.timestamp()

    def asking(self, viewer: ViewerState) -> Asking:
        return Asking(
            viewer=viewer.profile,
            relations=viewer.relations,
            filters=self.request.filters,
            exclude_seen=self.request.exclude_seen,
            now_s=self.now_s,
        )

    def job(self, viewer: ViewerState, look: Look, instead_of: Pool | None = None) -> Job:
        """The pool to make for this request, and to store where that may be done."""
        # The features of a pool are kept with its first impression, so one that nobody sees is not kept for others either.
        is_kept = self.request.recorded and not self.trail.degraded
        return Job(
            asking=self.asking(viewer),
            marks=viewer.marks,
            models=self.models,
            algorithm=self.algorithm,
            key=self.wanted.key,
            generations=look.generations if is_kept else None,
            shared=self.request.use_cache and self.request.recorded,
            instead_of=None if instead_of is None else instead_of.pool_id,
        )

    def job_for_once(self, course: "Course") -> Job:
        """The pool to make for the sake of this request's exclude_ids, which nobody else wants."""
        return Job(
            asking=course.asking,
            marks=course.viewer.marks,
            models=self.models,
            algorithm=self.algorithm,
            key=self.wanted.key,
            generations=None,
            shared=False,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Course:
    """A pool and the slate out of it. `viewer` and `tokens` are those that decided on it, `people_since` the clock of drops of
    profiles when it was taken; `n_eligible` how many people that memory knows are eligible, exclude_ids included, counted for
    short slates only, since it costs a mask."""

    pool: Pool
    features: Serving | None
    shown: list[Shown]
    viewer: ViewerState
    tokens: Tokens | None
    people_since: int
    asking: Asking
    n_eligible: int

    @property
    def leaves_out(self) -> bool:
        """Whether the slate is short though memory knows more people who are eligible now."""
        return self.n_eligible > len(self.shown)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Courses:
    """Takes slates out of pools, given or made."""

    viewers: Viewers
    faces: Faces
    pools: Pools
    computation: Computation
    explaining: Explaining
    door: ThreadDoor
    exploration_share: float

    async def compute(self, turn: Turn, job: Job, viewer: ViewerState) -> Course:
        """A new pool, shown by a state that was read after it was made: making one takes long enough for a block."""
        made = await self.computation.make(job, turn.deadline, turn.trail)
        viewer, tokens = await self.newest(turn, viewer, made.tokens)
        return await self.show(turn, made.pool, viewer, tokens, made.features)

    async def newest(self, turn: Turn, viewer: ViewerState, tokens: Tokens | None = None) -> tuple[ViewerState, Tokens | None]:
        """The viewer's state and tokens as they are now; the state as it was where it cannot be read any more. `tokens` that were
        read just now, as when a pool was stored, spare a look."""
        viewer_id, deadline = turn.request.viewer_id, turn.deadline
        if tokens is None:
            tokens = await self.pools.tokens(viewer_id, deadline.at_most(_LONGEST_S, LEAST_S))
        version = None if tokens is None else tokens.version
        newest = await self.viewers.state(viewer_id, version, turn.memory, deadline, turn.trail)
        return newest or viewer, tokens

    async def show(
        self, turn: Turn, pool: Pool, viewer: ViewerState, tokens: Tokens | None, features: Serving | None = None
    ) -> Course:
        """The slate out of a pool."""

        async def read(ids: Sequence[int]) -> Mapping[int, Fragment]:
            return await self.faces.many(ids, turn.memory, turn.deadline, turn.trail)

        people_since = self.faces.drops.now
        with stage("selection") as selection:
            shown = await fill(pool, Viewing(turn.request, viewer, turn.now), self.exploration_share, read)
        selection.tell({"amity.n_asked": turn.request.limit, "amity.n_candidates": len(pool), "amity.n_shown": len(shown)})
        asked = msgspec.structs.replace(turn.asking(viewer), without=turn.request.exclude_ids)
        n_eligible = len(shown) if len(shown) == turn.request.limit else await self.counting(turn)(asked)
        return Course(
            pool=pool,
            features=features,
            shown=shown,
            viewer=viewer,
            tokens=tokens,
            people_since=people_since,
            asking=asked,
            n_eligible=n_eligible,
        )

    async def explain(self, turn: Turn, course: Course) -> Told:
        """Why those who are shown are, by the ranker that really ranked them."""
        ranked = [(course.pool.algorithm_version, one.entry.fragment.profile) for one in course.shown]
        return await self.tell(turn, course.viewer, ranked)

    async def tell(self, turn: Turn, viewer: ViewerState, ranked: Sequence[tuple[str, Profile]]) -> Told:
        """The same of people with the names of their rankers."""
        return await self.explaining.tell(turn.asking(viewer), turn.models, ranked, turn.deadline, turn.trail)

    def counting(self, turn: Turn) -> Count:
        """How many people are eligible for an asking, as memory knows them."""

        async def count(asking: Asking) -> int:
            people = turn.memory.eligible(asking)
            await prepare(people, self.door, turn.deadline)
            return people.n_eligible

        return count


def check_place(viewer: ViewerState, request: RecommendationRequest) -> None:
    """Raises BadInput for a distance from somebody whose place is unknown."""
    if request.filters.max_km is not None and (viewer.profile.latitude is None or viewer.profile.longitude is None):
        raise BadInput.of("max_km", "needs the viewer's place, and it is unknown")
