"""The parts of experiments, beside those that answer requests: changing them, watching their guardrails, reporting on them."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.app_recommend import Shared
from service.errors import AmityError
from service.experiments.management import Management
from service.population.loader import Origin
from service.recommend.ports import ModelSource
from service.reporting.building import Reports
from service.reporting.watching import FACT, GuardrailWatcher
from service.repositories.arm_figures import ArmFigures
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.outcomes import ExperimentOutcomes
from service.repositories.rounds import Rounds
from service.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Experimenting:
    """`watcher` is to be kept running."""

    management: Management
    watcher: GuardrailWatcher
    reports: Reports

    @classmethod
    def of(
        cls, settings: Settings, store: Experiments, database: Database, shared: Shared, origin: Origin, models: ModelSource
    ) -> "Experimenting":
        management, figures = _management(store, shared, origin, models), ArmFigures(database.sessions)
        return cls(
            management=management,
            watcher=GuardrailWatcher(
                experiments=store,
                figures=figures,
                management=management,
                rounds=Rounds(database.sessions, FACT),
                every_s=settings.guardrails_poll_s,
            ),
            reports=Reports(
                experiments=store,
                outcomes=ExperimentOutcomes(database.sessions),
                figures=figures,
                door=origin.door,
                kept_days=settings.impressions_retention_days,
            ),
        )

    def injected(self) -> dict[str, Any]:
        """What handlers get, by name."""
        return {"management": self.management, "reports": self.reports}


def _management(store: Experiments, shared: Shared, origin: Origin, models: ModelSource) -> Management:
    """Each change is heeded here before its caller hears of it, and everywhere soon after."""

    async def tell() -> None:
        with suppress(AmityError):  # the change is committed; what cannot be read just now is read at the next look
            await shared.registry.load()
        await shared.news.tell_of_experiments()

    return Management(
        store=store,
        users=origin.users,
        interactions=origin.interactions,
        door=origin.door,
        installed=lambda: models.current.rankers,
        tell=tell,
    )
