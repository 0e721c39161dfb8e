"""The caller's own candidates ranked: checked by the same rules, scored by the same rankers, under the same deadline."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec
import numpy as np

from service.domain import Degradation, Filters, Profile, RecommendationRequest
from service.errors import Unavailable, UnknownAlgorithm
from service.recommend.eligibility import ineligible_reason, not_sought
from service.recommend.fragments import Fragment
from service.recommend.messages import NOBODY_KNOWN
from service.recommend.ports import Asking, Models, ModelSource, Trail
from service.recommend.ranking import Ranked, Ranking, RankingTask
from service.recommend.selection import order
from service.recommend.turns import Courses
from service.recommend.viewers import ViewerState
from service.resilience import Clock, Deadline, Limiter
from service.telemetry import stage

Reason = Literal["self", "unknown", "not_sought", "not_available"]


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to rank for whom; an id given twice counts once. `algorithm_version` None: the default ranker."""

    viewer_id: int
    candidate_ids: tuple[int, ...]
    algorithm_version: str | None = None
    request_id: str = ""


class RankedCandidate(msgspec.Struct, frozen=True):
    id: int
    match_score: Annotated[float, msgspec.Meta(description="The probability of a match, 0 to 1")]


class IneligibleCandidate(msgspec.Struct, frozen=True):
    id: int
    reason: Annotated[
        Reason,
        msgspec.Meta(
            description="`self`; `unknown`: there is nobody of this id; `not_sought`: not what the viewer seeks; "
            "`not_available`: for a reason that is not the viewer's to know, be it a block, a pass, a pause or what they seek"
        ),
    ]


class RankedCandidates(msgspec.Struct, frozen=True, kw_only=True):
    """Each candidate once: ranked, the best first, or ineligible, in the order given."""

    ranked: tuple[RankedCandidate, ...]
    ineligible: tuple[IneligibleCandidate, ...]
    total_count: int
    algorithm_version: str
    bundle_version: str | None
    generation_time_ms: float
    degraded: tuple[Degradation, ...]
    request_id: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RankGiven:
    """Outside of experiments, and nothing is remembered as shown: whether the caller shows it is not known here."""

    models: ModelSource
    courses: Courses
    ranking: Ranking
    limiter: Limiter
    deadline_s: float
    default_ranker: str
    now: Callable[[], datetime]
    monotonic: Clock = time.monotonic

    async def rank(self, given: Given) -> RankedCandidates:
        """Raises UnknownUser, UnknownAlgorithm, Overloaded, and Unavailable when the database is away and the viewer is not known
        here. Whom the viewer has liked or passed is ranked: the caller asks for them."""
        async with self.limiter:
            started_s, models, trail = self.monotonic(), self.models.current, Trail()
            algorithm = self._algorithm(given, models)
            deadline = Deadline(self.deadline_s, self.monotonic)
            tokens = await self.courses.pools.tokens(given.viewer_id, deadline)
            token = None if tokens is None else tokens.version
            viewer = await self.courses.viewers.state(given.viewer_id, token, models.population, deadline, trail)
            if viewer is None:
                raise Unavailable(NOBODY_KNOWN)
            ids = tuple(dict.fromkeys(given.candidate_ids))
            known = await self.courses.faces.many(ids, models.population, deadline, trail)
            with stage("eligibility"):
                ineligible = self._ineligible(viewer, ids, known)
            left = np.array([who for who in ids if who not in ineligible], np.int64)
            people = models.population.eligible(self._asking(viewer))
            task = RankingTask(given.viewer_id, left, people, models.rankers, algorithm)
            ranked = await self.ranking.rank(task, deadline, trail)
        return RankedCandidates(
            ranked=_best_first(task, ranked),
            ineligible=tuple(IneligibleCandidate(who, reason) for who, reason in ineligible.items()),
            total_count=len(left),
            algorithm_version=ranked.algorithm_version,
            bundle_version=models.population.bundle_version,
            generation_time_ms=round((self.monotonic() - started_s) * 1000, 3),
            degraded=tuple(trail.degraded),
            request_id=given.request_id,
        )

    def _algorithm(self, given: Given, models: Models) -> str:
        if given.algorithm_version is None:
            return self.default_ranker
        if given.algorithm_version not in models.rankers:
            raise UnknownAlgorithm(given.algorithm_version, tuple(models.rankers))
        return given.algorithm_version

    def _ineligible(self, viewer: ViewerState, ids: tuple[int, ...], known: Mapping[int, Fragment]) -> dict[int, Reason]:
        """By id, why somebody may not be ranked. What the viewer seeks is told first: so that it is the same whether or not the
        candidate has done something about the viewer."""
        request, now = RecommendationRequest(viewer_id=viewer.profile.id, exclude_seen=False), self.now()

        def reason(who: int) -> Reason | None:
            if who == viewer.profile.id:
                return "self"
            if who not in known:
                return "unknown"
            candidate: Profile = known[who].profile
            if not_sought("viewer_seeks", viewer.profile, candidate):
                return "not_sought"
            why = ineligible_reason(viewer.profile, candidate, viewer.relations, request, now)
            return None if why is None else "not_available"

        return {who: why for who in ids if (why := reason(who)) is not None}

    def _asking(self, viewer: ViewerState) -> Asking:
        return Asking(
            viewer=viewer.profile,
            relations=viewer.relations,
            filters=Filters(),
            exclude_seen=False,
            now_s=self.now().timestamp(),
        )


def _best_first(task: RankingTask, ranked: Ranked) -> tuple[RankedCandidate, ...]:
    """In the order given where nothing could score them."""
    places = order(task.ids, ranked.scores) if ranked.names else np.arange(len(task.ids))
    ids, scores = task.ids[places].tolist(), ranked.scores[places].tolist()
    return tuple(RankedCandidate(who, round(score, 4)) for who, score in zip(ids, scores, strict=True))
