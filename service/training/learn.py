"""From people and pairs to everything a bundle holds: fitted on the past, judged on what came after, fitted anew on all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from service.domain import Profile
from service.errors import PluginBroken
from service.features.content import ContentEncoder
from service.plugins import Installed, InstalledRanker, instantiate
from service.training.content import PRIORS, Lambdas, Words, blend, choose_lambdas, fit_encoder, fit_words
from service.training.evaluate import Model, Quality, Task, judge_model, judge_popularity, judge_probabilities, task_of
from service.training.examples import Pairs, Rows
from service.training.factors import Factors, fit_factors
from service.training.newcomers import judge_newcomers
from service.training.rankers import Evidence, Looks, Trained, gather, train_rankers
from service.training.scene import Scene, tastes_of
from service.training.split import Split, join, split_pairs
from service.training.steps import Steps

CHOICE_VIEWERS = 600


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is learnt from: people by ascending id, `ids` int64 (n,), the pairs with an outcome, and the time it was read."""

    profiles: list[Profile]
    ids: Rows
    pairs: Pairs
    now_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Learners:
    """Whom to train: the installed rankers; who ranks when all is well, and who steps in; the seed of everything drawn."""

    installed: Installed[InstalledRanker]
    default: str
    fallback: str
    seed: int

    def model(self, scene: Scene, trained: Trained) -> Model:
        """Those vectors with the default ranker, or the fallback, as requests are served; none that has failed."""
        ready = {name: loaded.ranker for name, loaded in instantiate(self.installed, None).items()}
        for name in (self.default, self.fallback):
            ranker = trained.rankers.get(name) or ready[name]
            if ranker is not None and name not in trained.broken:
                return Model(scene, ranker, self.features_of(name), name)
        return Model(scene, None, ())

    def judge(self, scene: Scene, trained: Trained, tasks: Sequence[Task]) -> tuple[list[Quality], Trained]:
        """How good that model is at each of the tasks; where its ranker fails at one, the model without it, at all of them."""
        while True:
            model = self.model(scene, trained)
            try:
                return [judge_model(model, task, self.seed) for task in tasks], trained
            except PluginBroken as exc:
                trained = trained.without({model.name: str(exc)})

    def features_of(self, name: str) -> tuple[str, ...]:
        return tuple(self.installed.by_name[name].factory.required_features)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """All that was learnt: final vectors and encoder, rankers, figures, and the pairs that no bundle may learn from."""

    words: Words
    factors: Factors
    encoder: ContentEncoder
    trained: Trained
    metrics: dict[str, float]
    learnt: Pairs
    gate: Pairs


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen on data between the training part and the test part."""

    lambdas: Lambdas
    prior: float


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Everyone as of the end of the training part, with the vectors learnt until then and what was chosen for them."""

    scene: Scene
    factors: Factors
    choices: Choices


def learn(material: Material, learners: Learners, steps: Steps) -> Lesson:
    """All of it, deterministic for the same material and seed: BLAS, whose sums depend on its threads, gets one.

    The figures are of a model from which a tenth of the people is hidden; then all is fitted anew with everybody, by the same
    choices, so that counts are what they are online: without the tenth, people seem to have a fifth fewer likes.
    """
    with threadpool_limits(1, "blas"):
        return _learn(material, learners, steps)


def _learn(material: Material, learners: Learners, steps: Steps) -> Lesson:
    seed = learners.seed
    split = split_pairs(material.pairs, material.ids, seed)
    with steps("content vectors"):
        words = fit_words(material.profiles, seed)
    with steps("factors of the past"):
        before = past(material, words, split, seed, PRIORS)
    with steps("rankers"):
        known = join(split.factors, split.fit, split.calibration)
        trained, looks = _trained(before.scene, split, known, learners, learners.installed.by_name)
    with steps("evaluation"):
        metrics, trained = _evaluate(before.scene, split, learners, trained, looks)
        metrics |= judge_newcomers(before.scene, before.factors, split.cold, split.cold_people, seed)
    with steps("rankers of everybody"):
        everybody = split_pairs(material.pairs, material.ids, seed, cold_share=0.0)
        scene = past(material, words, everybody, seed, (before.choices.prior,)).scene
        learnt = join(everybody.factors, everybody.fit, everybody.calibration, everybody.test)
        failed = {name: trained.left_out[name] for name in trained.broken}
        whole = {name: ranker for name, ranker in learners.installed.by_name.items() if name not in failed}
        trained = _trained(scene, everybody, learnt, learners, whole)[0].without(failed)
    with steps("factors of everything"):
        factors = fit_factors(learnt, len(material.ids), seed)
        encoder, blended = encoded(words, factors, learnt, before.choices)
    return Lesson(words, blended, encoder, trained, metrics, learnt, split.gate)


def past(material: Material, words: Words, split: Split, seed: int, priors: tuple[float, ...]) -> Past:
    """Everyone as of the end of the training part, and the choices with which retrieval finds best what came next."""
    factors = fit_factors(split.factors, len(material.ids), seed)
    lambdas = choose_lambdas(words.content, factors, split.factors, seed)
    moment_s = split.moment_s if len(split.factors) else material.now_s
    task = task_of(split.fit, join(split.factors, split.fit), split.factors, ~split.cold_people)
    pasts: list[Past] = []
    for prior in priors:
        encoder, blended = encoded(words, factors, split.factors, Choices(lambdas, prior))
        tastes = tastes_of(blended, words.content, encoder)
        scene = pasts[0].scene.with_tastes(tastes) if pasts else Scene(material.profiles, split.factors, moment_s, tastes)
        pasts.append(Past(scene, blended, Choices(lambdas, prior)))
    if len(pasts) == 1:
        return pasts[0]
    found = [judge_model(Model(each.scene, None, ()), task, seed, CHOICE_VIEWERS).ndcg20 for each in pasts]
    return pasts[int(np.argmax(np.nan_to_num(found)))]


def _trained(
    scene: Scene, split: Split, known: Pairs, learners: Learners, installed: Mapping[str, InstalledRanker]
) -> tuple[Trained, Looks]:
    """Those `installed`, fitted on one tenth and calibrated on the next twentieth of the pairs, and the looks they learnt from.

    `known` tells what came of the looks: without the test part for rankers that will be judged on it.
    """
    evidence = gather(scene, join(split.fit, split.calibration), known, learners.seed)
    calibrate_from_s = float(split.calibration.time_s[0]) if len(split.calibration) else np.inf
    return train_rankers(installed, evidence, calibrate_from_s, learners.seed), evidence.looks


def encoded(words: Words, factors: Factors, pairs: Pairs, choices: Choices) -> tuple[ContentEncoder, Factors]:
    """The encoder of what was learnt from `pairs`, and everyone's vectors with its predictions in them."""
    encoder = fit_encoder(words, factors, pairs, choices.lambdas)
    return encoder, blend(factors, Factors(*encoder.cold_vectors(words.content)), pairs, choices.prior)


def _evaluate(scene: Scene, split: Split, learners: Learners, trained: Trained, looks: Looks) -> tuple[dict[str, float], Trained]:
    """Figures on the test part and on cold people; and the rankers that did not fail at them. Counts and relations are as of the
    start of the test, as they are online, where only vectors and rankers grow old; the baseline counts the same."""
    seed, warm = learners.seed, ~split.cold_people
    before = join(split.factors, split.fit, split.calibration)
    everything = join(before, split.test)
    then = scene.at(before, float(before.time_s[-1]) if len(before) else scene.now_s)
    test = gather(then, split.test, everything, seed)
    figures, trained = _probabilities(learners, trained, test, float(looks.matched.mean()) if len(looks) else 0.0)
    from_cold = split.cold_people[split.cold.actor] & warm[split.cold.target]
    nothing = split.cold.where(np.zeros(len(split.cold), np.bool_))
    tasks = {
        "": task_of(split.test, everything, before, warm),
        "cold_": task_of(split.cold.where(from_cold), split.cold, nothing, warm),
    }
    qualities, trained = learners.judge(then, trained, list(tasks.values()))
    for (prefix, task), ours in zip(tasks.items(), qualities, strict=True):
        baseline = judge_popularity(then, task, before, seed)
        figures |= _prefixed(prefix, ours.figures()) | _prefixed(f"{prefix}popularity_", baseline.figures())
    return figures, trained


def _probabilities(learners: Learners, trained: Trained, test: Evidence, base_rate: float) -> tuple[dict[str, float], Trained]:
    """How good the probabilities of each ranker are; and those that could say any."""
    figures: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, ranker in trained.rankers.items():
        prefix = "" if name == learners.default else f"{name}_"
        try:
            figures |= _prefixed(prefix, judge_probabilities(ranker, learners.features_of(name), test, base_rate))
        except PluginBroken as exc:
            failed[name] = str(exc)
    return figures, trained.without(failed)


def _prefixed(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in figures.items()}
