"""Makes reports: reads what the database counted, and judges it in a thread."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain_experiments import ClusterMap, Experiment, Window
from service.errors import ExperimentConflict
from service.experiments.guardrails import watched_arms
from service.experiments.management import now_utc
from service.experiments.reports import Report
from service.reporting.judging import Evidence, judged
from service.repositories.arm_figures import ArmFigures, Wanted
from service.repositories.clusters import unpack
from service.repositories.experiments import Experiments
from service.repositories.outcomes import Asked, ExperimentOutcomes
from service.resilience import Deadline
from service.threads import ThreadDoor

_LONGEST_S = 300.0
"""For the statistics: 28 looks at a million slates to 50,000 viewers take 1.7 s of one core."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reports:
    """One report at a time: each may keep a connection to the database busy for many seconds. `kept_days`: of slates."""

    experiments: Experiments
    outcomes: ExperimentOutcomes
    figures: ArmFigures
    door: ThreadDoor
    kept_days: int
    now: Callable[[], datetime] = now_utc
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, name: str) -> Report:
        """The report, up to now or to the stop. The event loop stays free.

        Raises UnknownExperiment, ExperimentConflict for one that has not started, DatabaseUnavailable, StageTimeout.
        """
        async with self.one_at_a_time:
            evidence = await self._evidence(await self.experiments.get(name))
            return await self.door.call("report", judged, evidence, deadline=Deadline(_LONGEST_S), at_most=1)

    async def _evidence(self, experiment: Experiment) -> Evidence:
        if experiment.started_at is None:
            raise ExperimentConflict(f"{experiment.name!r} has not started, so there is nothing to report")
        window = Window(experiment.started_at, experiment.stopped_at or self.now())
        arms = watched_arms(experiment)
        asked = Asked(experiment.name, arms, window, with_teams=experiment.design == "interleaving")
        wanted = Wanted(slow_ms=experiment.guardrails.max_p95_ms, times=True, newcomers=True)
        return Evidence(
            experiment=experiment,
            window=window,
            observed=await self.outcomes.observed(asked),
            served=await self.figures.served(asked, wanted),
            clusters=await self._clusters(experiment),
            kept_since=self.now() - timedelta(days=self.kept_days),
        )

    async def _clusters(self, experiment: Experiment) -> ClusterMap | None:
        if experiment.unit != "cluster":
            return None
        packed = await self.experiments.packed_clusters(experiment.name)
        if packed is None:
            raise ExperimentConflict(f"{experiment.name!r} has lost its map of clusters, so nobody can say who was in which arm")
        return await self.door.call("cluster maps", unpack, packed, deadline=Deadline(_LONGEST_S))
