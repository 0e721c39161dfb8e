"""What an experiment says, in words that can be acted upon: one verdict for each treatment. Pure."""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from service.experiments import sequences
from service.experiments.analysis import Against, Comparison
from service.experiments.credit import Interleaved
from service.experiments.mismatch import Mismatch
from service.experiments.ratios import Lift, Terms

Kind = Literal["better", "worse", "no_difference", "not_enough_data", "mismatch", "stopped"]

LEAST_CLUSTERS = 10
"""In each arm, for a verdict: below, even Student's quantiles do not hold where clusters are of unequal size
(Cameron and Miller, "A practitioner's guide to cluster-robust inference", J. Human Resources 2015)."""
FEW_CLUSTERS = 20
"""In each arm: below, the verdict comes with a caution."""
_LONG_DAYS = 365
_NAMES = {
    "matches_per_viewer": "matches per viewer",
    "matches_per_shown": "matches per person shown",
    "like_rate": "likes per person shown",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`arm`: the treatment it is about. `text`: a sentence or two. `more_days`: with too few data, how long it may take yet
    at the present pace; None where nobody can tell. `notes`: what else one should know before acting."""

    kind: Kind
    arm: str
    text: str
    more_days: int | None = None
    notes: tuple[str, ...] = ()


def judge(comparison: Comparison, stopped_because: Mapping[str, str] | None = None) -> tuple[Verdict, ...]:
    """A verdict for each treatment; `stopped_because`: by arm, what to say of one that is stopped (which guardrail)."""
    return tuple(_verdict(comparison, against, stopped_because or {}) for against in comparison.against)


def judge_preference(interleaved: Interleaved, smallest_lift: float) -> Verdict:
    """The verdict of an interleaving, by likes; a preference of x is about a lift of 2x."""
    likes, (control, treatment) = interleaved.likes, interleaved.arms
    if likes.low is None or likes.high is None or likes.se is None or likes.value is None:
        return Verdict(kind="not_enough_data", arm=treatment, text="Not enough data: hardly anybody liked anybody yet.")
    total = f"{likes.first + likes.second:,} likes"
    shares = f"{_share(likes.value)} of {total} went to people whom {treatment} brought"
    bounds = f"between {_share(likes.low)} and {_share(likes.high)}, 50 % being no preference"
    if likes.low > 0 or likes.high < 0:
        kind: Kind = "better" if likes.low > 0 else "worse"
        return Verdict(kind=kind, arm=treatment, text=f"{treatment} is {kind} than {control}: {shares} ({bounds}).")
    smallest = smallest_lift / 2
    if max(-likes.low, likes.high) <= smallest:
        return Verdict(kind="no_difference", arm=treatment, text=f"Viewers prefer neither by much: {shares} ({bounds}).")
    information = likes.se**-2
    pace = information / interleaved.days if interleaved.days else None
    terms = msgspec.structs.replace(interleaved.terms, tuned=likes.tuned)
    days, effect = _more_days(likes.value, likes.se, smallest, pace, terms)
    told = f"a share of {_share(effect)}"
    return Verdict(
        kind="not_enough_data",
        arm=treatment,
        text=f"Not enough data: {shares} ({bounds}). {_waiting(days, told)}",
        more_days=days,
    )


def _verdict(comparison: Comparison, against: Against, stopped_because: Mapping[str, str]) -> Verdict:
    if comparison.mismatch is not None and comparison.mismatch.found:
        return Verdict(kind="mismatch", arm=against.name, text=_mismatched(comparison, comparison.mismatch))
    if not against.lifts:
        reason = stopped_because.get(against.name, "its viewers get the default")
        return Verdict(kind="stopped", arm=against.name, text=f"{against.name} was stopped: {reason}.")
    notes = _notes(comparison, against)
    lift = against.lifts[comparison.plan.primary]
    if (too_few := _too_few_clusters(comparison, against)) is not None:
        return Verdict(kind="not_enough_data", arm=against.name, text=too_few, notes=notes)
    if lift.low is None:
        text = f"Not enough data: too few {_NAMES[comparison.plan.primary]} yet to say anything of them."
        return Verdict(kind="not_enough_data", arm=against.name, text=text, notes=notes)
    return _weighed(comparison, against, lift, notes)


def _weighed(comparison: Comparison, against: Against, lift: Lift, notes: tuple[str, ...]) -> Verdict:
    """The verdict where the primary metric has an interval."""
    name, control = _NAMES[comparison.plan.primary], comparison.arms[0].name
    low, high, smallest = lift.low or 0.0, math.inf if lift.high is None else lift.high, comparison.plan.smallest_lift
    if low > 0 or high < 0:
        kind: Kind = "better" if low > 0 else "worse"
        text = f"{against.name} is {kind} than {control}: {name} are {_change(lift.value or 0.0)} ({_range(lift)})."
        return Verdict(kind=kind, arm=against.name, text=text, notes=notes)
    if max(-low, high) <= smallest:
        text = f"There is no difference larger than {_percent(max(-low, high))} in {name} ({_range(lift)})."
        return Verdict(kind="no_difference", arm=against.name, text=text, notes=notes)
    days, effect = _more_days(
        lift.log_ratio or 0.0, lift.se or math.inf, math.log1p(smallest), against.information_per_day, comparison.terms
    )
    told = f"a difference of {_percent(math.expm1(effect))}"
    text = f"Not enough data: {name} may be {_range(lift)}. {_waiting(days, told)}"
    return Verdict(kind="not_enough_data", arm=against.name, text=text, more_days=days, notes=notes)


def _more_days(estimate: float, se: float, smallest: float, pace: float | None, terms: Terms) -> tuple[int | None, float]:
    """Days until an effect would be seen four times in five, and that effect: the smallest of interest, or what is
    seen so far less one standard error where that is more (first estimates are the largest).

    Precise enough for that already, and still no verdict: until the interval is as long as the smallest effect, when there
    must be one.
    """
    effect = max(smallest, abs(estimate) - se)
    wanted = sequences.se_to_see(effect, terms.tuned, terms.alpha)
    if wanted >= se:
        wanted = min(se, sequences.se_to_see(smallest / 2, terms.tuned, terms.alpha, power=0.5))
    if not pace:
        return None, effect
    return max(1, math.ceil((wanted**-2 - se**-2) / pace)), effect


def _waiting(days: int | None, told: str) -> str:
    if days is None:
        return "It is too early to say how much longer it takes."
    if days > _LONG_DAYS:
        return f"At this pace it would take more than a year to see {told}: give it more viewers, or look for larger changes."
    return f"About {days} more {'day' if days == 1 else 'days'} at this pace would show {told}."


def _notes(comparison: Comparison, against: Against) -> tuple[str, ...]:
    """Other metrics that surely moved, and few clusters."""
    notes = []
    for metric, lift in against.lifts.items():
        moved = lift.low is not None and (lift.low > 0 or (lift.high is not None and lift.high < 0))
        if metric != comparison.plan.primary and moved:
            notes.append(f"{_NAMES[metric].capitalize()} are {_change(lift.value or 0.0)} ({_range(lift)}).")
    units = _fewest_units(comparison, against)
    if comparison.plan.unit == "cluster" and LEAST_CLUSTERS <= units < FEW_CLUSTERS:
        notes.append(f"Only {units} clusters are in the smaller arm: with fewer than {FEW_CLUSTERS} intervals are rough.")
    return tuple(notes)


def _too_few_clusters(comparison: Comparison, against: Against) -> str | None:
    units = _fewest_units(comparison, against)
    if comparison.plan.unit != "cluster" or units >= LEAST_CLUSTERS:
        return None
    least = f"{LEAST_CLUSTERS} are the least for a verdict, however many viewers they have"
    return f"Not enough data: {units} clusters are in the smaller arm, and {least}."


def _fewest_units(comparison: Comparison, against: Against) -> int:
    treatment = next(arm for arm in comparison.arms if arm.name == against.name)
    return min(comparison.arms[0].units, treatment.units)


def _mismatched(comparison: Comparison, found: Mismatch) -> str:
    names = [arm.name for arm in comparison.arms if not arm.stopped]
    seen = ", ".join(f"{units:,} in {name}" for units, name in zip(found.units, names, strict=True))
    expected = ", ".join(f"{units:,.0f}" for units in found.expected)
    return (
        f"Do not trust these figures: {seen}, where the weights say {expected}. "
        "Viewers are lost or counted twice on the way in one of the arms; find out where, and start again."
    )


def _range(lift: Lift) -> str:
    """The interval in words: "between 2 % lower and 7.1 % higher"."""
    high = "any number of times higher" if lift.high is None else _change(lift.high)
    return f"between {_change(lift.low or 0.0)} and {high}"


def _change(lift: float) -> str:
    return f"{_percent(abs(lift))} {'lower' if lift < 0 else 'higher'}"


def _share(preference: float) -> str:
    return f"{50 + preference * 50:.1f} %"


def _percent(share: float) -> str:
    """Whole percents from 10 % on, tenths below."""
    return f"{share * 100:.0f} %" if abs(share) >= 0.1 else f"{share * 100:.1f} %"
