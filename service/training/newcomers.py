"""How good the lists of newcomers are, people hidden from all that is fitted, once their first few likes are folded in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.population.foldin import Opinions
from service.training import metrics
from service.training.examples import Mask, Pairs, Rows
from service.training.factors import Factors, fold_in
from service.training.scene import Scene

FIRST_LIKES = 3

MOST_NEWCOMERS = 500
"""Judged at most in a training, drawn with the seed: the whole judgement of so many takes about a second with 5,000 people."""


@dataclass(frozen=True, slots=True, eq=False)
class Newcomers:
    """`rows` int64 (k,), ascending. `first`: what they and people who are no newcomers said of each other, until the last of the
    first likes. `later`: whom of those they liked after it, at least one each."""

    rows: Rows
    first: Pairs
    later: Pairs

    def drawn(self, most: int, seed: int) -> "Newcomers":
        """At most so many of them."""
        if len(self.rows) <= most:
            return self
        rows = np.sort(np.random.default_rng([seed, 6]).choice(self.rows, most, replace=False))
        about = np.isin(self.first.actor, rows) | np.isin(self.first.target, rows)
        return Newcomers(rows, self.first.where(about), self.later.where(np.isin(self.later.actor, rows)))


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The first 20 of each newcomer's list, rows of people; and how good the whole lists are: NDCG@20 of the later likes."""

    first20: list[Rows]
    ndcg20: float


def newcomers_of(hidden: Pairs, are_new: Mask, n_likes: int = FIRST_LIKES) -> Newcomers:
    """Those of `are_new`, bool (n,), with more than `n_likes` >= 1 likes among the `hidden` pairs."""
    others = hidden.where(are_new[hidden.actor] != are_new[hidden.target])
    likes = np.flatnonzero(others.positive & are_new[others.actor])
    grouped = likes[np.argsort(others.actor[likes], kind="stable")]
    fans = others.actor[grouped]
    nth = np.arange(len(fans)) - np.searchsorted(fans, fans)
    until_s = np.full(len(are_new), -np.inf)
    reached = grouped[nth == n_likes - 1]
    until_s[others.actor[reached]] = others.time_s[reached]
    later = others.where(likes).where(others.time_s[likes] > until_s[others.actor[likes]])
    later = later.where(np.isfinite(until_s[later.actor]))
    rows = np.unique(later.actor)
    newcomer = np.where(are_new[others.actor], others.actor, others.target)
    first = others.where(np.isin(newcomer, rows) & (others.time_s <= until_s[newcomer]))
    return Newcomers(rows, first, later)


def folded(factors: Factors, newcomers: Newcomers) -> Factors:
    """Everyone's `factors`, those of newcomers moved by `first` from where they are: where their profiles predict."""
    p, q, rows, first = factors.p.copy(), factors.q.copy(), newcomers.rows, newcomers.first
    foldin = fold_in(factors)
    p[rows] = foldin.many_p(_opinions(rows, first.actor, factors.q[first.target], first.positive), p[rows])
    q[rows] = foldin.many_q(_opinions(rows, first.target, factors.p[first.actor], first.positive), q[rows])
    return Factors(p, q)


def _opinions(rows: Rows, owner: Rows, vectors: NDArray[np.float32], liked: Mask) -> Opinions:
    """Those of the owners among `rows`, in the order of `rows`."""
    own = np.flatnonzero(np.isin(owner, rows))
    own = own[np.argsort(owner[own], kind="stable")]
    return Opinions(np.append(np.searchsorted(owner[own], rows), len(own)), vectors[own], liked[own])


def lists_of(scene: Scene, vectors: Factors, newcomers: Newcomers, candidates: Mask) -> Lists:
    """Whole lists by mutual interest, as retrieval orders them, of those `candidates` (bool (n,)) who are eligible and unseen."""
    first20, ndcgs = [], []
    for row in newcomers.rows.tolist():
        open_ = scene.eligible(row) & candidates
        open_[newcomers.first.target[newcomers.first.actor == row]] = False
        places = np.flatnonzero(open_)
        scores = vectors.q[places] @ vectors.p[row] + vectors.p[places] @ vectors.q[row]
        places = places[np.argsort(-scores, kind="stable")]
        first20.append(places[:20])
        ndcgs.append(metrics.ndcg(np.isin(places, newcomers.later.target[newcomers.later.actor == row]), 20))
    return Lists(first20, metrics.mean_defined(ndcgs))


def overlap20(lists: Lists, others: Lists) -> float:
    """The mean share of the first 20 that stand in both lists of a newcomer, in [0, 1]; NaN for no newcomers."""
    pairs = zip(lists.first20, others.first20, strict=True)
    return metrics.mean_defined([len(np.intersect1d(one, other)) / len(one) for one, other in pairs if len(one)])


def judge_newcomers(scene: Scene, factors: Factors, hidden: Pairs, are_new: Mask, seed: int) -> dict[str, float]:
    """NDCG@20 of newcomers' later likes before and after their first likes are folded in, and how much of the first 20 stays.

    `factors` were learnt without the `hidden` pairs. Empty when there is nobody to judge.
    """
    newcomers = newcomers_of(hidden, are_new).drawn(MOST_NEWCOMERS, seed)
    if not len(newcomers.rows):
        return {}
    before, after = (lists_of(scene, each, newcomers, ~are_new) for each in (factors, folded(factors, newcomers)))
    return {
        "newcomer_prior_ndcg20": before.ndcg20,
        "newcomer_foldin_ndcg20": after.ndcg20,
        "newcomer_overlap20": overlap20(before, after),
        "n_newcomers": float(len(newcomers.rows)),
    }
