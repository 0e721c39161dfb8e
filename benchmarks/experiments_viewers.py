"""Viewers for simulated experiments: who come when they like, return, like more or less, and were there before or not."""

import numpy as np
from numpy.typing import NDArray

from service.experiments.outcomes import PRE_PERIOD_DAYS, Outcomes

Floats = NDArray[np.float64]

DAYS = 28
_SHOWN_PER_SLATE = 20
_WEEK = np.array([0.9, 0.9, 0.9, 1.0, 1.1, 1.2, 1.0])
"""Weekends are busier."""


class Simulated:
    """One experiment's viewers, and what they did on each of 28 days; `at(day)` is what a report of that day is given.

    Daily visits: beta, mean 0.2, so that some come daily and many once. Like rates: beta with the mean 0.12 and the strength
    of 6 observations; matches a like: likewise with the mean 0.2. A mood moves a viewer's day by 40 %, and likes wear off by 1 %
    a visit. A third joined too late to have four weeks of history, half of these after the start. `lift` changes the
    treatment's like rate, by a factor that differs between viewers around it. `n_clusters`: assigned whole, and differing by
    15 % in how readily their people like; 0 assigns viewers.
    """

    def __init__(self, rng: np.random.Generator, n: int, lift: float = 0.0, n_clusters: int = 0) -> None:
        self._rng = rng
        joined = np.where(rng.random(n) < 1 / 3, rng.integers(-PRE_PERIOD_DAYS, DAYS, n), -PRE_PERIOD_DAYS)
        town = rng.integers(0, n_clusters, n) if n_clusters else np.arange(n)
        warmth = np.exp(rng.normal(0, 0.15, n_clusters))[town] if n_clusters else np.ones(n)
        coming, liking = rng.beta(0.7, 2.8, n), np.minimum(rng.beta(0.72, 5.28, n) * warmth, 1)
        matching = rng.beta(1.2, 4.8, n)
        treated = (rng.permutation(n_clusters) % 2)[town] if n_clusters else rng.integers(0, 2, n)
        effect = 1 + treated * lift * rng.uniform(0, 2, n)
        days = np.arange(DAYS)
        slates = self._slates(coming, days[:, None] >= joined)
        wear = 0.99 ** np.cumsum(slates, axis=0)
        mood = np.exp(rng.normal(0, 0.4, slates.shape) - 0.08)
        shown = slates * _SHOWN_PER_SLATE
        likes = rng.binomial(shown, np.minimum(liking * effect * wear * mood, 1))
        matches = rng.binomial(likes, matching)
        self.unit, self.arm, self.first_day = town, treated, np.argmax(slates > 0, axis=0)
        self._came = slates.any(axis=0)
        self._sums = {
            name: np.cumsum(each, axis=0).astype(np.float64)
            for name, each in (("slates", slates), ("shown", shown), ("likes", likes), ("matches", matches))
        }
        self._before(coming, liking, joined)

    def _slates(self, coming: Floats, there: NDArray[np.bool_]) -> NDArray[np.int64]:
        chance = np.minimum(coming * _WEEK[np.arange(len(there)) % 7, None], 1) * there
        slates: NDArray[np.int64] = (self._rng.random(there.shape) < chance) * (1 + self._rng.poisson(0.5, there.shape))
        return slates

    def _before(self, coming: Floats, liking: Floats, joined: NDArray[np.int64]) -> None:
        """Four weeks of the same habits, or as many days as one was there; two of three people shown are decided on."""
        n_days = np.clip(-joined, 0, PRE_PERIOD_DAYS)
        shown = self._rng.binomial(n_days, coming) * 3 // 2 * _SHOWN_PER_SLATE
        likes = self._rng.binomial(shown, liking)
        opinions = likes + self._rng.binomial(shown - likes, 0.6)
        self._pre = {"pre_shown": shown, "pre_likes": likes, "pre_opinions": opinions}

    def at(self, day: int) -> Outcomes:
        """The outcomes after so many whole days, 1 to 28."""
        some = self._came & (self.first_day < day)
        columns = {name: each[day - 1, some] for name, each in self._sums.items()}
        columns |= {name: each[some].astype(np.float64) for name, each in self._pre.items()}
        whole = {"unit": self.unit[some], "arm": self.arm[some], "first_day": self.first_day[some]}
        return Outcomes.of({**whole, **columns}, days=day)
