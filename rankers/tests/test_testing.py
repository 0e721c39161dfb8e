"""The suite of rankers is worth something: each kind of broken ranker fails the law that is meant for it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch, TrainingExamples

from rankers.tests.sound import Scorer, Sound, scoring, sound, suite


def test_sound_ranker_passes() -> None:
    checked = suite()
    checked.test_scores_are_probabilities_one_a_candidate(checked.kept(), 2000)
    checked.test_order_of_the_batch_does_not_matter()
    checked.test_global_randomness_is_neither_used_nor_touched()
    checked.test_arrays_that_do_not_fit_are_refused()


@pytest.mark.parametrize(
    "score",
    [
        lambda batch: sound(batch).astype(np.float64),
        lambda batch: sound(batch)[:, None],
        lambda batch: sound(batch) * 2,
        lambda batch: sound(batch) - 1,
        lambda batch: batch.features[:, 0],
        lambda batch: sound(batch)[:-1],
        lambda batch: list(sound(batch)),
    ],
)
def test_scores_that_are_no_probabilities_fail(score: Callable[[RankingBatch], Any]) -> None:
    checked = scoring(score)
    with pytest.raises(AssertionError):
        checked.test_scores_are_probabilities_one_a_candidate(checked.kept(), 2000)


def test_missing_score_fails() -> None:
    checked = scoring(lambda batch: np.clip(batch.features[:, 0], 0, 1))
    with pytest.raises(AssertionError):
        checked.test_missing_features_do_not_make_missing_scores(checked.kept())


def test_score_by_position_fails() -> None:
    def by_position(batch: RankingBatch) -> Any:
        return np.linspace(0, 1, len(batch.features), dtype=np.float32)

    with pytest.raises(AssertionError):
        scoring(by_position).test_order_of_the_batch_does_not_matter()
    with pytest.raises(AssertionError):
        scoring(by_position).test_equal_candidates_score_equally()


def test_scoring_by_chance_fails() -> None:
    rng = np.random.default_rng(1)
    checked = scoring(lambda batch: rng.random(len(batch.features), np.float32))
    with pytest.raises(AssertionError):
        checked.test_same_batch_scores_the_same_again(checked.kept())
    with pytest.raises(AssertionError):
        checked.test_two_threads_get_the_same_answers_as_one(checked.kept())


def test_scoring_in_place_fails() -> None:
    def in_place(batch: RankingBatch) -> Any:
        np.nan_to_num(batch.features, copy=False)
        return sound(batch)

    checked = scoring(in_place)
    with pytest.raises(ValueError, match="read-only"):
        checked.test_scoring_leaves_its_input_alone(checked.kept())


def test_global_randomness_fails() -> None:
    def drawn(self: Sound, examples: TrainingExamples) -> Scorer:
        shift = np.random.random()
        return Scorer(lambda batch: (sound(batch) * shift).astype(np.float32))

    with pytest.raises(AssertionError):
        suite(train=drawn).test_global_randomness_is_neither_used_nor_touched()
    with pytest.raises(AssertionError):
        suite(train=drawn).test_training_twice_with_one_seed_gives_equal_scores()


def test_forgetful_load_fails() -> None:
    def forget(self: Sound, arrays: Mapping[str, Any]) -> Scorer:
        return Scorer(lambda batch: np.zeros(len(batch.features), np.float32))

    checked = suite(load=forget)
    with pytest.raises(AssertionError):
        checked.test_dumped_and_loaded_it_scores_identically(checked.kept())


@pytest.mark.parametrize("values", [np.array([None]), np.array(["a"]), "text"])
def test_dump_of_anything_but_plain_arrays_fails(values: Any) -> None:
    checked = suite(dump=lambda self, ranker: {"x": values})
    with pytest.raises(AssertionError):
        checked.test_dump_holds_plain_arrays_only(checked.kept())


def test_load_of_nothing_fails_when_a_bundle_is_needed() -> None:
    with pytest.raises(pytest.fail.Exception):
        suite(load=lambda self, arrays: Scorer(sound)).test_arrays_that_do_not_fit_are_refused()


def test_training_that_needs_both_outcomes_fails() -> None:
    def picky(self: Sound, examples: TrainingExamples) -> Scorer:
        if len(np.unique(examples.matched)) < 2:
            raise ValueError("one class")
        return Scorer(sound)

    with pytest.raises(ValueError, match="one class"):
        suite(train=picky).test_training_on_one_outcome_only_still_works(0.0)
