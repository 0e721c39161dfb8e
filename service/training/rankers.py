"""Rankers trained on what came of showing people to one another.

`match_score` is the probability that showing this candidate to this viewer ends in a match, among pairs as they were shown: a
pair counts as shown once the viewer has spoken about it, and as a match when both have said yes by the end of the data. So
a like that is still unanswered counts as none, and the score says what comes of a look within about the length of the data.
Where hardly anybody passes (messages only, say) nobody knows who was looked at and left; we then assume LOOKS_PER_YES others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from amity_rankers.contract import Ranker, RankingBatch, TrainingExamples
from numpy.typing import NDArray

from service.errors import PluginBroken
from service.plugins import Arrays, InstalledRanker, foreign
from service.population.standing import LIKED
from service.recommend.ranking import checked
from service.training.examples import Mask, Pairs, Rows, Seconds, answered
from service.training.packing import pack_ranker, train_ranker
from service.training.scene import Scene

Floats = NDArray[np.float32]

RARE_PASSES = 0.1
LOOKS_PER_YES = 4
MOMENTS = 5
"""Each part of the pairs is seen from so many moments, each the start of a fifth of it."""
LEAST_EXAMPLES = 200
LEAST_MATCHES = 10
"""With fewer a ranker would learn the noise; the fallback, which learns nothing, serves better."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """One person shown to another: `viewer`, `candidate` int64 (m,), rows of people; `matched` bool; `time_s` float64."""

    viewer: Rows
    candidate: Rows
    matched: Mask
    time_s: Seconds

    def __len__(self) -> int:
        return len(self.viewer)

    def where(self, keep: Mask | Rows) -> "Looks":
        return Looks(self.viewer[keep], self.candidate[keep], self.matched[keep], self.time_s[keep])


def join_looks(*parts: Looks) -> Looks:
    return Looks(
        np.concatenate([part.viewer for part in parts]),
        np.concatenate([part.candidate for part in parts]),
        np.concatenate([part.matched for part in parts]),
        np.concatenate([part.time_s for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What rankers are trained and tested on: looks, grouped by viewer, each seen from the last of some moments before it.

    `scenes` are everyone at those moments; `moment`, int64 (m,): which of them; `liked`, bool (m,): whether the candidate's
    like of the viewer stood when the viewer looked.
    """

    scenes: tuple[Scene, ...]
    moment: Rows
    looks: Looks
    liked: Mask
    _made: dict[str, Floats] = field(default_factory=dict)
    """Features that a ranker has asked for, float32 (m,) each: others ask for the same."""

    @property
    def ids(self) -> Rows:
        return self.scenes[0].ids

    def features(self, names: tuple[str, ...]) -> Floats:
        """float32 (m, len(names)), through the same `assemble` as online."""
        missing = tuple(name for name in names if name not in self._made)
        if missing:
            self._made.update(zip(missing, self._assembled(missing).T.copy(), strict=True))
        return np.column_stack([self._made[name] for name in names]) if names else np.empty((len(self.looks), 0), np.float32)

    def _assembled(self, names: tuple[str, ...]) -> Floats:
        matrix = np.empty((len(self.looks), len(names)), np.float32)
        for key, part in spans(self.looks.viewer * len(self.scenes) + self.moment):
            viewer, moment = divmod(key, len(self.scenes))
            candidates = self.looks.candidate[part]
            matrix[part] = self.scenes[moment].features(viewer, candidates, self.liked[part], names)
        return matrix


def spans(keys: Rows) -> Iterator[tuple[int, slice]]:
    """Each run of equal keys: the key and where it stands."""
    edges = np.flatnonzero(np.diff(keys)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(keys))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end > start:
            yield int(keys[start]), slice(start, end)


def gather(scene: Scene, part: Pairs, everything: Pairs, seed: int) -> Evidence:
    """The looks of one part of the pairs, whose vectors are those of `scene`.

    `everything` (cold people and gate left out) tells what came of them, and what was known at each of MOMENTS: online only
    vectors grow old between two trainings, while counts and relations follow every change.
    """
    n_people = scene.n_people
    looks = Looks(part.actor, part.target, answered(part, everything, n_people), part.time_s)
    if not len(part) or np.mean(~part.positive) < RARE_PASSES:
        looks = join_looks(looks, _left(scene, part, everything, seed))
    starts_s = part.time_s[np.linspace(0, len(part), MOMENTS, endpoint=False).astype(np.int64)] if len(part) else part.time_s
    scenes = [scene.at(everything.where(everything.time_s < start_s), float(start_s)) for start_s in starts_s] or [scene]
    moment = np.maximum(np.searchsorted(starts_s, looks.time_s, side="right") - 1, 0)
    order = np.lexsort((moment, looks.viewer))
    looks = looks.where(order)
    return Evidence(tuple(scenes), moment[order], looks, liked_before(looks, everything, n_people))


def _left(scene: Scene, part: Pairs, everything: Pairs, seed: int) -> Looks:
    """For each yes, LOOKS_PER_YES eligible people of whom the viewer has said nothing: taken to have been looked at and left."""
    rng = np.random.default_rng([seed, 3])
    yes = part.where(part.positive)
    yes = yes.where(np.argsort(yes.actor, kind="stable"))
    known = everything.where(np.argsort(everything.actor, kind="stable"))
    viewers, candidates, times_s = [], [], []
    for viewer, span in spans(yes.actor):
        open_ = scene.eligible(viewer)
        first, last = np.searchsorted(known.actor, (viewer, viewer + 1))
        open_[known.target[first:last]] = False
        others = np.flatnonzero(open_)
        when_s = np.repeat(yes.time_s[span], LOOKS_PER_YES)[: len(others)]
        candidates.append(rng.choice(others, len(when_s), replace=False))
        viewers.append(np.full(len(when_s), viewer))
        times_s.append(when_s)
    if not viewers:
        none = np.zeros(0, np.int64)
        return Looks(none, none, np.zeros(0, np.bool_), np.zeros(0))
    viewer_rows = np.concatenate(viewers)
    return Looks(viewer_rows, np.concatenate(candidates), np.zeros(len(viewer_rows), np.bool_), np.concatenate(times_s))


def liked_before(looks: Looks, everything: Pairs, n_people: int) -> Mask:
    """Whether the candidate's like of the viewer stood when the viewer looked, bool (m,)."""
    likes = everything.where(everything.opinion == LIKED)
    order = np.argsort(likes.keys(n_people), kind="stable")
    keys = likes.keys(n_people)[order]
    if not len(keys):
        return np.zeros(len(looks), np.bool_)
    wanted = looks.candidate * n_people + looks.viewer
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray((keys[place] == wanted) & (likes.time_s[order][place] < looks.time_s), np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The rankers that learnt, by name, and why the others are left out.

    `arrays`: what each is in the bundle; `rankers` are loaded from them, as replicas will load them. `broken`: those left out
    because they failed, and not for want of anything to learn from.
    """

    rankers: Mapping[str, Ranker]
    left_out: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    def without(self, failed: Mapping[str, str]) -> "Trained":
        """The same without those that failed; `failed` is why, by name."""
        return replace(
            self,
            rankers={name: ranker for name, ranker in self.rankers.items() if name not in failed},
            left_out={**self.left_out, **failed},
            arrays={name: arrays for name, arrays in self.arrays.items() if name not in failed},
            broken=self.broken | failed.keys(),
        )


def train_rankers(installed: Mapping[str, InstalledRanker], evidence: Evidence, calibrate_from_s: float, seed: int) -> Trained:
    """Every installed ranker that learns. One that fails to learn, to be dumped, loaded again or to score is left out by name;
    the others go on."""
    rankers: dict[str, Ranker] = {}
    arrays: dict[str, Arrays] = {}
    failed: dict[str, str] = {}
    learners = {name: ranker for name, ranker in installed.items() if ranker.factory.needs_bundle}
    n_matches = int(evidence.looks.matched.sum())
    if len(evidence.looks) < LEAST_EXAMPLES or n_matches < LEAST_MATCHES:
        reason = f"too little to learn from: {len(evidence.looks)} looks with {n_matches} matches"
        return Trained({}, dict.fromkeys(learners, reason))
    for name, ranker in learners.items():
        try:
            examples = examples_for(evidence, ranker, calibrate_from_s, seed)
            arrays[name], rankers[name] = pack_ranker(ranker, train_ranker(ranker, examples))
            _try_out(rankers[name], examples)
        except PluginBroken as exc:
            failed[name] = str(exc)
    return Trained(rankers, arrays=arrays).without(failed)


def scores_of(ranker: Ranker, batch: RankingBatch) -> Floats:
    """The ranker's scores, held to what a replica holds them to. Raises PluginBroken saying what is wrong with them, or it."""
    with foreign("cannot score"):
        return checked(ranker.score(batch), len(batch.candidate_ids))


def _try_out(ranker: Ranker, examples: TrainingExamples) -> None:
    """Rank the first viewer's candidates: what fails here would fail in front of people. Raises PluginBroken."""
    viewer, part = next(spans(examples.viewer_ids))
    scores_of(ranker, RankingBatch(viewer, examples.candidate_ids[part], examples.names, examples.features[part]))


def examples_for(evidence: Evidence, ranker: InstalledRanker, calibrate_from_s: float, seed: int) -> TrainingExamples:
    """The contract's form of the evidence, with the features that one ranker requires."""
    looks, names = evidence.looks, tuple(ranker.factory.required_features)
    return TrainingExamples(
        viewer_ids=evidence.ids[looks.viewer],
        candidate_ids=evidence.ids[looks.candidate],
        names=names,
        features=evidence.features(names),
        matched=looks.matched.astype(np.float32),
        weights=np.ones(len(looks), np.float32),
        calibration=looks.time_s >= calibrate_from_s,
        seed=seed,
    )


def score_all(ranker: Ranker, names: tuple[str, ...], evidence: Evidence) -> Floats:
    """Probabilities of all looks, float32 (m,), viewer by viewer as online. Raises PluginBroken when it cannot."""
    features = evidence.features(names)
    scores = np.empty(len(evidence.looks), np.float32)
    for viewer, part in spans(evidence.looks.viewer):
        ids = evidence.ids[evidence.looks.candidate[part]]
        scores[part] = scores_of(ranker, RankingBatch(int(evidence.ids[viewer]), ids, names, features[part]))
    return scores
