"""Arms compared: figures of each, lifts over the control, and whether the arms are as large as they should be. Pure."""

from collections.abc import Sequence

import msgspec
import numpy as np

from service.domain_experiments import Arm, Unit
from service.experiments import covariates, mismatch
from service.experiments.mismatch import Mismatch
from service.experiments.outcomes import BadOutcomes, Floats, Outcomes
from service.experiments.ratios import Counted, Estimate, Lift, Terms, lift, rate

METRICS: dict[str, tuple[str, str]] = {
    "matches_per_viewer": ("matches", "viewers"),
    "matches_per_shown": ("matches", "shown"),
    "like_rate": ("likes", "shown"),
}
"""Each metric's numerator and denominator. The first decides the verdict: a match is what both people want,
while likes can rise by showing those whom everybody likes and who like nobody back."""
PRIMARY = next(iter(METRICS))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided before looking. `terms`: of each interval; with several treatments, `alpha` is shared out among them.
    `smallest_lift`: relative; less would not change what one does. `adjust`: use behaviour from before the start (CUPED)."""

    unit: Unit = "viewer"
    terms: Terms = Terms()
    primary: str = PRIMARY
    smallest_lift: float = 0.05
    adjust: bool = True


DEFAULT_PLAN = Plan()


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One arm so far. `units`: randomised ones seen: as many as viewers, or clusters. `rates`: by name of metric."""

    name: str
    algorithm_version: str
    stopped: bool
    units: int
    viewers: int
    slates: int
    shown: int
    likes: int
    matches: int
    rates: dict[str, Estimate]


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """A treatment against the control: `lifts` by name of metric; a stopped arm has none, for its viewers moved on.

    `information_per_day`: by how much 1 / se² of the primary metric grows a day at the present pace; None where it is unknown.
    """

    name: str
    lifts: dict[str, Lift]
    information_per_day: float | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All arms after `days`. `terms`: those of the lifts: with several treatments each has its part of the plan's alpha.
    `mismatch`: of the arms that run; None with less than two."""

    days: int
    plan: Plan
    terms: Terms
    arms: tuple[ArmFigures, ...]
    against: tuple[Against, ...]
    mismatch: Mismatch | None


class _Units(msgspec.Struct, frozen=True, eq=False):
    """One arm's units: sums of their rows by column, float64 (n,), and of what was known before, (n, p)."""

    sums: dict[str, Floats]
    before: Floats

    def counted(self, metric: str, adjust: bool = False) -> Counted:
        numerator, denominator = METRICS[metric]
        return Counted(numerator=self.sums[numerator], denominator=self.sums[denominator], before=self.before if adjust else None)


def compare(series: Sequence[Outcomes], arms: Sequence[Arm], plan: Plan = DEFAULT_PLAN) -> Comparison:
    """Compare the arms by the last of `series`; an earlier look before it (a week ago, say) tells at what pace data come in.

    Raises BadOutcomes for no look at all, for rows of an arm that is not among `arms`, and for a unit that is in two of them.
    """
    if not series:
        raise BadOutcomes("at least one look at the outcomes is wanted")
    now = series[-1]
    tables = _tables(now, len(arms))
    earlier = next((look for look in series[:-1] if 0 < look.days < now.days), None)
    past = None if earlier is None else _tables(earlier, len(arms))
    days = (0 if earlier is None else earlier.days, now.days)
    running = [number for number, arm in enumerate(arms) if not arm.stopped]
    # A stopped arm keeps its part: whoever looked before it stopped has used it up.
    terms = msgspec.structs.replace(plan.terms, alpha=plan.terms.alpha / max(1, len(arms) - 1))
    against = []
    for number in range(1, len(arms)):
        lifts = {metric: _lift(tables, number, metric, plan, terms) for metric in METRICS if number in running}
        then = None if past is None else _lift(past, number, plan.primary, plan, terms)
        pace = _pace(lifts[plan.primary], then, days) if lifts else None
        against.append(Against(name=arms[number].name, lifts=lifts, information_per_day=pace))
    units = [(len(tables[number].before), arms[number].weight) for number in running]
    return Comparison(
        days=now.days,
        plan=plan,
        terms=terms,
        arms=tuple(_figures(table, arm, plan.terms) for table, arm in zip(tables, arms, strict=True)),
        against=tuple(against),
        mismatch=mismatch.of_shares([count for count, _ in units], [weight for _, weight in units]) if len(units) > 1 else None,
    )


def _tables(outcomes: Outcomes, n_arms: int) -> list[_Units]:
    """The rows of each unit summed, by arm."""
    if len(outcomes) and outcomes.arm.max() >= n_arms:
        raise BadOutcomes(f"a row is of arm {outcomes.arm.max()}, and there are {n_arms}")
    _, first, unit = np.unique(outcomes.unit, return_index=True, return_inverse=True)
    arm_of = outcomes.arm[first]
    if (arm_of[unit] != outcomes.arm).any():
        raise BadOutcomes("a unit has rows in two arms: it cannot be told which of them changed it")
    columns = {name: getattr(outcomes, name) for name in ("slates", "shown", "likes", "matches")}
    columns["viewers"] = np.ones(len(outcomes))
    sums = {name: np.bincount(unit, column, len(first)) for name, column in columns.items()}
    rows = covariates.before(outcomes)
    before = np.stack([np.bincount(unit, column, len(first)) for column in rows.T], axis=1)
    return [
        _Units({name: column[arm_of == number] for name, column in sums.items()}, before[arm_of == number])
        for number in range(n_arms)
    ]


def _lift(tables: list[_Units], number: int, metric: str, plan: Plan, terms: Terms) -> Lift:
    return lift(tables[0].counted(metric, plan.adjust), tables[number].counted(metric, plan.adjust), terms)


def _pace(latest: Lift, past: Lift | None, days: tuple[int, int]) -> float | None:
    """Information a day between the two looks; from the start to the latest where the earlier one knew no interval."""
    if latest.se is None or not days[1]:
        return None
    if past is None or past.se is None:
        return latest.se**-2 / days[1]
    return max(0.0, latest.se**-2 - past.se**-2) / (days[1] - days[0])


def _figures(table: _Units, arm: Arm, terms: Terms) -> ArmFigures:
    totals = {name: round(float(column.sum())) for name, column in table.sums.items()}
    return ArmFigures(
        name=arm.name,
        algorithm_version=arm.algorithm_version,
        stopped=arm.stopped,
        units=len(table.before),
        rates={metric: rate(table.counted(metric), terms) for metric in METRICS},
        **totals,
    )
