"""`amity experiments`: create, list, start, ramp and stop, through the same door as the routes. Replicas look twice a second."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from service.cli.database import in_database
from service.cli.output import answer, table
from service.controllers.decoding import decode_body
from service.controllers.experiment_shapes import ExperimentBody, ExperimentChanges
from service.domain_experiments import Experiment
from service.errors import BadInput, ExperimentConflict, Problem
from service.experiments.figures import part
from service.experiments.management import Management
from service.features.definitions import FEATURES
from service.plugins import load_rankers
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.settings import Settings
from service.telemetry import Progress
from service.threads import ThreadDoor

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_COLUMNS = ["name", "status", "design", "unit", "layer", "traffic", "arms"]


def create(settings: Settings, given: dict[str, Any], start: bool, as_json: bool) -> None:
    """Make an experiment out of the fields of the route's body, and start it."""
    draft = _decoded(given, ExperimentBody).to_draft(datetime.now(UTC))

    async def work(management: Management) -> Experiment:
        made = await management.create(draft)
        if not start:
            return made
        try:
            return await management.change(draft.name, _decoded({"status": "running"}, ExperimentChanges).to_changes())
        except ExperimentConflict as exc:
            raise ExperimentConflict(f"{draft.name!r} is a draft now and was not started: {exc.message}") from exc

    _show(_managed(settings, work), as_json)


def show_all(settings: Settings, as_json: bool) -> None:
    async def work(management: Management) -> Sequence[Experiment]:
        return await management.list()

    found = _managed(settings, work)
    if as_json:
        answer(found, True, [])
    else:
        table("Experiments", _COLUMNS, [_row(each) for each in found])


def change(settings: Settings, name: str, given: dict[str, Any], as_json: bool) -> None:
    """Change what the fields of the route's body say."""
    changes = _decoded(given, ExperimentChanges).to_changes()
    _show(_managed(settings, lambda management: management.change(name, changes)), as_json)


def _decoded(given: dict[str, Any], into: type[S]) -> S:
    """As the route decodes it, so that what is wrong is said in the same words."""
    return decode_body(msgspec.json.encode(given), into)


def _managed(settings: Settings, work: Callable[[Management], Awaitable[T]]) -> T:
    async def run(database: Database, report: Progress) -> T:
        door = ThreadDoor(1)
        try:
            return await work(_management(settings, database, door))
        finally:
            door.close()

    return in_database(settings, run)


def _management(settings: Settings, database: Database, door: ThreadDoor) -> Management:
    sessions = database.sessions
    return Management(
        store=Experiments(sessions),
        users=Users(sessions),
        interactions=Interactions(sessions),
        door=door,
        installed=lambda: load_rankers(settings, FEATURES).by_name,
    )


def arms(arms: Sequence[str], weights: Sequence[float] | None) -> list[dict[str, Any]]:
    """The arms of the route's body. Raises BadInput for what is not NAME=RANKER, and for too few weights."""
    given = _pairs("arm", arms)
    if weights and len(weights) != len(given):
        raise BadInput.of("weight", f"must be given once for each of the {len(given)} arms, or not at all")
    pairs = zip(given, weights or [1.0] * len(given), strict=True)
    return [{"name": name, "algorithm_version": ranker, "weight": weight} for (name, ranker), weight in pairs]


def bounds(guardrails: Sequence[str]) -> dict[str, float]:
    """Of each NAME=NUMBER. Raises BadInput for others."""
    return {name: _number(f"guardrails.{name}", value) for name, value in _pairs("guardrail", guardrails)}


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """The two sides of each NAME=VALUE. Raises BadInput for others."""
    if wrong := [Problem(option, f"{text!r} must be NAME=VALUE") for text in texts if "=" not in text]:
        raise BadInput(*wrong)
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise BadInput.of(field, f"{text!r} is not a number") from exc


def _show(experiment: Experiment, as_json: bool) -> None:
    arms = [f"  {arm.name}: {arm.algorithm_version}{' (stopped)' if arm.stopped else ''}" for arm in experiment.arms]
    answer(experiment, as_json, [f"{experiment.name} is {experiment.status}, {part(experiment.traffic)} of viewers", *arms])


def _row(experiment: Experiment) -> list[str]:
    arms = ", ".join(f"{arm.name}={arm.algorithm_version}" for arm in experiment.arms)
    unit = experiment.unit if experiment.cluster_by is None else f"{experiment.unit} by {experiment.cluster_by}"
    return [
        experiment.name,
        experiment.status,
        experiment.design,
        unit,
        experiment.layer or "",
        part(experiment.traffic),
        arms,
    ]
