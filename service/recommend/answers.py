"""An answer in its outward forms: the slate, its impression, its figures."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Literal, Self
from uuid import UUID

import msgspec
from msgspec import UNSET

from service.domain import (
    Degradation,
    ExperimentArm,
    Impression,
    RecommendedPerson,
    ShownPeople,
    Slate,
)
from service.metrics import DEGRADED, EXPERIMENT_ANSWERS, RECOMMENDATIONS
from service.recommend.explaining import Told
from service.recommend.fragments import SlateJson, slate_head, slate_tail
from service.recommend.performance import Observation
from service.recommend.pools import Pool
from service.recommend.ready import Finished, Ready
from service.recommend.served import Serving
from service.recommend.slates import Shown
from service.samples import LoopCounter

NO_POOL = UUID(int=0)
"""Stands in impressions for the pool of an empty answer that had none."""

_encode = msgspec.json.Encoder().encode


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
    finished: Finished | None = None
    """The same slate as it is held, to be served again: of which the JSON of its people and their row need not be made twice."""

    @classmethod
    def nothing(cls, algorithm_version: str, message: str, arm: ExperimentArm | None = None) -> Self:
        return cls(algorithm_version=algorithm_version, message=message, experiment=arm)

    @property
    def counts(self) -> bool:
        """Whether it is remembered as shown. In an experiment an empty answer is: else an arm that finds nobody would seem to
        have been asked less often."""
        return bool(self.shown) or self.experiment is not None


class Reply(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An answer with its time and ids. What it says is said by the names that it has in a Slate."""

    answer: Answer
    request_id: str
    explain: bool
    degraded: tuple[Degradation, ...]
    generation_time_ms: float
    slate_id: UUID

    @property
    def total_count(self) -> int:
        return len(self.answer.shown)

    @property
    def algorithm_version(self) -> str:
        return self.answer.algorithm_version

    @property
    def bundle_version(self) -> str | None:
        return self.answer.bundle_version

    @property
    def experiment(self) -> ExperimentArm | None:
        return self.answer.experiment

    @property
    def cached(self) -> bool:
        return self.answer.cached

    @property
    def people(self) -> ShownPeople:
        """Who is shown, as the row that remembers it has them."""
        finished = self.answer.finished
        return shown_people(self.answer.shown) if finished is None else finished.people

    @property
    def slate(self) -> Slate:
        """The reply in parts."""
        answer = self.answer
        return Slate(
            recommendations=_people(answer),
            total_count=self.total_count,
            algorithm_version=answer.algorithm_version,
            bundle_version=answer.bundle_version,
            experiment=answer.experiment,
            ordering=answer.ordering,
            generation_time_ms=self.generation_time_ms,
            cached=answer.cached,
            degraded=self.degraded,
            message=answer.message,
            explained=UNSET if not self.explain else answer.told is not None and answer.told.explained,
            slate_id=self.slate_id,
            request_id=self.request_id,
        )

    @property
    def body(self) -> bytes:
        """The slate's JSON, joined: 2 us for 20 people that are held as well, where making and encoding each takes 25."""
        if self.explain:
            return _encode(self.slate)
        json = SlateJson(self._head(), slate_tail(self.cached, self.degraded, self.answer.message))
        return json.head + json.end(self.generation_time_ms, self.slate_id, self.request_id)

    def _head(self) -> bytes:
        answer = self.answer
        if answer.finished is not None:
            return answer.finished.json.head
        entries = [shown.entry for shown in answer.shown]
        return slate_head(entries, answer.algorithm_version, answer.bundle_version, answer.experiment, answer.ordering)


def _people(answer: Answer) -> tuple[RecommendedPerson, ...]:
    people = (shown.person for shown in answer.shown)
    if answer.told is None:
        return tuple(people)
    return tuple(msgspec.structs.replace(one, reasons=why) for one, why in zip(people, answer.told.reasons, strict=True))


def impression(reply: Reply, viewer_id: int, served_at: datetime) -> Impression:
    """The row that remembers this slate."""
    answer = reply.answer
    return Impression(
        slate_id=reply.slate_id,
        request_id=reply.request_id,
        viewer_id=viewer_id,
        served_at=served_at,
        algorithm_version=answer.algorithm_version,
        bundle_version=answer.bundle_version,
        experiment=answer.experiment,
        pool_id=NO_POOL if answer.pool is None else answer.pool.pool_id,
        people=reply.people,
        cached=answer.cached,
        degraded=bool(reply.degraded),
        teams=answer.teams,
        generation_ms=reply.generation_time_ms,
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


def observation(reply: Reply, error: bool, stages_ms: Mapping[str, float]) -> Observation:
    """What the performance report counts."""
    pool = reply.answer.pool
    return Observation(
        algorithm_version=reply.algorithm_version,
        generation_ms=reply.generation_time_ms,
        n_candidates=0 if pool is None else len(pool),
        cached=reply.cached,
        degraded=bool(reply.degraded),
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


def count(reply: Reply) -> None:
    """The counters of an answered request."""
    for bent in reply.degraded:
        DEGRADED.labels(bent.stage, bent.reason).inc()
    _recommendations(reply.algorithm_version, reply.cached, bool(reply.degraded)).count()
    if (arm := reply.experiment) is not None:
        _inside(arm.name, arm.arm, bool(reply.degraded)).count()


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
