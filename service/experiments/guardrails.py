"""Whether an arm keeps its guardrails, as far as can be said surely, at every look. Pure.

Of a share that may be at most b, with y_i of viewer i's n_i slates being of the kind, d_i = y_i - b·n_i has a mean of 0 at
most while the guardrail is kept. With the sum T of all d_i and V = Σd_i² as the clock, the normal mixture

    M = (1 + g)^(-1/2) · exp(T² / 2V · g / (1 + g)),      g = V · RHO²

stays below 1 / ALPHA with the probability 1 - ALPHA at all looks (sequences.py; the self-normalised form of de la Peña, Ann.
Probab. 1999). A viewer counts once, however many slates: one whose every slate fails, a thousand of them, is no proof.
"""

import math
from typing import Literal

import msgspec

from service.domain_experiments import Experiment
from service.experiments import sequences
from service.experiments.figures import part, percent
from service.experiments.ratios import LEAST_UNITS
from service.experiments.routing import INTERLEAVED
from service.repositories.arm_figures import ArmServed, Sums

ALPHA = 0.01
"""How often an arm that keeps a guardrail may be taken for one that breaks it, at any look."""
P95_SHARE = 0.05
"""A 95th percentile is above a bound when more than this share is."""
RHO = 0.7
"""Tuned for few viewers: where each has one slate and all of them fail, about 14 are proof for a bound of 5 %."""
_TUNED_NEWCOMERS = 0.01
"""A percentage point of the positions: the difference for which newcomers are judged soonest."""

Rail = Literal["max_p95_ms", "max_degraded_share", "max_empty_share", "min_newcomer_ratio"]
State = Literal["kept", "unsure", "broken"]
_SHARES: dict[Rail, str] = {"max_degraded_share": "degraded", "max_empty_share": "empty"}
_WORDS = {"max_degraded_share": "degraded slates", "max_empty_share": "empty slates"}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail of one arm. `value`: what is seen, None where nothing is. `state`: `unsure` is beyond the bound, but may be
    by chance; `broken` is beyond it surely. `p_value` is always valid. `text` says it in words."""

    arm: str
    guardrail: Rail
    bound: float
    value: float | None
    state: State
    p_value: float
    text: str


def watched_arms(experiment: Experiment) -> tuple[str, ...]:
    """The arms as slates name them."""
    return (INTERLEAVED,) if experiment.design == "interleaving" else tuple(arm.name for arm in experiment.arms)


def examine(experiment: Experiment, served: dict[str, ArmServed]) -> tuple[Kept, ...]:
    """Each guardrail that is set, of each arm. The control has no newcomers' ratio to itself."""
    rails, control = experiment.guardrails, experiment.arms[0].name
    found = []
    for name, arm in served.items():
        if rails.max_p95_ms is not None:
            found.append(_latency(arm, rails.max_p95_ms))
        for rail, kind in _SHARES.items():
            bound = getattr(rails, rail)
            if bound is not None:
                found.append(_share(name, rail, getattr(arm, kind), bound))
        if rails.min_newcomer_ratio is not None and name != control and control in served:
            found.append(_newcomers(arm, served[control], rails.min_newcomer_ratio))
    return tuple(found)


def to_stop(experiment: Experiment, examined: tuple[Kept, ...]) -> dict[str, Kept]:
    """The arms that run and are to end, with the guardrail that each surely breaks."""
    running = {arm.name for arm in experiment.arms if not arm.stopped}
    return {name: kept for name, kept in ended(experiment, examined).items() if name in running}


def ended(experiment: Experiment, examined: tuple[Kept, ...]) -> dict[str, Kept]:
    """The arms that guardrails end, or have ended, with the guardrail that each surely breaks; nobody where the guardrails do not
    say `stop`.

    An arm stays that breaks what the control breaks, too: then the fault is not its own, and the default would serve no better.
    Where two rankers fill one slate, it is the new one that ends.
    """
    if not experiment.guardrails.stop:
        return {}
    broken = [each for each in examined if each.state == "broken"]
    if experiment.design == "interleaving":
        return {experiment.arms[1].name: broken[0]} if broken else {}
    control = experiment.arms[0].name
    everybodys = {each.guardrail for each in broken if each.arm == control}
    return {each.arm: each for each in reversed(broken) if each.guardrail not in everybodys}


def _latency(arm: ArmServed, bound_ms: float) -> Kept:
    p_value = p_above(arm.slow, P95_SHARE)
    share, beyond = arm.slow.share, (arm.slow.share or 0.0) > P95_SHARE
    seen = "no time is known yet" if share is None else f"{percent(share)} of the slates took longer than {bound_ms:g} ms"
    return Kept(
        arm=arm.arm,
        guardrail="max_p95_ms",
        bound=bound_ms,
        value=arm.p95_ms,
        state=_state(beyond, p_value),
        p_value=p_value,
        text=f"{seen}, and at most {part(P95_SHARE)} may",
    )


def _share(arm: str, rail: Rail, sums: Sums, bound: float) -> Kept:
    p_value, share = p_above(sums, bound), sums.share
    seen = f"no {_WORDS[rail]} yet" if share is None else f"{percent(share)} {_WORDS[rail]}"
    return Kept(
        arm=arm,
        guardrail=rail,
        bound=bound,
        value=share,
        state=_state((share or 0.0) > bound, p_value),
        p_value=p_value,
        text=f"{seen}, and at most {part(bound)} are allowed",
    )


def _newcomers(arm: ArmServed, control: ArmServed, ratio: float) -> Kept:
    own, usual = arm.newcomers or Sums(), control.newcomers or Sums()
    p_value = p_below(own, usual, ratio)
    value = own.share / usual.share if own.share is not None and usual.share else None
    seen = (
        "newcomers' part is not known yet"
        if value is None
        else f"newcomers get {percent(value, 0)} of the part that the control gives"
    )
    return Kept(
        arm=arm.arm,
        guardrail="min_newcomer_ratio",
        bound=ratio,
        value=value,
        state=_state(value is not None and value < ratio, p_value),
        p_value=p_value,
        text=f"{seen}, and at least {part(ratio)} is wanted",
    )


def _state(beyond: bool, p_value: float) -> State:
    if not beyond:
        return "kept"
    return "broken" if p_value < ALPHA else "unsure"


def p_above(sums: Sums, bound: float) -> float:
    """Always-valid p-value of "the share is `bound` at most".

    A bound above a half is broken by many a little and kept by few by far, whom one may not have seen yet. There V is at least
    what slates that fail or do not, all of a viewer's alike, have for such a bound at most: Σn² / 4 (Hoeffding 1963). Without
    it, a bound of 90 % that was kept was found broken in 17 % of simulations.
    """
    total = sums.y - bound * sums.n
    squares = sums.yy - 2 * bound * sums.yn + bound**2 * sums.nn
    if bound > 0.5:
        squares = max(squares, sums.nn / 4)
    if total <= 0 or squares <= 0:
        return 1.0
    return sequences.p_value(total, math.sqrt(squares), RHO * squares)  # tuned so that g = (tuned / se)² = V · RHO²


def p_below(own: Sums, usual: Sums, ratio: float) -> float:
    """Always-valid p-value of "the first share is `ratio` of the second at least". Asymptotic, as lifts are.

    The first one's variance is at least that of as many of the control's viewers at that ratio: where newcomers are shown to few
    viewers, an arm that has not had those yet seems not to vary. Without it, up to 4 % of arms that kept a ratio were found to
    break it.
    """
    if own.share is None or usual.share is None or min(own.viewers, usual.viewers) < LEAST_UNITS:
        return 1.0
    lacking = ratio * usual.share - own.share
    if lacking <= 0:
        return 1.0
    usually = ratio**2 * _variance(usual)
    se = math.sqrt(max(_variance(own), usually * usual.viewers / own.viewers) + usually)
    return sequences.p_value(lacking, se, _TUNED_NEWCOMERS, min(own.viewers, usual.viewers) - 1)


def _variance(sums: Sums) -> float:
    """Of a share, between viewers; not less than that of as many independent positions, which where nobody was shown is not 0."""
    share, smoothed = sums.y / sums.n, (sums.y + 1) / (sums.n + 2)
    between = (sums.yy - 2 * share * sums.yn + share**2 * sums.nn) / sums.n**2
    return max(between, smoothed * (1 - smoothed) / sums.n)
