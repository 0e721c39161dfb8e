"""Evidence of experiments with a known truth, for what is made of it: reports, tables, pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from service.domain_experiments import Arm, Experiment, Window
from service.reporting.judging import Evidence
from service.repositories.arm_figures import ArmServed, Sums
from service.repositories.outcomes import Before, Given, Liked, Observed

START = datetime(2026, 10, 5, 9, 30, tzinfo=UTC)
ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))


def experiment(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "trial",
        "salt": "s",
        "traffic": 0.5,
        "arms": ARMS,
        "status": "running",
        "created_at": START - timedelta(days=1),
        "started_at": START,
    }
    return Experiment(**values | changes)


def evidence(
    n_viewers: int = 600,
    days: float = 9.5,
    lift: float = 0.0,
    seed: int = 7,
    served: dict[str, ArmServed] | None = None,
    **changes: Any,
) -> Evidence:
    """Viewers with even ids are in the control, with odd ids in the treatment, who like that much more often; one like in four is
    a match. Each has a slate of 20 a day, from a day of the first week on. Interleaved, each is the viewer of both arms."""
    trial, rng = experiment(**changes), np.random.default_rng(seed)
    is_interleaved = trial.design == "interleaving"
    first = rng.integers(0, min(7, int(days) + 1), n_viewers)
    viewer, day = np.nonzero(np.arange(int(days) + 1) >= first[:, None])
    arm = np.zeros(len(viewer), np.int64) if is_interleaved else viewer % 2
    many = np.full(len(viewer), 20)
    given = Given(viewer + 1000, arm, day, many // 20, many, many // 2 - 1, many // 2 - 1)
    return Evidence(
        experiment=trial,
        window=Window(START, START + timedelta(days=days)),
        observed=Observed(given=given, liked=_liked(given, lift, is_interleaved, rng), before=_before(n_viewers, rng)),
        served=served or {},
    )


def _liked(given: Given, lift: float, is_interleaved: bool, rng: np.random.Generator) -> Liked:
    n = len(given.viewer)
    counts = [rng.poisson(0.5, n), rng.poisson(0.5 * (1 + lift), n)] if is_interleaved else [rng.poisson(1 + lift * given.arm, n)]
    row = np.concatenate([np.repeat(np.arange(len(given.viewer)), count) for count in counts])
    team = np.concatenate([np.full(count.sum(), place if is_interleaved else -1) for place, count in enumerate(counts)])
    matched = rng.random(len(row)) < 0.25
    day = given.day[row]
    target = rng.integers(1000, given.viewer.max(initial=1000) + 1, len(row))
    return Liked(given.viewer[row], target, given.arm[row], day, np.where(matched, day, -1), team)


def _before(n_viewers: int, rng: np.random.Generator) -> Before:
    viewer, opinions = np.arange(n_viewers) + 1000, rng.poisson(30, n_viewers)
    return Before(viewer, opinions * 20, viewer, rng.binomial(opinions, 0.1), opinions)


def sums(y: Any, n: Any) -> Sums:
    """Of viewers with y of n slates each."""
    y, n = np.broadcast_arrays(np.asarray(y, float), np.asarray(n, float))
    return Sums(viewers=len(y), y=y.sum(), n=n.sum(), yy=(y * y).sum(), yn=(y * n).sum(), nn=(n * n).sum())
