"""Ranker `v2` learns what no line can say, keeps what `v1` knows, explains itself exactly, and serves without scikit-learn."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from amity_rankers import lambdamart
from amity_rankers.boosted import Trees
from amity_rankers.checks import plausible
from amity_rankers.contract import ExplainingRanker, Floats, RankingBatch, TrainingExamples
from amity_rankers.lambdamart import FEATURES, LambdaMartFactory, LambdaMartRanker
from amity_rankers.logistic import LogisticFactory
from numpy.typing import NDArray

from rankers.tests.made_up import batch_of, examples_of, log_loss

Doubles = NDArray[np.float64]
N_LINEAR = len(LogisticFactory.required_features)


def features(n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    values = np.stack([plausible(name, n, rng) for name in FEATURES], axis=1)
    values[:, FEATURES.index("age_difference_years")] = rng.normal(0, 8, n)
    return values


def truth(values: Floats, shift: float = 0.0) -> Doubles:
    """Chance of a match in a world where people want somebody about four years older, which no line can say, and by taste."""
    age = values[:, FEATURES.index("age_difference_years")].astype(np.float64)
    taste = values[:, FEATURES.index("forward_affinity")].astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-(taste + 2.0 * (np.abs(age - 4) < 4) - 2.0 + shift))))


def examples(n: int = 12_000, seed: int = 1, later_shift: float = 0.0) -> TrainingExamples:
    return examples_of(FEATURES, features(n, seed), truth, seed, later_shift)


def batch(values: Floats) -> RankingBatch:
    return batch_of(FEATURES, values)


def score(ranker: LambdaMartRanker, values: Floats) -> Floats:
    return ranker.score(batch(values))


def unseen(shift: float = 0.0) -> tuple[Floats, Floats]:
    values = features(10_000, seed=5)
    return values, (np.random.default_rng(6).random(len(values)) < truth(values, shift)).astype(np.float32)


@pytest.fixture(scope="module")
def ranker() -> LambdaMartRanker:
    return LambdaMartFactory().train(examples())


def test_learns_what_no_line_can_say(ranker: LambdaMartRanker) -> None:
    values, matched = unseen()
    known = examples()
    line = LogisticFactory().train(replace(known, features=known.features[:, :N_LINEAR]))
    straight = log_loss(line.score(batch(values[:, :N_LINEAR])), matched)
    best = log_loss(truth(values), matched)
    assert best < log_loss(score(ranker, values), matched) < best + (straight - best) / 3


def test_calibration_follows_the_latest_rows() -> None:
    values, matched = unseen(shift=-1.5)
    shifted = LambdaMartFactory().train(examples(later_shift=-1.5))
    assert score(shifted, values).mean() == pytest.approx(matched.mean(), abs=0.02)
    assert (1 / (1 + np.exp(-shifted.log_odds(values)))).mean() > matched.mean() + 0.08


def test_calibration_rows_do_not_enter_the_fit(ranker: LambdaMartRanker) -> None:
    shifted = LambdaMartFactory().train(examples(later_shift=3.0))
    values, _ = unseen()
    np.testing.assert_array_equal(shifted.log_odds(values), ranker.log_odds(values))
    assert shifted.curve != ranker.curve


def test_reasons_add_up_to_the_log_odds_but_for_what_all_have_in_common(ranker: LambdaMartRanker) -> None:
    assert isinstance(ranker, ExplainingRanker)
    values, _ = unseen()
    sums = ranker.contributions(batch(values[:300])).sum(axis=1, dtype=np.float64)
    rest = ranker.log_odds(values[:300]) - sums
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)


def test_reasons_name_what_decides(ranker: LambdaMartRanker) -> None:
    values, _ = unseen()
    weights = np.abs(ranker.contributions(batch(values[:500]))).mean(axis=0)
    assert {FEATURES[index] for index in np.argsort(-weights)[:2]} == {"forward_affinity", "age_difference_years"}


def test_log_odds_of_a_person_do_not_depend_on_the_company(ranker: LambdaMartRanker) -> None:
    values = features(100, seed=3)
    together = ranker.log_odds(values)
    assert [ranker.log_odds(values[row : row + 1])[0] for row in range(100)] == together.tolist()


def test_value_that_was_never_missing_counts_as_the_middle_when_it_is(ranker: LambdaMartRanker) -> None:
    values, column = features(50, seed=3), FEATURES.index("age_difference_years")
    gone, middle = values.copy(), values.copy()
    gone[:, column] = np.nan
    middle[:, column] = ranker.stand_ins[column]
    np.testing.assert_array_equal(score(ranker, gone), score(ranker, middle))


def test_being_unknown_can_speak_for_itself() -> None:
    known = examples()
    values, column = known.features.copy(), FEATURES.index("age_difference_years")
    values[(known.matched == 0) & (np.arange(len(values)) % 2 == 0), column] = np.nan
    ranker = LambdaMartFactory().train(replace(known, features=values))
    seen = features(200, seed=3)
    seen[:, column] = -15.0  # the worst there is
    unknown = seen.copy()
    unknown[:, column] = np.nan
    assert score(ranker, unknown).mean() < score(ranker, seen).mean()


def test_one_outcome_only_gives_its_rate_and_grows_no_trees() -> None:
    ranker = LambdaMartFactory().train(replace(examples(n=1000), matched=np.zeros(1000, np.float32)))
    assert ranker.trees is None
    assert score(ranker, features(50, seed=3)).max() < 0.01
    loaded = LambdaMartFactory().load(LambdaMartFactory().dump(ranker))
    np.testing.assert_array_equal(score(loaded, features(50, seed=3)), score(ranker, features(50, seed=3)))


def test_viewer_with_more_looks_than_a_group_may_hold_is_learnt_from() -> None:
    assert lambdamart._groups(np.repeat([7, 9, 7], [25_000, 3, 1])) == [10_000, 10_000, 5000, 3, 1]
    alone = replace(examples(), viewer_ids=np.ones(12_000, np.int64))
    values, matched = unseen()
    assert log_loss(score(LambdaMartFactory().train(alone), values), matched) < log_loss(np.full(10_000, matched.mean()), matched)


def test_any_number_of_threads_grows_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightgbm

    train, known, values, found = lightgbm.train, examples(n=1500), features(500, seed=3), []
    for n_threads in (1, 2):
        few = {"num_threads": n_threads, "num_iterations": 10}  # on busy cores, two threads take ten times as long as one
        monkeypatch.setattr(lightgbm, "train", lambda options, grown, few=few: train({**options, **few}, grown))
        found.append(LambdaMartFactory().train(known).log_odds(values))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("trees", None, "'trees' or 'digest' is missing"),
        ("trees", np.frombuffer(b"tree\n", np.uint8), "not as they were written"),
        ("stand_ins", np.zeros(3, np.float32), "not of shape"),
        ("curve", np.array([1.0, np.nan, 0.0]), "not finite"),
        ("curve", np.array([-1.0, 1.0, 0.0]), "not positive"),
        ("names", np.frombuffer(b"looks", np.uint8), "other features"),
        ("format", np.array(2), "format 2"),
        ("line_means", None, "'means' is missing"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    ranker: LambdaMartRanker, name: str, values: NDArray[np.float64] | None, said: str
) -> None:
    arrays = dict(LambdaMartFactory().dump(ranker))
    arrays.pop(name)
    if values is not None:
        arrays[name] = values
    with pytest.raises(ValueError, match=said):
        LambdaMartFactory().load(arrays)


def test_trees_over_other_features_are_refused(ranker: LambdaMartRanker) -> None:
    assert ranker.trees is not None
    text = ranker.trees.text.replace("feature_names=forward_affinity backward", "feature_names=backward forward", 1).encode()
    arrays = {**LambdaMartFactory().dump(ranker), "trees": np.frombuffer(text, np.uint8)}
    arrays["digest"] = np.frombuffer(lambdamart._digest(text), np.uint8)
    with pytest.raises(ValueError, match="other features"):
        LambdaMartFactory().load(arrays)


def test_trees_score_and_explain_as_lightgbm_does(ranker: LambdaMartRanker) -> None:
    import lightgbm

    assert ranker.trees is not None
    reference = lightgbm.Booster(model_str=ranker.trees.text)
    values = features(200, seed=3)
    values[::7, ::3] = np.nan
    np.testing.assert_array_equal(ranker.trees.margins(values), reference.predict(values, raw_score=True))
    np.testing.assert_array_equal(ranker.trees.shap(values), reference.predict(values, pred_contrib=True))


def test_trees_refuse_what_is_no_model_and_features_that_do_not_fit(ranker: LambdaMartRanker) -> None:
    with pytest.raises(ValueError, match="no model"):
        Trees("a poem")
    assert ranker.trees is not None
    with pytest.raises(ValueError, match="3 features, and the trees were grown on 25"):
        ranker.trees.margins(np.zeros((2, 3), np.float32))


def test_serving_imports_neither_lightgbm_nor_scikit_learn(ranker: LambdaMartRanker) -> None:
    assert ranker.trees is not None
    program = """
import sys, numpy as np
from amity_rankers.boosted import Trees
from amity_rankers.lambdamart import FEATURES, LambdaMartFactory
trees = Trees(sys.stdin.read())
trees.margins(np.zeros((2, len(FEATURES)), np.float32)), trees.shap(np.zeros((2, len(FEATURES)), np.float32))
print([name for name in sys.modules if name.split(".")[0] in ("lightgbm", "sklearn", "scipy")])
"""
    done = subprocess.run([sys.executable, "-c", program], input=ranker.trees.text, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_trees_begin_where_the_line_ends(ranker: LambdaMartRanker) -> None:
    assert ranker.trees is not None
    values, taste = features(1000, seed=3), FEATURES.index("forward_affinity")
    straight = np.abs(ranker.line.contributions(batch(values[:, :N_LINEAR]))[:, taste]).mean()
    assert np.abs(ranker.trees.shap(values)[:, taste]).mean() < straight / 5
