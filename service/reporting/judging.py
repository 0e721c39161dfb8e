"""A report out of what was counted: the statistics at each look, and what they say now. Pure; seconds for a large experiment."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
import numpy as np

from service.domain_experiments import ClusterMap, Experiment, Window
from service.experiments import credit, guardrails
from service.experiments.analysis import DEFAULT_PLAN, METRICS, ArmFigures, Comparison, compare
from service.experiments.credit import Interleaved, Preference
from service.experiments.guardrails import Kept
from service.experiments.outcomes import Credits, Floats
from service.experiments.ratios import Counted, Estimate, Lift, Terms, rate
from service.experiments.reports import ArmReport, Look, Randomisation, Report
from service.experiments.routing import INTERLEAVED
from service.experiments.verdict import Verdict, judge, judge_preference
from service.reporting import words
from service.reporting.looks import Moment, Table, moments, tabulate
from service.repositories.arm_figures import ArmServed
from service.repositories.outcomes import Observed

_PACE_DAYS = 7
"""The pace at which data come in is that of the last week: weekdays differ."""
_DAY_S = 86_400.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All that the database says of an experiment, in a window that begins with it. `kept_since`: slates from before are deleted;
    None: none are."""

    experiment: Experiment
    window: Window
    observed: Observed
    served: Mapping[str, ArmServed]
    clusters: ClusterMap | None = None
    kept_since: datetime | None = None

    @property
    def days(self) -> float:
        return (self.window.until - self.window.since).total_seconds() / _DAY_S


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between designs."""

    arms: tuple[ArmReport, ...]
    verdicts: tuple[Verdict, ...]
    looks: tuple[Look, ...]
    primary: str
    n_units: int
    comparison: Comparison | None = None
    interleaved: Interleaved | None = None


def judged(evidence: Evidence) -> Report:
    """The report. Of equal evidence, equal reports."""
    experiment, kept = evidence.experiment, guardrails.examine(evidence.experiment, dict(evidence.served))
    is_interleaved = experiment.design == "interleaving"
    table = tabulate(evidence.observed, 1 if is_interleaved else len(experiment.arms), evidence.clusters)
    found = (_interleaved if is_interleaved else _compared)(evidence, table, kept)
    touched = None if is_interleaved else table.touched()
    return Report(
        name=experiment.name,
        design=experiment.design,
        status=experiment.status,
        traffic=experiment.traffic,
        layer=experiment.layer,
        started_at=evidence.window.since,
        until=evidence.window.until,
        days=round(evidence.days, 3),
        primary=found.primary,
        alpha=DEFAULT_PLAN.terms.alpha,
        verdicts=found.verdicts,
        randomisation=Randomisation(
            unit=experiment.unit,
            cluster_by=experiment.cluster_by,
            units=found.n_units,
            touched=touched,
            statement=words.randomisation(experiment, found.n_units, touched),
        ),
        arms=found.arms,
        mismatch=None if found.comparison is None else found.comparison.mismatch,
        interleaved=found.interleaved,
        guardrails=kept,
        counting=words.counting(experiment),
        notes=(*words.left_out(table.crossed, table.alien), *words.forgotten(evidence.window.since, evidence.kept_since)),
        looks=found.looks,
    )


def _compared(evidence: Evidence, table: Table, kept: tuple[Kept, ...]) -> _Found:
    """Arms of an A/B experiment. One look's outcomes at a time: those of 60 looks at 200,000 viewers are 880 MB."""
    experiment, times = evidence.experiment, moments(evidence.days)
    plan = msgspec.structs.replace(DEFAULT_PLAN, unit=experiment.unit)
    comparisons = [compare([table.outcomes(moment)], experiment.arms, plan) for moment in times[:-1]]
    pace = [moment for moment in times[:-1] if 0 < moment.days <= times[-1].days - _PACE_DAYS][-1:]
    now = compare([table.outcomes(moment) for moment in (*pace, times[-1])], experiment.arms, plan)
    lifts = {against.name: against.lifts for against in now.against}
    return _Found(
        arms=tuple(_arm(figures, evidence, lifts.get(figures.name, {})) for figures in now.arms),
        verdicts=judge(now, _reasons(experiment, kept)),
        looks=tuple(
            _look(min(moment.before, evidence.days), each) for moment, each in zip(times, [*comparisons, now], strict=True)
        ),
        primary=plan.primary,
        n_units=sum(figures.units for figures in now.arms),
        comparison=now,
    )


def _arm(figures: ArmFigures, evidence: Evidence, lifts: dict[str, Lift]) -> ArmReport:
    weights = {arm.name: arm.weight for arm in evidence.experiment.arms}
    return ArmReport(
        name=figures.name,
        algorithm_version=figures.algorithm_version,
        weight=weights[figures.name],
        stopped=figures.stopped,
        units=figures.units,
        viewers=figures.viewers,
        slates=figures.slates,
        impressions=figures.shown,
        likes=figures.likes,
        matches=figures.matches,
        rates=figures.rates,
        lifts=lifts,
        **_served(evidence.served.get(figures.name)),
    )


def _served(served: ArmServed | None) -> dict[str, float | None]:
    if served is None:
        return {}
    return {
        "p50_ms": served.p50_ms,
        "p95_ms": served.p95_ms,
        "degraded_share": served.degraded.share,
        "empty_share": served.empty.share,
        "newcomer_share": None if served.newcomers is None else served.newcomers.share,
    }


def _look(days: float, comparison: Comparison) -> Look:
    return Look(
        days=round(float(days), 3),
        rates={arm.name: arm.rates for arm in comparison.arms},
        lifts={
            against.name: {name: Estimate(value=lift.value, low=lift.low, high=lift.high) for name, lift in against.lifts.items()}
            for against in comparison.against
        },
    )


def _reasons(experiment: Experiment, kept: tuple[Kept, ...]) -> dict[str, str]:
    """Why arms have ended, where it was for a guardrail."""
    broken = guardrails.ended(experiment, kept)
    return {name: f"it broke the guardrail {each.guardrail} ({each.text})" for name, each in broken.items()}


def _interleaved(evidence: Evidence, table: Table, kept: tuple[Kept, ...]) -> _Found:
    """Two rankers that shared their slates."""
    experiment, times, terms = evidence.experiment, moments(evidence.days), DEFAULT_PLAN.terms
    preferences = [credit.prefer(table.credits(moment), experiment.arms, terms) for moment in times]
    now, given = preferences[-1], table.credits(times[-1])
    return _Found(
        arms=tuple(_team(evidence, given, place, terms) for place in (0, 1)),
        verdicts=(_preferred(experiment, now, kept),),
        looks=tuple(_preference(moment, evidence.days, each) for moment, each in zip(times, preferences, strict=True)),
        primary="likes",
        n_units=now.viewers,
        interleaved=now,
    )


def _preferred(experiment: Experiment, now: Interleaved, kept: tuple[Kept, ...]) -> Verdict:
    new = experiment.arms[1]
    if not new.stopped:
        return judge_preference(now, DEFAULT_PLAN.smallest_lift)
    reason = _reasons(experiment, kept).get(new.name, "viewers get the default")
    return Verdict(kind="stopped", arm=new.name, text=f"{new.name} was stopped: {reason}.")


def _team(evidence: Evidence, given: Credits, place: int, terms: Terms) -> ArmReport:
    """What one ranker brought into the slates. Rates are of its own positions, which both rankers' draft gave it."""
    arm = evidence.experiment.arms[place]
    shown, likes, matches = (getattr(given, f"{('first', 'second')[place]}_{name}") for name in ("shown", "likes", "matches"))
    n_viewers = len(np.unique(given.unit))
    counted = {"matches": matches, "likes": likes, "shown": shown, "viewers": np.ones(len(given))}
    return ArmReport(
        name=arm.name,
        algorithm_version=arm.algorithm_version,
        weight=arm.weight,
        stopped=arm.stopped,
        units=n_viewers,
        viewers=n_viewers,
        slates=_total(given.slates),
        impressions=_total(shown),
        likes=_total(likes),
        matches=_total(matches),
        rates={name: _rate(counted, name, terms) for name in METRICS},
        lifts={},
        **_served(evidence.served.get(INTERLEAVED)),
    )


def _rate(counted: dict[str, Floats], metric: str, terms: Terms) -> Estimate:
    numerator, denominator = METRICS[metric]
    return rate(Counted(numerator=counted[numerator], denominator=counted[denominator]), terms)


def _total(column: Floats) -> int:
    return round(float(column.sum()))


def _preference(moment: Moment, days: float, now: Interleaved) -> Look:
    def estimate(preference: Preference) -> Estimate:
        return Estimate(value=preference.value, low=preference.low, high=preference.high)

    return Look(
        days=round(float(min(moment.before, days)), 3),
        preferences={"likes": estimate(now.likes), "matches": estimate(now.matches)},
    )
