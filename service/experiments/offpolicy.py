"""What exploration slots would have brought, had another ranker chosen the people in them: estimates from logged draws. Pure.

Out of each draw n of s people were shown, each set of n with the same probability, so each person with p = n / s. A ranker
would have shown its n best of the same s. Of those whom both chose the outcome is known, and it stands for all whom the ranker
would have chosen, with the weight 1 / p (inverse propensity score, IPS). SNIPS divides by the sum of the weights instead of what
that sum is expected to be: a little biased, and calmer. DR (doubly robust) predicts outcomes from the features, and corrects the
prediction by the draws: right on average whatever the prediction is worth, and the calmer the more it is worth.

Sources: Horvitz & Thompson, JASA 1952; Swaminathan & Joachims, NeurIPS 2015; Dudík, Langford & Li, ICML 2011. That outcomes of
slots are added up supposes that none depends on who else is shown, as in Swaminathan et al., "Off-policy evaluation for slate
recommendation", NeurIPS 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.experiments.resampling import Interval, interval_of, resample

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEAST_VIEWERS = 50
LEAST_EFFECTIVE = 100
"""Of effective draws; with fewer the interval would be as wide as the rate itself."""
LEAST_OUTCOMES = 20
"""Likes (or matches) to be expected among the people whom both chose, at the rate of all who were drawn. With fewer, resampling
understates how uncertain they are. Not those that were counted: to refuse where they are few is to report where they are many."""
DOUBTED = 5.0
"""Standard errors that the mean of the weights may be from 1: fair draws go further once in a million estimates."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draws:
    """Exploration draws and the people in them, who lie one draw after another.

    `viewer` int64 (d,): whose draw. `starts` int64 (d + 1,): the people of draw i are rows starts[i] to starts[i + 1]. `ids`
    int64 (r,); `drawn` bool (r,): who was shown, at least one a draw; `features` float32 (r, f), NaN where unknown.
    """

    viewer: Ints
    starts: Ints
    ids: Ints
    drawn: Mask
    features: Floats

    def __len__(self) -> int:
        return len(self.viewer)

    @property
    def sizes(self) -> Ints:
        """How many there were to draw from, int64 (d,)."""
        return np.diff(self.starts)

    @property
    def n_drawn(self) -> Ints:
        """How many were drawn, int64 (d,)."""
        return np.asarray(np.bincount(self.rows[self.drawn], minlength=len(self)), np.int64)

    @property
    def rows(self) -> Ints:
        """The draw of each person, int64 (r,)."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def propensities(self) -> Doubles:
        """Probability with which each person was drawn, float64 (r,)."""
        return (self.n_drawn / self.sizes)[self.rows]

    def sums(self, values: NDArray[np.generic]) -> Doubles:
        """Of each draw, float64 (d,)."""
        return np.asarray(np.bincount(self.rows, np.asarray(values, np.float64), len(self)), np.float64)


def best(draws: Draws, scores: Floats) -> Doubles:
    """How probably a ranker shows each person, float64 (r,): 1 for its n best of a draw, ties by id as in a slate, else 0."""
    rows = draws.rows
    order = np.lexsort((draws.ids, -np.asarray(scores, np.float64), rows))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - draws.starts[rows[order]]
    return (places < draws.n_drawn[rows]).astype(np.float64)


def by_lot(draws: Draws) -> Doubles:
    """How probably the draw itself shows each person, float64 (r,): the estimate of it is what was seen."""
    return draws.propensities


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """What came of the draws: `happened` float64 (r,), 0 or 1, and 0 for who was not drawn; `predicted` float64 (r,), the
    probability of it by a model that has not seen this viewer."""

    happened: Doubles
    predicted: Doubles


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """What an estimate rests on. `n_shared`: people whom the draw showed and the policy would have; `n_outcomes`: likes (matches)
    among them, `n_expected` at the rate of all. `effective`: draws of the policy's own that would tell as much (Kish).
    `mean_weight`: 1 up to chance, or the log is not what it says. `n_clipped`: weights that were cut."""

    n_draws: int
    n_viewers: int
    n_slots: int
    n_shared: int
    n_outcomes: int
    n_expected: float
    effective: float
    mean_weight: float
    largest_weight: float
    n_clipped: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes a slot under a policy, by three estimators; None where the support is too thin, which `refused` says in words."""

    support: Support
    ips: Interval | None = None
    snips: Interval | None = None
    dr: Interval | None = None
    refused: str | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates by the name of the policy; `differences`: of the first one's DR less each other's, resampled together."""

    estimates: dict[str, Estimate]
    differences: dict[str, Interval]


def compare(
    draws: Draws, outcome: Outcome, policies: Mapping[str, Doubles], clip: float | None = None, seed: int = 7
) -> Comparison:
    """What each policy would have got. `policies`: float64 (r,) each, the probability that it shows each person, which sums to n
    in each draw. `clip`: weights above it are cut to it, which makes estimates calmer and too low (DR less so); None: not."""
    weights = {name: np.where(draws.drawn, shares / draws.propensities, 0.0) for name, shares in policies.items()}
    everyone, resampled = resample(_totals(draws, outcome, policies, weights, clip), seed)
    estimates, corrected = {}, {}
    for place, (name, weight) in enumerate(weights.items()):
        figures = _Figures(everyone, resampled, place)
        support = _support(draws, outcome, weight, clip)
        refused = _refusal(name, support, float(np.nanstd(figures.mean_weight[1:])) if len(draws) else 0.0)
        if refused is None:
            corrected[name] = figures.dr
            ips, snips, dr = (figures.interval(of) for of in (figures.ips, figures.snips, figures.dr))
            estimates[name] = Estimate(support=support, ips=ips, snips=snips, dr=dr)
        else:
            estimates[name] = Estimate(support=support, refused=refused)
    return Comparison(estimates=estimates, differences=_differences(next(iter(policies)), corrected))


def _totals(
    draws: Draws, outcome: Outcome, policies: Mapping[str, Doubles], weights: Mapping[str, Doubles], clip: float | None
) -> Doubles:
    """Sums by viewer, who are what is resampled, since one viewer's draws resemble one another: float64 (viewers,
    1 + 3 policies). Slots, then for each policy the weighted outcomes, the weights, and the doubly robust terms."""
    columns = [draws.n_drawn.astype(np.float64)]
    for name, shares in policies.items():
        cut = weights[name] if clip is None else np.minimum(weights[name], clip)
        corrected = shares * outcome.predicted + cut * (outcome.happened - outcome.predicted)
        columns += [draws.sums(cut * outcome.happened), draws.sums(cut), draws.sums(corrected)]
    _, whose = np.unique(draws.viewer, return_inverse=True)
    n_viewers = int(whose.max(initial=-1)) + 1
    return np.stack([np.bincount(whose, column, n_viewers) for column in columns], axis=1)


def _support(draws: Draws, outcome: Outcome, weights: Doubles, clip: float | None) -> Support:
    shared, n_slots = weights > 0, int(draws.n_drawn.sum())
    n_shared, squares = int(shared.sum()), float((weights**2).sum())
    return Support(
        n_draws=len(draws),
        n_viewers=len(np.unique(draws.viewer)),
        n_slots=n_slots,
        n_shared=n_shared,
        n_outcomes=int((outcome.happened[shared] > 0).sum()),
        n_expected=n_shared * float(outcome.happened.sum()) / max(1, n_slots),
        effective=float(weights.sum()) ** 2 / squares if squares else 0.0,
        mean_weight=float(weights.sum()) / max(1, n_slots),
        largest_weight=float(weights.max(initial=0.0)),
        n_clipped=0 if clip is None else int((weights > clip).sum()),
    )


class _Figures:
    """The figures of the policy at `place`, of everyone (the first of each array) and of each resampling: float64 (1 + b,)."""

    def __init__(self, everyone: Doubles, resampled: Doubles, place: int) -> None:
        totals = np.concatenate([everyone[None], resampled])
        slots, (got, weight, corrected) = totals[:, 0], totals[:, 1 + 3 * place : 4 + 3 * place].T
        with np.errstate(invalid="ignore", divide="ignore"):
            self.ips, self.snips, self.dr = got / slots, got / weight, corrected / slots
            self.mean_weight = weight / slots

    @staticmethod
    def interval(figures: Doubles) -> Interval:
        return interval_of(float(figures[0]), figures[1:])


def _differences(first: str, corrected: Mapping[str, Doubles]) -> dict[str, Interval]:
    if first not in corrected:
        return {}
    return {name: _Figures.interval(corrected[first] - other) for name, other in corrected.items() if name != first}


def _refusal(name: str, support: Support, error: float) -> str | None:
    """Why nothing can be said; None where something can. `error`: the standard error of the weights' mean."""
    if not support.n_draws:
        return "nobody was drawn into an exploration slot whose draw was written down"
    lacks = {
        f"{support.n_viewers} viewers": (support.n_viewers, LEAST_VIEWERS),
        f"{support.effective:.0f} effective slots (of {support.n_slots} slots, {support.n_shared} show whom {name} would have)": (
            support.effective,
            LEAST_EFFECTIVE,
        ),
        f"{support.n_expected:.0f} outcomes to be expected there": (support.n_expected, LEAST_OUTCOMES),
    }
    thin = [f"{has_words}, and {least} are needed" for has_words, (has, least) in lacks.items() if has < least]
    if thin:
        times = max(least / max(has, 0.1) for has, least in lacks.values())
        return f"too little to go by: {'; '.join(thin)}. About {max(2, np.ceil(times)):.0f} times as many draws would do"
    if abs(support.mean_weight - 1.0) > DOUBTED * error + 1e-9:
        return (
            f"the weights of {name} average {support.mean_weight:.2f} where fair draws make it 1: the draws were not made as "
            "they were written down, and no estimate from them can be trusted"
        )
    return None
