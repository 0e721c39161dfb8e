"""`amity experiments`: create, list, start, ramp and stop, through the same door as the routes. Replicas look twice a second."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from service.cli.data import in_database
from service.cli.output import answer, table
from service.controllers.decoding import decode_body
from service.controllers.experiment_shapes import ExperimentBody, ExperimentChanges
from service.domain_experiments import Experiment
from service.errors import BadInput, ExperimentConflict, Problem
from service.experiments.management import Management
from service.features.definitions import FEATURES
from service.plugins import load_rankers
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.settings import Settings, load
from service.telemetry import Progress
from service.threads import ThreadDoor

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

group = typer.Typer(
    help="Experiments: create, list, start, ramp, stop, report, estimate.", no_args_is_help=True, rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]
Traffic = Annotated[float, typer.Option(help="Share of all viewers, or of the layer: more than 0, at most 1.")]
_COLUMNS = ["name", "status", "design", "unit", "layer", "traffic", "arms"]


@group.command("create")
def create(
    name: str,
    arm: Annotated[list[str], typer.Option(help="NAME=RANKER, once for each arm; the first is the control.")],
    weight: Annotated[list[float] | None, typer.Option(help="Relative size, once for each arm in their order.")] = None,
    traffic: Traffic = 1.0,
    unit: Annotated[str, typer.Option(help="viewer or cluster.")] = "viewer",
    cluster_by: Annotated[str | None, typer.Option(help="community or location; with the unit cluster.")] = None,
    design: Annotated[str, typer.Option(help="ab or interleaving.")] = "ab",
    layer: Annotated[str | None, typer.Option(help="Experiments of one layer never share a viewer.")] = None,
    salt: Annotated[str | None, typer.Option(help="Decides who is in which arm; the name if not given.")] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=NUMBER, repeatable: max_p95_ms, max_degraded_share, max_empty_share or min_newcomer_ratio.",
        ),
    ] = None,
    stop_arms: Annotated[bool, typer.Option("--stop-arms", help="End an arm that surely breaks a guardrail.")] = False,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    as_json: Json = False,
) -> None:
    """Make an experiment, such as: amity experiments create trial --arm control=v1 --arm treatment=v2 --traffic 0.1 --start"""
    rails = {key: _number(f"guardrails.{key}", value) for key, value in _pairs("guardrail", guardrail or [])}
    given = {
        "name": name,
        "traffic": traffic,
        "arms": _arms(arm, weight),
        "design": design,
        "unit": unit,
        "cluster_by": cluster_by,
        "layer": layer,
        "salt": salt,
        "guardrails": rails | {"stop": stop_arms},
    }
    draft = _decoded(given, ExperimentBody).to_draft(datetime.now(UTC))

    async def work(management: Management) -> Experiment:
        made = await management.create(draft)
        if not start:
            return made
        try:
            return await management.change(name, _changes(status="running").to_changes())
        except ExperimentConflict as exc:
            raise ExperimentConflict(f"{name!r} is a draft now and was not started: {exc.message}") from exc

    _show(_managed(work), as_json)


@group.command("list")
def list_(as_json: Json = False) -> None:
    """All experiments, newest first."""

    async def work(management: Management) -> Sequence[Experiment]:
        return await management.list()

    found = _managed(work)
    if as_json:
        answer(found, True, [])
    else:
        table("Experiments", _COLUMNS, [_row(each) for each in found])


@group.command("start")
def start(name: str, traffic: Traffic | None = None, as_json: Json = False) -> None:
    """Start a draft; in effect on every replica within a second."""
    given = {"status": "running"} | ({} if traffic is None else {"traffic": traffic})
    _change(name, given, as_json)


@group.command("ramp")
def ramp(
    name: str,
    traffic: Annotated[float, typer.Argument(help="Share of all viewers, or of the layer: more than 0, at most 1.")],
    as_json: Json = False,
) -> None:
    """Change the share of viewers; nobody changes arms."""
    _change(name, {"traffic": traffic}, as_json)


@group.command("stop")
def stop(
    name: str,
    arm: Annotated[str | None, typer.Option(help="Stop only this arm, which is not the control.")] = None,
    as_json: Json = False,
) -> None:
    """Give everybody the default ranker again; an experiment that has stopped does not start again."""
    _change(name, {"status": "stopped"} if arm is None else {"stop_arm": arm}, as_json)


def _change(name: str, given: dict[str, Any], as_json: bool) -> None:
    changes = _changes(**given).to_changes()
    _show(_managed(lambda management: management.change(name, changes)), as_json)


def _changes(**given: Any) -> ExperimentChanges:
    return _decoded(given, ExperimentChanges)


def _decoded(given: dict[str, Any], into: type[S]) -> S:
    """As the route decodes it, so that what is wrong is said in the same words."""
    return decode_body(msgspec.json.encode(given), into)


def _managed(work: Callable[[Management], Awaitable[T]]) -> T:
    settings = load()

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


def _arms(arms: Sequence[str], weights: Sequence[float] | None) -> list[dict[str, Any]]:
    given = _pairs("arm", arms)
    if weights and len(weights) != len(given):
        raise BadInput.of("weight", f"must be given once for each of the {len(given)} arms, or not at all")
    pairs = zip(given, weights or [1.0] * len(given), strict=True)
    return [{"name": name, "algorithm_version": ranker, "weight": weight} for (name, ranker), weight in pairs]


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
    answer(experiment, as_json, [f"{experiment.name} is {experiment.status}, {experiment.traffic:.2%} of viewers", *arms])


def _row(experiment: Experiment) -> list[str]:
    arms = ", ".join(f"{arm.name}={arm.algorithm_version}" for arm in experiment.arms)
    unit = experiment.unit if experiment.cluster_by is None else f"{experiment.unit} by {experiment.cluster_by}"
    return [
        experiment.name,
        experiment.status,
        experiment.design,
        unit,
        experiment.layer or "",
        f"{experiment.traffic:.2%}",
        arms,
    ]
