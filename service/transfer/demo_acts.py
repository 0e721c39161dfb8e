"""What the people of the demo did to one another: likes, passes, messages and blocks that follow from tastes and charm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain import Kind
from service.transfer.demo_people import Crowd, eligible

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

KINDS = (Kind.LIKE, Kind.PASS, Kind.MESSAGE, Kind.BLOCK)
LIKE, PASS, MESSAGE, BLOCK = range(4)

LEAST_LEFT = 40
"""So many eligible people whom one has not met, and who have not passed one, are left to everyone."""

LIKE_SHARE = 0.30
FIT_WEIGHT = 7.0
"""Logits between no common taste (0) and the same taste (1): taste counts for more than charm, which has deviation 0.9."""


@dataclass(slots=True, eq=False)
class Acts:
    """Interactions as columns: `actor` and `target` are rows of the crowd, `kind` codes into KINDS, `time_s` whole seconds."""

    actor: Ints
    target: Ints
    kind: Ints
    time_s: Floats

    def __len__(self) -> int:
        return len(self.actor)

    def where(self, keep: Mask | Ints) -> "Acts":
        return Acts(self.actor[keep], self.target[keep], self.kind[keep], self.time_s[keep])


def join(*parts: Acts) -> Acts:
    return Acts(
        np.concatenate([part.actor for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.time_s for part in parts]),
    )


def draw_acts(crowd: Crowd, rng: np.random.Generator) -> Acts:
    """Everything that happened, by time; the same for the same generator state."""
    seen, n_eligible = _looked_at(crowd, rng)
    bias = _bias(seen[2])
    first = _opinions(crowd, rng, seen, bias)
    opinions = join(first, _answers(crowd, rng, first, bias))
    opinions = _leave_some(opinions, n_eligible)
    acts = join(opinions, _messages(crowd, rng, opinions), _blocks(crowd, rng, opinions))
    return acts.where(np.lexsort((acts.target, acts.actor, acts.time_s)))


def _pull(crowd: Crowd, actor: Ints, target: Ints) -> Floats:
    """How much each actor is drawn to each target, in logits, float64 (n,)."""
    fit = np.einsum("ij,ij->i", crowd.wish[actor], crowd.nature[target])
    gap = np.abs(crowd.age[actor] - crowd.age[target])
    return np.asarray(FIT_WEIGHT * fit + 0.9 * crowd.charm[target] - 0.08 * gap)


def _looked_at(crowd: Crowd, rng: np.random.Generator) -> tuple[tuple[Ints, Ints, Floats], Ints]:
    """Whom each person came across: (actors, targets, pulls); and how many are eligible to each, int64 (n,).

    What one browses follows one's taste in part: the draw is without replacement, by Gumbel noise over half the pull.
    """
    activity = _activity(crowd, rng)
    actors, targets, counts = [], [], []
    for start in range(0, crowd.size, 512):
        rows = np.arange(start, min(start + 512, crowd.size))
        may = eligible(crowd, rows)
        counts.append(may.sum(axis=1))
        pull = FIT_WEIGHT * crowd.wish[rows] @ crowd.nature.T + 0.9 * crowd.charm
        key = np.where(may, 0.5 * pull + rng.gumbel(size=may.shape), -np.inf)
        wanted = np.minimum(activity[rows], counts[-1] // 3)
        order = np.argsort(-key, axis=1, kind="stable")[:, : max(int(wanted.max()), 1)]
        taken = np.arange(order.shape[1]) < wanted[:, None]
        actors.append(np.repeat(rows, wanted))
        targets.append(order[taken])
    actor, target = np.concatenate(actors), np.concatenate(targets)
    return (actor, target, _pull(crowd, actor, target)), np.concatenate(counts)


def _activity(crowd: Crowd, rng: np.random.Generator) -> Ints:
    """Opinions given by each, int64 (n,): skewed, about 45 on average; the newest and the shy have hardly any."""
    days = (crowd.left_s - crowd.joined_s) / 86_400
    mean = 48.0 * np.clip(days / 30.0, 0.03, 1.0)
    return rng.poisson(mean * rng.gamma(2.5, 1 / 2.5, crowd.size)).astype(np.int64)


def _bias(pull: Floats) -> float:
    """The threshold at which LIKE_SHARE of the pulls become likes, by bisection."""
    if not len(pull):
        return 0.0
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.mean(_logistic(pull - middle)) > LIKE_SHARE:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _logistic(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _opinions(crowd: Crowd, rng: np.random.Generator, seen: tuple[Ints, Ints, Floats], bias: float) -> Acts:
    actor, target, pull = seen
    likes = rng.random(len(actor)) < _logistic(pull - bias)
    begin_s = np.maximum(crowd.joined_s[actor], crowd.joined_s[target])
    begin_s = np.maximum(begin_s, crowd.left_s.max() - 120 * 86_400)
    end_s = crowd.left_s[actor]
    met = begin_s < end_s
    time_s = np.floor(begin_s + (end_s - begin_s) * rng.random(len(actor)))
    return Acts(actor, target, np.where(likes, LIKE, PASS), time_s).where(met)


def _answers(crowd: Crowd, rng: np.random.Generator, first: Acts, bias: float) -> Acts:
    """Opinions on those who liked one first: half of them are noticed within about two days, if one is still there."""
    likes = first.where(first.kind == LIKE)
    pair = first.actor * crowd.size + first.target
    back = likes.target * crowd.size + likes.actor
    time_s = np.floor(likes.time_s + 60 + rng.exponential(2 * 86_400, len(likes)))
    noticed = (rng.random(len(likes)) < 0.5) & ~np.isin(back, pair) & (time_s < crowd.left_s[likes.target])
    actor, target, time_s = likes.target[noticed], likes.actor[noticed], time_s[noticed]
    flattered = _pull(crowd, actor, target) - bias + 0.4
    kind = np.where(rng.random(len(actor)) < _logistic(flattered), LIKE, PASS)
    return Acts(actor, target, kind, time_s)


def _leave_some(opinions: Acts, n_eligible: Ints) -> Acts:
    """Drops opinions until everyone has LEAST_LEFT unmet eligible people, as far as there are so many at all."""
    size = len(n_eligible)
    spent_by = np.concatenate([opinions.actor, opinions.target[opinions.kind == PASS]])
    spent_on = np.concatenate([opinions.target, opinions.actor[opinions.kind == PASS]])
    spent = np.bincount(np.unique(spent_by * size + spent_on) // size, minlength=size)
    missing = np.minimum(LEAST_LEFT, n_eligible) - (n_eligible - spent)
    keep = np.ones(len(opinions), bool)
    for person in np.flatnonzero(missing > 0):
        touching = np.flatnonzero((opinions.actor == person) | ((opinions.target == person) & (opinions.kind == PASS)))
        others = np.where(opinions.actor[touching] == person, opinions.target[touching], opinions.actor[touching])
        dropped = np.unique(others)[: missing[person]]
        keep[touching[np.isin(others, dropped)]] = False
    return opinions.where(keep)


def mutual_likes(size: int, acts: Acts) -> tuple[Ints, Ints, Floats]:
    """Mutual likes as (low, high, when the later like came)."""
    likes = acts.where(acts.kind == LIKE)
    low, high = np.minimum(likes.actor, likes.target), np.maximum(likes.actor, likes.target)
    order = np.lexsort((likes.time_s, low * size + high))
    pair, time_s = (low * size + high)[order], likes.time_s[order]
    second = np.flatnonzero(pair[1:] == pair[:-1]) + 1
    return pair[second] // size, pair[second] % size, time_s[second]


def _messages(crowd: Crowd, rng: np.random.Generator, opinions: Acts) -> Acts:
    """One to five messages, taking turns, in two thirds of the matches."""
    low, high, time_s = mutual_likes(crowd.size, opinions)
    talk = rng.random(len(low)) < 0.66
    low, high, time_s = low[talk], high[talk], time_s[talk]
    count = rng.integers(1, 6, len(low))
    match = np.repeat(np.arange(len(low)), count)
    turn = np.arange(len(match)) - np.repeat(np.cumsum(count) - count, count)
    starts = rng.random(len(low)) < 0.5
    by_low = (turn % 2 == 0) == starts[match]
    actor, target = np.where(by_low, low[match], high[match]), np.where(by_low, high[match], low[match])
    sent_s = np.floor(time_s[match] + 300 + 5_400 * turn + rng.random(len(match)) * 3_600)
    return Acts(actor, target, np.full(len(match), MESSAGE), sent_s).where(sent_s < crowd.left_s[actor])


def _blocks(crowd: Crowd, rng: np.random.Generator, opinions: Acts) -> Acts:
    """One pass in 500 is followed by a block."""
    passes = opinions.where(opinions.kind == PASS)
    blocks = passes.where(rng.random(len(passes)) < 0.002)
    time_s = np.minimum(blocks.time_s + 30, crowd.left_s[blocks.actor])
    return Acts(blocks.actor, blocks.target, np.full(len(blocks), BLOCK), time_s)
