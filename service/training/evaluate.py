"""How good a model is: whole lists of whoever is eligible and unseen, and probabilities of what came of showing them.

A model is what a replica serves with: vectors retrieve, a ranker orders what they and the admirers bring. Nothing is sampled
from a list; pairs that were learnt from are left out of it, and so are those that a viewer had spoken about before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import Ranker, RankingBatch
from numpy.typing import NDArray

from service.population.standing import LIKED
from service.training import metrics
from service.training.examples import Mask, Pairs, Rows, answered
from service.training.rankers import Evidence, score_all, scores_of
from service.training.scene import Scene

Floats = NDArray[np.float32]
Order = Callable[[int, Rows, Mask], Rows]

RETRIEVED = 200
"""People whom retrieval hands to the ranker, as many as one source brings online; behind them the order of retrieval stays."""

MOST_VIEWERS = 1000
"""Judged at most, drawn with the seed: with 1,000 the standard error of a mean NDCG is below 0.01."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """People with vectors, and who orders them; `ranker` None: the order of retrieval. `name`: the ranker's own."""

    scene: Scene
    ranker: Ranker | None
    names: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is judged: `wanted` are pairs to be found again, `known` those that are left out of the lists and stood before;
    `candidates` bool (n,): who may be in a list at all; `matched` bool (len(wanted),): which became matches."""

    wanted: Pairs
    matched: Mask
    known: Pairs
    candidates: Mask


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over viewers. `ndcg20`: of finding whom the viewer said yes to; `match_ndcg20`: whom the viewer matched with;
    `recall100` of the former; `exposure_gini`: inequality of how often people stand in the first 20."""

    ndcg20: float
    match_ndcg20: float
    recall100: float
    exposure_gini: float
    n_viewers: int

    def figures(self) -> dict[str, float]:
        """By name, for the manifest."""
        return {
            "ndcg20": self.ndcg20,
            "match_ndcg20": self.match_ndcg20,
            "recall100": self.recall100,
            "exposure_gini": self.exposure_gini,
            "n_viewers": float(self.n_viewers),
        }


def task_of(wanted: Pairs, everything: Pairs, known: Pairs, candidates: Mask) -> Task:
    """`everything` tells which of the wanted became matches; only what a viewer said yes to is wanted."""
    yes = wanted.where(wanted.positive)
    return Task(yes, answered(yes, everything, len(candidates)), known, candidates)


def judge_model(model: Model, task: Task, seed: int, most_viewers: int = MOST_VIEWERS) -> Quality:
    """The model's lists. Raises PluginBroken when its ranker fails at one."""

    def order(viewer: int, candidates: Rows, admirers: Mask) -> Rows:
        return model_order(model, viewer, candidates, admirers)

    return _judge(model.scene, order, task, _drawn(task.wanted.actor, seed, most_viewers))


def judge_popularity(scene: Scene, task: Task, liked: Pairs, seed: int) -> Quality:
    """The baseline: everyone eligible by how many said yes to them among `liked`; ties by id."""
    yes = liked.where(liked.positive)
    popularity = np.bincount(yes.target, minlength=scene.n_people)

    def order(viewer: int, candidates: Rows, admirers: Mask) -> Rows:
        return np.argsort(-popularity[candidates], kind="stable")

    return _judge(scene, order, task, _drawn(task.wanted.actor, seed, MOST_VIEWERS))


def model_order(model: Model, viewer: int, candidates: Rows, admirers: Mask) -> Rows:
    """Positions in `candidates`, best first. `admirers` bool (n_candidates,): whose like of the viewer stands."""
    mutual = model.scene.mutual(viewer, candidates)
    retrieval = np.argsort(-mutual, kind="stable")
    if model.ranker is None:
        return retrieval
    retrieved = np.zeros(len(candidates), np.bool_)
    retrieved[retrieval[:RETRIEVED]] = True
    head = np.flatnonzero(retrieved | admirers)
    features = model.scene.features(viewer, candidates[head], admirers[head], model.names)
    ids = model.scene.ids
    scores = scores_of(model.ranker, RankingBatch(int(ids[viewer]), ids[candidates[head]], model.names, features))
    tail = retrieval[~np.isin(retrieval, head)]
    return np.concatenate([head[np.argsort(-scores, kind="stable")], tail])


def _judge(scene: Scene, order: Order, task: Task, viewers: list[int]) -> Quality:
    wanted, known = _Grouped(task.wanted.actor), _Grouped(task.known.actor)
    likes = task.known.where(task.known.opinion == LIKED)
    admirers_of = _Grouped(likes.target)
    shown = np.zeros(scene.n_people, np.int64)
    ndcgs, match_ndcgs, recalls = [], [], []
    for viewer in viewers:
        open_ = scene.eligible(viewer) & task.candidates
        open_[task.known.target[known.of(viewer)]] = False
        candidates = np.flatnonzero(open_)
        admires = np.zeros(scene.n_people, np.bool_)
        admires[likes.actor[admirers_of.of(viewer)]] = True
        places = candidates[order(viewer, candidates, admires[candidates])]
        own = wanted.of(viewer)
        relevant = np.isin(places, task.wanted.target[own])
        ndcgs.append(metrics.ndcg(relevant, 20))
        recalls.append(metrics.recall(relevant, 100))
        match_ndcgs.append(metrics.ndcg(np.isin(places, task.wanted.target[own][task.matched[own]]), 20))
        shown[places[:20]] += 1
    return Quality(
        ndcg20=metrics.mean_defined(ndcgs),
        match_ndcg20=metrics.mean_defined(match_ndcgs),
        recall100=metrics.mean_defined(recalls),
        exposure_gini=metrics.gini(shown[task.candidates]),
        n_viewers=int(np.isfinite(ndcgs).sum()),
    )


def _drawn(actors: Rows, seed: int, most: int) -> list[int]:
    viewers = np.unique(actors)
    if len(viewers) > most:
        viewers = np.random.default_rng([seed, 4]).choice(viewers, most, replace=False)
    return [int(viewer) for viewer in viewers]


class _Grouped:
    """Positions by key: `of(key)` are those where the key stands."""

    def __init__(self, keys: Rows) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def of(self, key: int) -> Rows:
        first, last = np.searchsorted(self._sorted, (key, key + 1))
        return self._order[first:last]


def judge_probabilities(ranker: Ranker, names: tuple[str, ...], test: Evidence, base_rate: float) -> dict[str, float]:
    """AUC, log-loss, Brier and calibration error of a ranker on looks it has not seen.

    Raises PluginBroken when it fails at one.

    `constant_log_loss` is that of always saying `base_rate`, the rate it was fitted on: a ranker above it knows nothing.
    """
    matched = test.looks.matched
    said = score_all(ranker, names, test)
    return {
        "auc": metrics.auc(matched, said),
        "log_loss": metrics.log_loss(matched, said),
        "constant_log_loss": metrics.log_loss(matched, np.full(len(matched), base_rate)),
        "brier": metrics.brier(matched, said),
        "calibration_error": metrics.calibration_error(matched, said),
    }
