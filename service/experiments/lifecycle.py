"""What may become of an experiment: pure functions from one to the next. A change that changes nothing is no error, so that a
request sent again does no harm."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from service.domain_experiments import N_BUCKETS, Experiment, Unread
from service.errors import BadInput, ExperimentConflict, Problem
from service.experiments import layers
from service.experiments.assignment import bounds

MOST_ARMS = 20
MOST_WEIGHT = 1e6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAME_RULE = "must be 1 to 100 letters, digits, dots, dashes or underscores, beginning with a letter or digit"

WHILE_RUNNING = frozenset({"guardrails"})
"""What may be edited of a running experiment, beside its traffic; the rest of it decides who is in which arm."""


def require_sound(experiment: Experiment, installed: Collection[str]) -> None:
    """Raises BadInput that names each field that is wrong. `installed` are the names of rankers."""
    problems = [*_own_problems(experiment), *_arm_problems(experiment, installed), *_guardrail_problems(experiment)]
    if problems:
        raise BadInput(*problems)


def start(experiment: Experiment, running: Sequence[Experiment], now: datetime) -> Experiment:
    """Raises ExperimentConflict for one that is over, and where its layer has no room for it."""
    if experiment.status == "running":
        return experiment
    if experiment.status == "stopped":
        raise ExperimentConflict(f"{experiment.name!r} was stopped and cannot start again; create another one")
    _require_one_unit(experiment, layers.holders(experiment, running))
    buckets = layers.given(replace(experiment, buckets=()), running)
    return replace(experiment, status="running", started_at=now, buckets=buckets)


def ramp(experiment: Experiment, traffic: float, running: Sequence[Experiment]) -> Experiment:
    """More traffic adds viewers, less takes away those added last; nobody changes arms. Raises BadInput, ExperimentConflict."""
    _require_not_over(experiment)
    if problem := _traffic_problem(traffic):
        raise BadInput(problem)
    ramped = replace(experiment, traffic=traffic)
    return ramped if experiment.status == "draft" else replace(ramped, buckets=layers.given(ramped, running))


def stop(experiment: Experiment, now: datetime) -> Experiment:
    """Everybody gets the default again. Raises ExperimentConflict for a draft."""
    if experiment.status == "stopped":
        return experiment
    if experiment.status == "draft":
        raise ExperimentConflict(f"{experiment.name!r} has not started")
    return replace(experiment, status="stopped", stopped_at=now)


def stop_arm(experiment: Experiment, name: str) -> Experiment:
    """The arm's viewers get the default again, and count no longer; the others go on. Raises BadInput for an arm that there is
    not, and ExperimentConflict where the experiment does not run or the arm is the control."""
    if name not in {arm.name for arm in experiment.arms}:
        raise BadInput.of("stop_arm", f"no arm named {name!r}; there are {', '.join(arm.name for arm in experiment.arms)}")
    if experiment.status != "running":
        raise ExperimentConflict(f"{experiment.name!r} does not run")
    if name == experiment.arms[0].name:
        raise ExperimentConflict(f"{name!r} is the control, without which nothing can be compared; stop the experiment instead")
    return replace(experiment, arms=tuple(replace(arm, stopped=arm.stopped or arm.name == name) for arm in experiment.arms))


def edit(experiment: Experiment, changes: dict[str, Any]) -> Experiment:
    """Other values for fields; who calls sees to it that they are sound. Raises ExperimentConflict for what is fixed by now."""
    changed = {name: value for name, value in changes.items() if getattr(experiment, name) != value}
    if changed:
        _require_not_over(experiment)
    fixed = sorted(changed.keys() - WHILE_RUNNING)
    if fixed and experiment.status == "running":
        raise ExperimentConflict(f"{experiment.name!r} is running; its {' and '.join(fixed)} cannot change")
    return replace(experiment, **changed)


def require_layer_known(before: Experiment, after: Experiment, unread: Iterable[Unread]) -> None:
    """Raises ExperimentConflict where more of a layer would be taken in which an experiment runs that this version cannot read:
    which of the viewers are that one's cannot be told."""
    had = layers.size(before.buckets) if before.status == "running" else 0
    if after.layer is None or after.status != "running" or layers.size(after.buckets) <= had:
        return
    for other in unread:
        if other.layer in (after.layer, UNSET):
            raise ExperimentConflict(
                f"layer {after.layer!r} holds {other.name!r}, which a later version of Amity has started and this one cannot "
                "read; start and ramp others there with that version, or once it has stopped"
            )


def _require_not_over(experiment: Experiment) -> None:
    if experiment.status == "stopped":
        raise ExperimentConflict(f"{experiment.name!r} was stopped and cannot change any more")


def _require_one_unit(experiment: Experiment, holders: Sequence[Experiment]) -> None:
    """Two maps of clusters, or one and none, put a viewer into two buckets of one layer: then it keeps nobody apart."""
    for other in holders:
        if "cluster" in (experiment.unit, other.unit):
            raise ExperimentConflict(
                f"layer {experiment.layer!r} holds {other.name!r} by {other.unit}, and {experiment.name!r} goes by "
                f"{experiment.unit}: only experiments by viewer can share a layer"
            )


def _own_problems(experiment: Experiment) -> Iterator[Problem]:
    for field in ("name", "layer"):
        text = getattr(experiment, field)
        if text is not None and not _NAME.fullmatch(text):
            yield Problem(field, _NAME_RULE)
    if not 1 <= len(experiment.salt) <= 100 or "\0" in experiment.salt:
        yield Problem("salt", "must be 1 to 100 characters, and none of them NUL")
    if problem := _traffic_problem(experiment.traffic):
        yield problem
    if (experiment.unit == "cluster") != (experiment.cluster_by is not None):
        yield Problem("cluster_by", "must be given with the unit cluster, and only then")
    if experiment.design == "interleaving" and experiment.unit == "cluster":
        yield Problem("unit", "must be viewer, since interleaving compares within each viewer's slates")


def _traffic_problem(traffic: float) -> Problem | None:
    if not 1 / N_BUCKETS <= traffic <= 1:  # NaN fails this too
        return Problem("traffic", f"must be more than 0, at least {1 / N_BUCKETS}, and at most 1")
    return None


def _arm_problems(experiment: Experiment, installed: Collection[str]) -> Iterator[Problem]:
    arms = experiment.arms
    if experiment.design == "interleaving" and len(arms) != 2:
        yield Problem("arms", "must be two for interleaving")
    elif not 2 <= len(arms) <= MOST_ARMS:
        yield Problem("arms", f"must be at least 2 and at most {MOST_ARMS}")
    for i, arm in enumerate(arms):
        if not _NAME.fullmatch(arm.name):
            yield Problem(f"arms[{i}].name", _NAME_RULE)
        elif arm.name in {other.name for other in arms[:i]}:
            yield Problem(f"arms[{i}].name", f"is the name of another arm, {arm.name!r}")
        if arm.algorithm_version not in installed:
            known = ", ".join(sorted(installed))
            yield Problem(f"arms[{i}].algorithm_version", f"no ranker named {arm.algorithm_version!r}; installed: {known}")
    yield from _weight_problems(experiment)


def _weight_problems(experiment: Experiment) -> Iterator[Problem]:
    weights = [arm.weight for arm in experiment.arms]
    unsound = [i for i, weight in enumerate(weights) if not (isfinite(weight) and 0 < weight <= MOST_WEIGHT)]
    for i in unsound:
        yield Problem(f"arms[{i}].weight", f"must be more than 0 and at most {MOST_WEIGHT:,.0f}")
    if unsound or not weights:
        return
    ends = bounds(weights)
    for i, (begin, end) in enumerate(zip((0, *ends), ends, strict=False)):
        if begin == end:
            yield Problem(f"arms[{i}].weight", f"leaves this arm less than one of {N_BUCKETS:,} parts")


def _guardrail_problems(experiment: Experiment) -> Iterator[Problem]:
    rails = experiment.guardrails
    for field in ("max_p95_ms", "max_degraded_share", "max_empty_share", "min_newcomer_ratio"):
        value, most = getattr(rails, field), 1.0 if field.endswith("_share") else None
        if value is not None and not (isfinite(value) and value >= 0 and (most is None or value <= most)):
            yield Problem(f"guardrails.{field}", "must be a number of at least 0" + (" and at most 1" if most else ""))
