"""Watches the guardrails of running experiments, and ends arms that surely break them: no report needs to be asked for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from service.domain_experiments import Experiment, Window
from service.errors import AmityError, DatabaseUnavailable, ExperimentConflict
from service.experiments.guardrails import Kept, examine, to_stop, watched_arms
from service.experiments.management import Changes, Management, now_utc
from service.metrics import GUARDRAIL_ROUNDS, GUARDRAIL_STOPS
from service.repositories.arm_figures import ArmFigures, Wanted
from service.repositories.experiments import Experiments
from service.repositories.outcomes import Asked
from service.repositories.rounds import Rounds

FACT = "guardrails_due_at"

_log = structlog.get_logger("amity.guardrails")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GuardrailWatcher:
    """One in each replica; whichever comes first when a round is due makes it."""

    experiments: Experiments
    figures: ArmFigures
    management: Management
    rounds: Rounds
    every_s: float
    now: Callable[[], datetime] = now_utc

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                done = await self.rounds.run(self.every_s, self.round)
                GUARDRAIL_ROUNDS.labels("done" if done else "elsewhere").inc()
            except AmityError as exc:
                GUARDRAIL_ROUNDS.labels("failed").inc()
                _log.warning("guardrails cannot be watched", reason=exc.message)

    async def round(self) -> None:
        """Look at each running experiment whose guardrails may end an arm. Raises DatabaseUnavailable, when it has looked at
        all, for those whose figures could not be had."""
        unwatched = []
        for experiment in await self.experiments.running():
            if experiment.guardrails.stop and experiment.started_at is not None:
                try:
                    await self._watch(experiment, experiment.started_at)
                except AmityError as exc:
                    unwatched.append(experiment.name)
                    _log.warning("experiment not watched", experiment=experiment.name, reason=exc.message)
        if unwatched:
            raise DatabaseUnavailable(f"Not watched: {', '.join(unwatched)}")

    async def _watch(self, experiment: Experiment, started_at: datetime) -> None:
        rails = experiment.guardrails
        asked = Asked(experiment.name, watched_arms(experiment), Window(started_at, self.now()))
        wanted = Wanted(slow_ms=rails.max_p95_ms, newcomers=rails.min_newcomer_ratio is not None)
        served = await self.figures.served(asked, wanted)
        for arm, kept in to_stop(experiment, examine(experiment, served)).items():
            await self._stop(experiment, arm, kept)

    async def _stop(self, experiment: Experiment, arm: str, kept: Kept) -> None:
        try:
            await self.management.change(experiment.name, Changes(stop_arm=arm))
        except ExperimentConflict as exc:
            _log.info("arm not stopped", experiment=experiment.name, arm=arm, reason=exc.message)
            return
        GUARDRAIL_STOPS.labels(f"{experiment.name}/{arm}", kept.guardrail).inc()
        _log.warning(
            "arm stopped by guardrail",
            experiment=experiment.name,
            arm=arm,
            guardrail=kept.guardrail,
            seen=kept.text,
            p=kept.p_value,
        )
