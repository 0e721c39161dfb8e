"""Viewers wanted to tell the better of two rankers: by interleaving, and by an A/B experiment among the same people.

    python -m benchmarks.interleaving [--viewers 30000] [--experiments 400]

Viewers come on 28 days as in benchmarks.experiments, find 100 candidates each time and are shown 20, by one ranker or drafted
from both. What a ranker sees is the truth and noise, part of it the same for both; the second sees with less. People differ in
how readily they like, and look less the further down. A draft is the product's own, and both designs are judged by the product's
own statistics of likes: A/B by the like rate with what was known before taken out, so at its best. Wanted: the
smallest number of viewers with which 80 % of so many experiments, drawn from all viewers, say that the second is better, at alpha
.05: with ordinary intervals, which hold at one look, and with those that hold at every look. Where both see equally well: the
share that says anything.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, lines
from service.domain_experiments import Arm
from service.experiments.analysis import compare
from service.experiments.credit import prefer
from service.experiments.draft import FIRST, SECOND, team_draft
from service.experiments.outcomes import PRE_PERIOD_DAYS, Credits, Outcomes
from service.experiments.ratios import Terms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAYS = 28
SHOWN = 20
CANDIDATES = 100
POWER, ALPHA = 0.8, 0.05
MOST_SHARE_OF_AB = 0.2
_LOOKS = 0.97
"""How much less likely a position is looked at than the one before."""
_SHARED_NOISE = 0.8
_AT_ONCE = 4000
_ONCE = 1.96
"""Standard errors beyond which alpha .05 lies, on the two sides together."""
PAIRS = ((1.2, 0.8), (1.0, 0.8), (0.9, 0.8))
"""A ranker much better, better, and hardly better than the other."""
SEED = 1


class Effort(msgspec.Struct, frozen=True):
    """Viewers that are simulated, and experiments drawn from them for each figure."""

    n_viewers: int = 5000
    n_experiments: int = 100


EFFORT = Effort()
FULL_EFFORT = Effort(30_000, 400)

ARMS = (Arm(name="first", algorithm_version="first"), Arm(name="second", algorithm_version="second"))


@dataclass(frozen=True, eq=False)
class Crowd:
    """Viewers with what came of both designs: `outcomes` of A/B, had everybody been in the first arm and in the second, and
    `credits` of drafted slates."""

    outcomes: tuple[Outcomes, Outcomes]
    credits: Credits

    def drawn(self, rng: np.random.Generator, n: int) -> "Experiment":
        """So many of them, each a viewer of its own though drawn twice, and in A/B by turns in one arm or the other."""
        rows, arm = rng.integers(0, len(self.credits), n), np.arange(n) % 2
        first, second = (_rows(outcomes, rows) for outcomes in self.outcomes)
        likes = np.where(arm == 0, first.likes, second.likes)
        return Experiment(replace(first, arm=arm, likes=likes), _rows(self.credits, rows))

    @property
    def lift(self) -> float:
        """Of the like rate, in truth."""
        first, second = (outcomes.likes.sum() for outcomes in self.outcomes)
        return float(second / first - 1)


@dataclass(frozen=True, eq=False)
class Experiment:
    """The same viewers in an A/B experiment and in an interleaving."""

    outcomes: Outcomes
    credits: Credits


T = TypeVar("T", Outcomes, Credits)


def _rows(table: T, rows: Ints) -> T:
    columns = {one.name: getattr(table, one.name)[rows] for one in fields(table) if one.name != "days"}
    return type(table)(**columns | {"unit": np.arange(len(rows)), "days": table.days})


class Market:
    """Who comes, how often, and how readily they like; what both designs show them."""

    def __init__(self, rng: np.random.Generator, n_viewers: int, noise: tuple[float, float]) -> None:
        """`noise`: standard deviations of what each ranker takes for an affinity and is none; affinities have 1."""
        self._rng = rng
        self._noise = noise
        self._n = n_viewers
        coming = rng.beta(0.7, 2.8, n_viewers)
        came = rng.random((DAYS, n_viewers)) < coming
        came[0] |= ~came.any(axis=0)  # who never comes is in no experiment
        self._readiness = rng.normal(-2.5, 1.0, n_viewers)
        self._first_day = came.argmax(axis=0)
        self._slates = (came * (1 + rng.poisson(0.5, came.shape))).sum(axis=0)
        self._viewer = np.repeat(np.arange(n_viewers), self._slates)
        self._before = rng.binomial(PRE_PERIOD_DAYS, coming) * SHOWN

    def crowd(self) -> Crowd:
        """All of them, each in both designs, and in A/B in both arms."""
        by_first, by_second, first, second = np.zeros((4, self._n))
        for start in range(0, len(self._viewer), _AT_ONCE):
            viewers = self._viewer[start : start + _AT_ONCE]
            liked, best = self._visit(viewers)
            np.add.at(by_first, viewers, self._likes(liked, best[0]).sum(axis=1))
            np.add.at(by_second, viewers, self._likes(liked, best[1]).sum(axis=1))
            ids, teams = self._drafted(best)
            credited = self._likes(liked, ids)
            np.add.at(first, viewers, (credited & (teams == FIRST)).sum(axis=1))
            np.add.at(second, viewers, (credited & (teams == SECOND)).sum(axis=1))
        outcomes = self._outcomes(by_first)
        return Crowd((outcomes, replace(outcomes, likes=by_second)), self._credits(first, second))

    def _visit(self, viewers: Ints) -> tuple[NDArray[np.bool_], tuple[Ints, Ints]]:
        """Whom each would like, (n, CANDIDATES), and the first SHOWN by each ranker, best first."""
        shape = (len(viewers), CANDIDATES)
        affinity = self._rng.normal(size=shape)
        seen = affinity + self._rng.normal(0, _SHARED_NOISE, shape)
        best = [np.argsort(-(seen + self._rng.normal(0, noise, shape)), axis=1)[:, :SHOWN] for noise in self._noise]
        liking = 1 / (1 + np.exp(-self._readiness[viewers, None] - affinity))
        return self._rng.random(shape) < liking, (best[0], best[1])

    def _likes(self, liked: NDArray[np.bool_], shown: Ints) -> NDArray[np.bool_]:
        looked = self._rng.random(shown.shape) < _LOOKS ** np.arange(SHOWN)
        return np.take_along_axis(liked, shown, axis=1) & looked

    def _drafted(self, best: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
        seeds = self._rng.integers(0, 2**63, len(best[0])).tolist()
        lists = zip(best[0].tolist(), best[1].tolist(), seeds, strict=True)
        drafts = [team_draft(first, second, SHOWN, seed) for first, second, seed in lists]
        return np.array([draft.ids for draft in drafts]), np.array([draft.teams for draft in drafts])

    def _outcomes(self, likes: Floats) -> Outcomes:
        """Four weeks of the same habits came before, with a ranker a little worse; of two not liked one was passed."""
        usual = 1 / (1 + np.exp(-self._readiness - 0.6))
        pre_likes = self._rng.binomial(self._before, 0.7 * usual)
        columns: dict[str, Floats | Ints] = {
            "unit": np.arange(self._n),
            "arm": np.zeros(self._n),
            "slates": self._slates,
            "shown": self._slates * SHOWN,
            "likes": likes,
            "matches": np.zeros(self._n),
            "pre_shown": self._before,
            "pre_likes": pre_likes,
            "pre_opinions": pre_likes + self._rng.binomial(self._before - pre_likes, 0.5),
            "first_day": self._first_day,
        }
        return Outcomes.of(columns, days=DAYS)

    def _credits(self, first: Floats, second: Floats) -> Credits:
        nothing, each = np.zeros(self._n), self._slates * SHOWN / 2
        columns: dict[str, Floats | Ints] = {
            "unit": np.arange(self._n),
            "slates": self._slates,
            "first_shown": each,
            "second_shown": each,
            "first_likes": first,
            "second_likes": second,
            "first_matches": nothing,
            "second_matches": nothing,
        }
        return Credits.of(columns, days=DAYS)


@dataclass(frozen=True)
class Judged:
    """What one experiment says: `z`, standard errors by which the second ranker is better, for who looks once; `p_value` for
    who looks again and again."""

    z: float
    p_value: float

    def picks_second(self, daily: bool) -> bool:
        return self.z > 0 and self.p_value < ALPHA if daily else self.z > _ONCE


def by_ab(drawn: Experiment) -> Judged:
    lift = compare([drawn.outcomes], ARMS).against[0].lifts["like_rate"]
    if lift.log_ratio is None or lift.se is None or lift.p_value is None:
        return Judged(0.0, 1.0)
    return Judged(lift.log_ratio / lift.se, lift.p_value)


def by_interleaving(drawn: Experiment) -> Judged:
    likes = prefer(drawn.credits, ARMS, Terms(alpha=ALPHA)).likes
    if likes.value is None or likes.se is None or likes.p_value is None:
        return Judged(0.0, 1.0)
    return Judged(likes.value / likes.se, likes.p_value)


Judge = Callable[[Experiment], Judged]


def power(crowd: Crowd, judge: Judge, n: int, n_experiments: int, daily: bool = False, seed: int = 0) -> float:
    """The share of experiments of n viewers that pick the second ranker."""
    rng = np.random.default_rng((seed, n))
    return float(np.mean([judge(crowd.drawn(rng, n)).picks_second(daily) for _ in range(n_experiments)]))


def wanted(crowd: Crowd, judge: Judge, n_experiments: int, daily: bool = False) -> int:
    """The smallest number of viewers of whom experiments have the power, to 2 %."""
    low, high = 10, 20
    while power(crowd, judge, high, n_experiments, daily) < POWER:
        low, high = high, 2 * high
    while high > 1.02 * low + 1:
        middle = (low + high) // 2
        if power(crowd, judge, middle, n_experiments, daily) < POWER:
            low = middle
        else:
            high = middle
    return high


def rows(noise: tuple[float, float], n_viewers: int, n_experiments: int, seed: int) -> Iterator[Row]:
    crowd = Market(np.random.default_rng(seed), n_viewers, noise).crowd()
    label = f"interleaving, noise {noise[0]:g} against {noise[1]:g}"
    yield Row(f"{label}: lift of the like rate", round(crowd.lift, 4), "share")
    for daily, looks in ((False, "one look"), (True, "every look")):
        ab, interleaved = (wanted(crowd, judge, n_experiments, daily) for judge in (by_ab, by_interleaving))
        yield Row(f"{label}, {looks}: viewers for A/B", ab, "viewers")
        yield Row(f"{label}, {looks}: viewers for interleaving", interleaved, "viewers")
        yield Row(f"{label}, {looks}: share of the viewers", round(interleaved / ab, 3), "", MOST_SHARE_OF_AB, at_most=True)


def alarms(crowd: Crowd, judge: Judge, n: int, n_experiments: int) -> float:
    """The share of experiments of n viewers that prefer either at one look."""
    rng = np.random.default_rng(n)
    return float(np.mean([abs(judge(crowd.drawn(rng, n)).z) > _ONCE for _ in range(n_experiments)]))


def rows_of_equals(n_viewers: int, n_experiments: int, seed: int) -> Iterator[Row]:
    crowd = Market(np.random.default_rng(seed), n_viewers, (0.8, 0.8)).crowd()
    for name, judge in (("A/B", by_ab), ("interleaving", by_interleaving)):
        yield Row(
            f"equal rankers, 200 viewers, one look: alarms of {name}", alarms(crowd, judge, 200, 5 * n_experiments), "share"
        )


def measure(effort: Effort) -> list[Row]:
    """Rows for `make bench`: rankers that differ, and equal ones."""
    found = [row for noise in PAIRS for row in rows(noise, effort.n_viewers, effort.n_experiments, SEED)]
    return found + list(rows_of_equals(effort.n_viewers, effort.n_experiments, SEED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=FULL_EFFORT.n_viewers)
    parser.add_argument("--experiments", type=int, default=FULL_EFFORT.n_experiments)
    options = parser.parse_args()
    print(*lines(measure(Effort(options.viewers, options.experiments))), sep="\n")


if __name__ == "__main__":
    main()
