"""What an off-policy estimate says, to scripts and to people."""

from datetime import datetime

import msgspec
import numpy as np

from service.experiments import offpolicy, prediction
from service.experiments.offpolicy import Comparison, Doubles, Draws, Floats, Mask, Outcome
from service.experiments.resampling import LEVEL, Interval

AS_DRAWN = "(as drawn)"
"""The policy of the draw itself: no ranker can have this name."""


class LogShare(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the log could be used, in draws (the first slate out of a pool that explored). `explored`: all there were;
    `told`: those of which is written down among whom; `used`: those that are whole, left a choice, were taken when there were
    more than asked for, and have the features that the rankers want."""

    explored: int
    told: int
    used: int


class EstimateReport(msgspec.Struct, frozen=True, kw_only=True):
    """`likes` and `matches`: of a slot, by policy: the ranker asked about, the one it is measured against, and the draw itself.
    `agreement`: share of the slots that both rankers would give to the same people. `verdicts`: the same in a sentence each."""

    algorithm: str
    against: str
    bundle_version: str | None
    since: datetime
    until: datetime
    in_sample: bool
    level: float
    log: LogShare
    agreement: float | None
    likes: Comparison
    matches: Comparison
    verdicts: dict[str, str]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        span = f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"
        lines = [f"{self.algorithm} against {self.against} in exploration slots, {span}, bundle {self.bundle_version or 'none'}"]
        lines.append(f"{self.log.explored:,} draws, {self.log.told:,} written down whole, {self.log.used:,} used")
        for name, comparison in (("likes", self.likes), ("matches", self.matches)):
            lines += ["", f"{name} in 100 slots ({self.level:.0%} intervals)"]
            lines.append(f"  {'':16}{'DR':>20}{'SNIPS':>20}{'IPS':>20}{'effective slots':>18}")
            lines += [_line(policy, estimate) for policy, estimate in comparison.estimates.items()]
            lines.append(self.verdicts[name])
        if self.agreement is not None:
            lines += ["", f"Both rankers would give {self.agreement:.0%} of the slots to the same people."]
        return [*lines, *self.notes]


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and of which time."""

    algorithm: str
    against: str
    bundle_version: str | None
    since: datetime
    until: datetime
    in_sample: bool


class Scored(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Draws, what came of them, bool (r,), and what each ranker says of each person, float32 (r,), by its name."""

    draws: Draws
    liked: Mask
    matched: Mask
    scores: dict[str, Floats]


def report(
    heading: Heading, log: LogShare, scored: Scored, clip: float | None, seed: int, notes: tuple[str, ...]
) -> EstimateReport:
    """The estimates of likes and of matches, and what they come to."""
    draws = scored.draws
    shares = {name: offpolicy.best(draws, scored.scores[name]) for name in dict.fromkeys((heading.algorithm, heading.against))}
    policies = shares | {AS_DRAWN: offpolicy.by_lot(draws)}
    likes, matches = (
        offpolicy.compare(draws, _outcome(draws, happened), policies, clip, seed) for happened in (scored.liked, scored.matched)
    )
    compared_with = heading.against if heading.against != heading.algorithm else AS_DRAWN
    return EstimateReport(
        **msgspec.structs.asdict(heading),
        level=LEVEL,
        log=log,
        agreement=_agreement(draws, shares[heading.algorithm], shares[heading.against]),
        likes=likes,
        matches=matches,
        verdicts={
            name: verdict(name, heading.algorithm, compared_with, comparison)
            for name, comparison in (("likes", likes), ("matches", matches))
        },
        notes=notes,
    )


def verdict(what: str, algorithm: str, against: str, comparison: Comparison) -> str:
    """One sentence: better, worse, no difference to be told, or why nothing can be said."""
    for name in (algorithm, against):
        if refused := comparison.estimates[name].refused:
            return f"{what}: nothing can be said of {name}: {refused}."
    difference = comparison.differences[against]
    span = f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
    if difference.low > 0 or difference.high < 0:
        word = "more" if difference.low > 0 else "fewer"
        return (
            f"{what}: {algorithm} would have brought {word} than {against}: {100 * difference.value:+.2f} in 100 slots ({span})."
        )
    return f"{what}: no difference between {algorithm} and {against} can be told: {span} in 100 slots."


def _outcome(draws: Draws, happened: Mask) -> Outcome:
    values = happened.astype(np.float64)
    return Outcome(happened=values, predicted=prediction.predict(draws.features, values, draws.drawn, draws.viewer[draws.rows]))


def _agreement(draws: Draws, one: Doubles, other: Doubles) -> float | None:
    return float((one * other).sum() / one.sum()) if len(draws) else None


def _line(policy: str, estimate: offpolicy.Estimate) -> str:
    figures = "".join(f"{_words(interval):>20}" for interval in (estimate.dr, estimate.snips, estimate.ips))
    return f"  {policy:16}{figures}{estimate.support.effective:>18,.0f}"


def _words(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval.value:.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
