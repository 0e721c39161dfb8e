"""A small training on the demo population, without a database: what is hidden stays hidden, and the same comes out again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import CONTRACT_VERSION, Ranker, RankingBatch, TrainingExamples
from numpy.typing import NDArray

from service.features.definitions import FEATURES
from service.plugins import Installed, InstalledRanker, load_rankers
from service.population.standing import LIKED
from service.repositories.columns import CODES, InteractionTable
from service.settings import Settings
from service.telemetry import silent
from service.training import learn as learning
from service.training import rankers
from service.training.content import fit_words, ridge
from service.training.evaluate import judge_model, judge_popularity, task_of
from service.training.examples import Pairs, pairs_of
from service.training.factors import Factors, fit_factors
from service.training.learn import Learners, Lesson, Material, learn
from service.training.rankers import Trained, examples_for, gather, train_rankers
from service.training.scene import Scene, tastes_of
from service.training.split import gate_mask, split_pairs
from service.training.steps import Steps
from service.transfer.demo import DemoRequest, generate

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)
SEED = 7


@pytest.fixture(scope="module")
def material() -> Material:
    demo = generate(DemoRequest(n_people=300, seed=11, reference=REFERENCE))
    kinds = np.array([CODES[kind] for kind in demo.kinds], np.int8)
    table = InteractionTable(demo.actors, demo.targets, kinds, demo.times_s.astype(np.float64))
    ids = np.array([person.id for person in demo.people], np.int64)
    return Material(demo.people, ids, pairs_of(table, ids), REFERENCE.timestamp())


@pytest.fixture(scope="module")
def learners() -> Learners:
    return Learners(load_rankers(Settings(), FEATURES), "v1", "heuristic", SEED)


@pytest.fixture(scope="module")
def lesson(material: Material, learners: Learners) -> Lesson:
    return learn(material, learners, Steps(silent))


def arrays_of(lesson: Lesson, learners: Learners) -> dict[str, NDArray[Any]]:
    dumped = learners.installed.by_name["v1"].factory.dump(lesson.trained.rankers["v1"])
    return {"p": lesson.factors.p, "q": lesson.factors.q, **lesson.encoder.dump(), **dumped}


def assert_same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def without(material: Material, hidden: NDArray[np.bool_]) -> Material:
    return replace(material, pairs=material.pairs.where(~hidden))


def test_same_material_and_seed_give_the_same_arrays(material: Material, learners: Learners, lesson: Lesson) -> None:
    again = learn(material, learners, Steps(silent))
    assert_same(arrays_of(again, learners), arrays_of(lesson, learners))
    assert again.metrics == pytest.approx(lesson.metrics, nan_ok=True, rel=0)


def test_gate_pairs_change_nothing_that_is_learnt(material: Material, learners: Learners, lesson: Lesson) -> None:
    held = gate_mask(material.pairs, material.ids)
    assert held.any()
    blind = learn(without(material, held), learners, Steps(silent))
    assert_same(arrays_of(blind, learners), arrays_of(lesson, learners))


def test_history_of_cold_people_does_not_reach_the_model_they_are_judged_with(
    material: Material, learners: Learners, lesson: Lesson
) -> None:
    cold = split_pairs(material.pairs, material.ids, SEED).cold_people
    touches = cold[material.pairs.actor] | cold[material.pairs.target]
    blind = learn(without(material, touches), learners, Steps(silent))
    for name in ("ndcg20", "match_ndcg20", "auc", "log_loss"):  # of other people's lists and looks, to the last bit
        assert blind.metrics[name] == lesson.metrics[name]
    assert not np.array_equal(blind.factors.p, lesson.factors.p)  # what is published does learn from everybody


def test_labels_of_the_judged_rankers_end_before_the_test_and_those_of_the_published_do_not(
    material: Material, learners: Learners, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_s: list[float] = []

    def noted(scene: Scene, part: Pairs, everything: Pairs, seed: int) -> rankers.Evidence:
        until_s.append(float(everything.time_s[-1]))
        return gather(scene, part, everything, seed)

    monkeypatch.setattr(learning, "gather", noted)
    learn(material, learners, Steps(silent))
    split = split_pairs(material.pairs, material.ids, SEED)
    assert until_s[0] == split.calibration.time_s[-1] < split.test.time_s[0]
    assert until_s[-1] == material.pairs.where(~gate_mask(material.pairs, material.ids)).time_s[-1]


def test_lists_beat_popularity_and_probabilities_beat_a_constant(lesson: Lesson) -> None:
    figures = lesson.metrics
    assert figures["ndcg20"] > 1.3 * figures["popularity_ndcg20"]
    assert figures["auc"] > 0.75
    assert figures["log_loss"] < figures["constant_log_loss"]


def test_person_without_history_gets_the_vectors_that_the_profile_predicts(material: Material, learners: Learners) -> None:
    stranger = (material.pairs.actor == 5) | (material.pairs.target == 5)
    lesson = learn(without(material, stranger), learners, Steps(silent))
    p, q = lesson.encoder.cold_vectors(lesson.words.content[5])
    np.testing.assert_allclose(lesson.factors.p[5], p, atol=1e-6)
    np.testing.assert_allclose(lesson.factors.q[5], q, atol=1e-6)


def test_profiles_that_say_nothing_get_the_mean_taste_weighted_by_history() -> None:
    """On a site of ids alone the tastes of newcomers are everybody's, so that who is liked much comes first."""
    tastes, history = np.array([[1.0, 0.0], [0.0, 3.0], [9.0, 9.0]], np.float32), np.array([10, 30, 0])
    weights = ridge(np.zeros((3, 4), np.float32), tastes, history, 10.0)
    np.testing.assert_array_equal(weights[:-1], 0)
    np.testing.assert_allclose(weights[-1], np.array([0.5, 0.75 * 3]) / 1.25, rtol=1e-5)


class Half:
    """A ranker whose every score is a half, from a factory that can be made to fail anywhere."""

    contract_version = CONTRACT_VERSION
    version = "1"
    required_features = ("forward_affinity",)
    needs_bundle = True
    light = True

    def train(self, examples: TrainingExamples) -> Ranker:
        return self

    def dump(self, ranker: Any) -> dict[str, NDArray[Any]]:
        return {"nothing": np.zeros(1)}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> Ranker:
        return self

    def score(self, batch: RankingBatch) -> Any:
        return np.full(len(batch.candidate_ids), 0.5, np.float32)


def fail(*_: Any) -> Any:
    raise ZeroDivisionError("no luck")


def late(n_fine: int) -> Any:
    """Scores well so many times, and then no more."""
    asked = iter(range(n_fine))

    def score(self: Half, batch: RankingBatch) -> Any:
        return Half.score(self, batch) if next(asked, None) is not None else fail()

    return score


FAILING: dict[str, tuple[dict[str, Any], str]] = {
    "unlucky": ({"train": fail}, "cannot be trained: ZeroDivisionError: no luck"),
    "ends": ({"train": lambda self, examples: exit(3)}, "cannot be trained: SystemExit: 3"),
    "forgets": ({"load": fail}, "cannot be loaded: ZeroDivisionError: no luck"),
    "loads_none": ({"load": lambda self, arrays: None}, "cannot be loaded: what it gives, NoneType"),
    "pickles": ({"dump": lambda self, ranker: {"x": np.array([self])}}, "dumps 'x' of dtype object: not a plain array"),
    "whole": ({"score": lambda self, batch: np.ones(len(batch.candidate_ids), np.int64)}, "cannot score: scores of dtype int64"),
    "short": ({"score": lambda self, batch: np.ones(1, np.float32)}, "cannot score: scores of shape (1,) for"),
    "below": ({"score": lambda self, batch: Half.score(self, batch) - 0.6}, "cannot score: scores that are no probabilities"),
    "missing": ({"score": lambda self, batch: Half.score(self, batch) * np.nan}, "cannot score: scores that are no numbers"),
    "late": ({"score": late(3)}, "cannot score: ZeroDivisionError: no luck"),
}


def with_half(learners: Learners, **made: dict[str, Any]) -> Learners:
    """The same with more rankers, each a Half with something else about it."""
    more = {name: InstalledRanker(name, type(name, (Half,), body)(), "theirs", "1.0") for name, body in made.items()}
    return replace(learners, installed=Installed(learners.installed.by_name | more, ()))


def test_rankers_that_fail_anywhere_are_left_out_by_name_and_the_others_learn(material: Material, learners: Learners) -> None:
    failing = {name: body for name, (body, _) in FAILING.items()}
    lesson = learn(material, with_half(learners, sound={}, **failing), Steps(silent))
    assert set(lesson.trained.arrays) == set(lesson.trained.rankers) >= {"v1", "sound"}
    for name, (_, said) in FAILING.items():
        assert said in lesson.trained.left_out[name]
    assert lesson.trained.broken == set(FAILING)
    assert {"auc", "sound_auc", "ndcg20"} <= set(lesson.metrics)
    assert "late_auc" not in lesson.metrics


@pytest.mark.parametrize("most", [0, 80])
def test_where_the_default_fails_lists_are_judged_by_the_fallback(material: Material, learners: Learners, most: int) -> None:
    """At once, and not before whole lists are judged, which are longer than what came of looks."""

    def score(self: Half, batch: RankingBatch) -> Any:
        return Half.score(self, batch) if len(batch.candidate_ids) <= most else fail()

    failing = replace(with_half(learners, mine={"score": score}), default="mine")
    lesson = learn(material, failing, Steps(silent))
    by_fallback = learn(material, replace(learners, default="heuristic"), Steps(silent))
    assert "no luck" in lesson.trained.left_out["mine"]
    assert lesson.metrics["ndcg20"] == by_fallback.metrics["ndcg20"]
    assert ("auc" in lesson.metrics) == (most > 0)


@pytest.fixture(scope="module")
def scene(material: Material) -> Scene:
    words = fit_words(material.profiles, SEED)
    split = split_pairs(material.pairs, material.ids, SEED)
    factors = fit_factors(split.factors, len(material.ids), SEED)
    width = factors.p.shape[1]
    empty = np.zeros((words.content.shape[1] + 1, width), np.float32)
    return Scene(material.profiles, split.factors, split.moment_s, tastes_of(factors, words.content, words.encoder(empty, empty)))


def test_examples_of_one_viewer_are_contiguous_and_the_latest_calibrate(
    scene: Scene, material: Material, learners: Learners
) -> None:
    evidence = gather(scene, material.pairs, material.pairs, SEED)
    from_s = float(np.quantile(material.pairs.time_s, 0.8))
    examples = examples_for(evidence, learners.installed.by_name["v1"], from_s, SEED)
    n_runs = 1 + int((np.diff(examples.viewer_ids) != 0).sum())
    assert n_runs == len(np.unique(examples.viewer_ids))
    np.testing.assert_array_equal(examples.calibration, evidence.looks.time_s >= from_s)
    assert examples.features.shape == (len(material.pairs), len(examples.names))


def test_features_do_not_know_the_future(scene: Scene, material: Material) -> None:
    """The first ever look in the data sees people without any likes."""
    evidence = gather(scene, material.pairs, material.pairs, SEED)
    features = evidence.features(("candidate_log_likes_received", "viewer_log_likes_given", "likes_viewer"))
    first = int(np.argmin(evidence.looks.time_s))
    assert features[first].tolist() == [0.0, 0.0, 0.0]
    last = int(np.argmax(evidence.looks.time_s))
    assert features[last, 0] > 0.0


def test_where_nobody_passes_eligible_strangers_stand_for_the_left(scene: Scene, material: Material) -> None:
    likes = material.pairs.where(material.pairs.positive)
    evidence = gather(scene, likes, likes, SEED)
    n_assumed = len(evidence.looks) - len(likes)
    assert n_assumed > 0.8 * rankers.LOOKS_PER_YES * len(likes)
    n_people = len(material.ids)
    known = np.isin(evidence.looks.viewer * n_people + evidence.looks.candidate, likes.keys(n_people))
    assert int(known.sum()) == len(likes)
    for row in np.flatnonzero(~known)[::97]:
        assert not evidence.looks.matched[row]
        assert scene.eligible(int(evidence.looks.viewer[row]))[evidence.looks.candidate[row]]


def test_too_few_matches_leave_every_ranker_out_with_the_reason(scene: Scene, material: Material, learners: Learners) -> None:
    few = material.pairs.where(np.arange(len(material.pairs)) < 50)
    trained = train_rankers(learners.installed.by_name, gather(scene, few, few, SEED), np.inf, SEED)
    assert not trained.rankers
    assert "too little to learn from: 50 looks" in trained.left_out["v1"]


def test_known_pairs_and_those_who_are_no_candidates_are_in_no_list(scene: Scene, material: Material, learners: Learners) -> None:
    """A model whose ranker notes whom it is asked about."""
    asked: list[tuple[int, int]] = []

    class Noting:
        def score(self, batch: RankingBatch) -> NDArray[np.float32]:
            asked.extend((batch.viewer_id, candidate) for candidate in batch.candidate_ids.tolist())
            return np.zeros(len(batch.candidate_ids), np.float32)

    known = material.pairs.where(np.arange(len(material.pairs)) % 2 == 0)
    candidates = material.ids > 20
    task = task_of(material.pairs, material.pairs, known, candidates)
    judge_model(learners.model(scene, Trained({"v1": Noting()})), task, SEED, most_viewers=50)
    pairs = {(int(material.ids[a]), int(material.ids[b])) for a, b in zip(known.actor, known.target, strict=True)}
    assert asked
    assert not pairs & set(asked)
    assert min(candidate for _, candidate in asked) > 20


def test_popularity_ranks_by_likes_received(scene: Scene, material: Material) -> None:
    """Where the wanted are the most liked eligible people, popularity is perfect."""
    likes = material.pairs.where(material.pairs.opinion == LIKED)
    popular = np.bincount(likes.target, minlength=scene.n_people)
    eligible = np.flatnonzero(scene.eligible(0))
    best = eligible[np.argsort(-popular[eligible], kind="stable")][:3]
    ones = np.ones(3, np.int64)
    wanted = Pairs(0 * ones, best, ones > 0, ones.astype(np.int8), 0 * ones, ones.astype(np.float64))
    nothing = likes.where(np.zeros(len(likes), bool))
    task = task_of(wanted, wanted, nothing, np.ones(scene.n_people, bool))
    assert judge_popularity(scene, task, likes, SEED).ndcg20 == 1.0


def test_factors_bring_likers_of_the_same_people_together() -> None:
    """Two camps that like only their own: p·q is high within, low across."""
    rng = np.random.default_rng(0)
    actor, target = rng.integers(0, 100, 6_000), rng.integers(0, 100, 6_000)
    same = actor % 2 == target % 2
    keep = (actor != target) & (same | (rng.random(6_000) < 0.5))
    key, first = np.unique(actor[keep] * 100 + target[keep], return_index=True)
    nothing = np.zeros(len(key), np.int64)
    time_s = np.arange(len(key), dtype=np.float64)
    pairs = Pairs(key // 100, key % 100, same[keep][first], nothing.astype(np.int8), nothing, time_s)
    factors: Factors = fit_factors(pairs, 100, SEED)
    affinity = factors.p @ factors.q.T
    within = np.equal.outer(np.arange(100) % 2, np.arange(100) % 2)
    assert affinity[within].mean() > affinity[~within].mean() + 0.5
