"""An answer in its outward forms: the slate, its impression, its figures."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Literal, Self
from uuid import UUID

import msgspec
from msgspec import UNSET

from service.domain import (
    ExperimentArm,
    Impression,
    RecommendationRequest,
    RecommendedPerson,
    ShownPeople,
    Slate,
)
from service.metrics import DEGRADED, EXPERIMENT_ANSWERS, RECOMMENDATIONS
from service.recommend.explaining import Told
from service.recommend.performance import Observation
from service.recommend.pools import Pool
from service.recommend.ports import Trail
from service.recommend.ready import Finished, Ready
from service.recommend.served import Serving
from service.recommend.slates import Shown
from service.samples import LoopCounter

NO_POOL = UUID(int=0)
"""Stands in impressions for the pool of an empty answer that had none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What one request came to. Without a pool nobody could be shown, and `message` says why."""

    algorithm_version: str
    bundle_version: str | None = None
    experiment: ExperimentArm | None = None
    ordering: Literal["score", "interleaved"] = "score"
    teams: tuple[int, ...] | None = None
    shown: tuple[Shown, ...] = ()
    pool: Pool | None = None
    features: Serving | None = None
    told: Told | None = None
    cached: bool = False
    message: str | None = None

    @classmethod
    def nothing(cls, algorithm_version: str, message: str, arm: ExperimentArm | None = None) -> Self:
        return cls(algorithm_version=algorithm_version, message=message, experiment=arm)

    @property
    def counts(self) -> bool:
        """Whether it is remembered as shown. In an experiment an empty answer is: else an arm that finds nobody would seem to
        have been asked less often."""
        return bool(self.shown) or self.experiment is not None


def slate_of(answer: Answer, request: RecommendationRequest, trail: Trail, generation_ms: float, slate_id: UUID) -> Slate:
    """The reply."""
    return Slate(
        recommendations=_people(answer),
        total_count=len(answer.shown),
        algorithm_version=answer.algorithm_version,
        bundle_version=answer.bundle_version,
        experiment=answer.experiment,
        ordering=answer.ordering,
        generation_time_ms=round(generation_ms, 3),
        cached=answer.cached,
        degraded=tuple(trail.degraded),
        message=answer.message,
        explained=UNSET if not request.explain else answer.told is not None and answer.told.explained,
        slate_id=slate_id,
        request_id=request.request_id,
    )


def _people(answer: Answer) -> tuple[RecommendedPerson, ...]:
    people = (shown.person for shown in answer.shown)
    if answer.told is None:
        return tuple(people)
    return tuple(msgspec.structs.replace(one, reasons=why) for one, why in zip(people, answer.told.reasons, strict=True))


def impression(answer: Answer, slate: Slate, viewer_id: int, served_at: datetime) -> Impression:
    """The row that remembers this slate."""
    return Impression(
        slate_id=slate.slate_id,
        request_id=slate.request_id,
        viewer_id=viewer_id,
        served_at=served_at,
        algorithm_version=slate.algorithm_version,
        bundle_version=slate.bundle_version,
        experiment=slate.experiment,
        pool_id=NO_POOL if answer.pool is None else answer.pool.pool_id,
        people=shown_people(answer.shown),
        cached=slate.cached,
        degraded=bool(slate.degraded),
        teams=answer.teams,
        generation_ms=slate.generation_time_ms,
    )


def shown_people(shown: Sequence[Shown]) -> ShownPeople:
    entries = [one.entry for one in shown]
    return ShownPeople(
        candidate_ids=tuple(entry.fragment.profile.id for entry in entries),
        scores=tuple(entry.match_score for entry in entries),
        propensities=tuple(one.propensity for one in shown),
        exploration=tuple(entry.slot == "exploration" for entry in entries),
        sources=tuple(entry.sources for entry in entries),
        hopefuls=shown[-1].among if shown else 0,
    )


def observation(answer: Answer, slate: Slate, error: bool, stages_ms: Mapping[str, float]) -> Observation:
    """What the performance report counts."""
    return Observation(
        algorithm_version=slate.algorithm_version,
        generation_ms=slate.generation_time_ms,
        n_candidates=0 if answer.pool is None else len(answer.pool),
        cached=slate.cached,
        degraded=bool(slate.degraded),
        error=error,
        stages_ms=stages_ms,
    )


def observation_of_ready(finished: Finished, ready: Ready, stages_ms: Mapping[str, float]) -> Observation:
    """The same of an answer that was there already."""
    return Observation(
        algorithm_version=ready.algorithm_version,
        generation_ms=ready.generation_time_ms,
        n_candidates=finished.n_candidates,
        cached=True,
        degraded=False,
        error=False,
        stages_ms=stages_ms,
    )


def count(slate: Slate) -> None:
    """The counters of an answered request."""
    for bent in slate.degraded:
        DEGRADED.labels(bent.stage, bent.reason).inc()
    _recommendations(slate.algorithm_version, slate.cached, bool(slate.degraded)).count()
    if (arm := slate.experiment) is not None:
        _inside(arm.name, arm.arm, bool(slate.degraded)).count()


def count_ready(ready: Ready) -> None:
    """The same of an answer that was there already."""
    _recommendations(ready.algorithm_version, True, False).count()
    if (arm := ready.experiment) is not None:
        _inside(arm.name, arm.arm, False).count()


@cache
def _recommendations(algorithm_version: str, cached: bool, degraded: bool) -> LoopCounter:
    """One counter: there are few rankers, and looking it up by its labels costs more than counting."""
    return RECOMMENDATIONS.labels(algorithm_version, str(cached).lower(), str(degraded).lower())


@cache
def _inside(experiment: str, arm: str, degraded: bool) -> LoopCounter:
    """The counter of an experiment's arm."""
    return EXPERIMENT_ANSWERS.labels(experiment, arm, str(degraded).lower())
