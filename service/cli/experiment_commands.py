"""The names, options and help of `amity experiments`; what they do is imported when it is done, as in service.cli.commands."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from service.errors import OperatorError
from service.settings import load

group = typer.Typer(
    help="Experiments: create, list, start, ramp, stop, report, estimate.", no_args_is_help=True, rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]
Traffic = Annotated[float, typer.Option(help="Share of all viewers, or of the layer: more than 0, at most 1.")]

DAYS = 28
MOST_DAYS = 3650
MOST_DRAWS = 50_000
"""650 MB of features read, 160 MB of them kept."""


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
    from service.cli import experiments

    given = {
        "name": name,
        "traffic": traffic,
        "arms": experiments.arms(arm, weight),
        "design": design,
        "unit": unit,
        "cluster_by": cluster_by,
        "layer": layer,
        "salt": salt,
        "guardrails": experiments.bounds(guardrail or []) | {"stop": stop_arms},
    }
    experiments.create(load(), given, start, as_json)


@group.command("list")
def list_(as_json: Json = False) -> None:
    """All experiments, newest first."""
    from service.cli import experiments

    experiments.show_all(load(), as_json)


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


@group.command("estimate")
def estimate(
    algorithm: Annotated[str, typer.Argument(help="An installed ranker; it need not have served anybody.")],
    against: Annotated[str | None, typer.Option(help="Ranker to compare with; the default one if not given.")] = None,
    days: Annotated[float, typer.Option(help="Slates of so many days until now.")] = DAYS,
    bundle: Annotated[str | None, typer.Option(help="Bundle to take the rankers from; the live one if not given.")] = None,
    in_sample: Annotated[bool, typer.Option("--in-sample", help="Count slates that the bundle learnt from, too.")] = False,
    clip: Annotated[float | None, typer.Option(help="Cut weights above this, 1 or more; calmer, and too low.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="At most so many draws, by lot.")] = MOST_DRAWS,
    as_json: Json = False,
) -> None:
    """Estimate what a ranker not yet served would bring, from the draws of exploration slots."""
    if not 0 < days <= MOST_DAYS:  # not left to typer, whose bounds let NaN through
        raise OperatorError(f"--days must be above 0 and at most {MOST_DAYS}")
    if clip is not None and not 1 <= clip < math.inf:
        raise OperatorError("--clip must be a number from 1 on")
    from service.cli import estimate

    question = estimate.Question(
        algorithm=algorithm, against=against, bundle=bundle, days=days, in_sample=in_sample, clip=clip, most_draws=draws
    )
    estimate.show(load(), question, as_json)


@group.command("report")
def report(
    name: str,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout, as the route does.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here; it needs nothing else.")] = None,
) -> None:
    """What an experiment has shown so far, and what it means."""
    from service.cli import report

    report.show(load(), name, as_json, html)


def _change(name: str, given: dict[str, Any], as_json: bool) -> None:
    from service.cli import experiments

    experiments.change(load(), name, given, as_json)
