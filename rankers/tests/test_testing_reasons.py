"""The suite notices reasons that are none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch
from amity_rankers.testing import RankerContract

from rankers.tests.sound import Scorer, sound, suite


class Explainer(Scorer):
    """The sound scores, and reasons to be tried."""

    def __init__(self, contributions: Callable[[RankingBatch], Any]) -> None:
        super().__init__(sound)
        self.contributions = contributions


def true_reasons(batch: RankingBatch) -> Any:
    """The first feature, as the sound ranker uses it, and nothing for the other."""
    reasons = np.zeros(batch.features.shape, np.float32)
    reasons[:, 0] = np.clip(np.nan_to_num(batch.features[:, 0]), -9, 9)
    return reasons


def explaining(contributions: Callable[[RankingBatch], Any]) -> RankerContract:
    return suite(train=lambda self, examples: Explainer(contributions), load=lambda self, arrays: Explainer(contributions))


def test_sound_reasons_pass_and_none_at_all_are_not_judged() -> None:
    checked = explaining(true_reasons)
    checked.test_reasons_are_one_number_a_feature(300, 0.1)
    checked.test_reasons_add_up_to_the_order_of_the_scores()
    checked.test_dumped_and_loaded_it_explains_identically()
    with pytest.raises(pytest.skip.Exception, match="does not explain itself"):
        suite().test_reasons_are_one_number_a_feature(300, 0.1)


@pytest.mark.parametrize(
    "reasons",
    [
        lambda batch: true_reasons(batch).astype(np.float64),
        lambda batch: true_reasons(batch)[:, :1],
        lambda batch: true_reasons(batch).sum(axis=1),
        lambda batch: true_reasons(batch).tolist(),
        lambda batch: batch.features.copy(),
    ],
    ids=["64 bits", "a column short", "one a candidate", "a list", "NaN where a feature is missing"],
)
def test_reasons_that_are_not_one_number_a_feature_fail(reasons: Callable[[RankingBatch], Any]) -> None:
    with pytest.raises(AssertionError):
        explaining(reasons).test_reasons_are_one_number_a_feature(300, 0.1)


def test_reasons_without_bound_fail() -> None:
    def squared(batch: RankingBatch) -> Any:
        with np.errstate(over="ignore"):
            return np.nan_to_num(batch.features) ** 3

    with pytest.raises(AssertionError, match="infinite"):
        explaining(squared).test_reasons_stay_numbers_for_absurd_features(1e18)


def test_invented_reasons_fail_unless_they_say_so() -> None:
    checked = explaining(lambda batch: true_reasons(batch)[:, ::-1] * -1)
    with pytest.raises(AssertionError, match=r"scores .* less"):
        checked.test_reasons_add_up_to_the_order_of_the_scores()
    checked.additive = False  # type: ignore[misc]
    with pytest.raises(pytest.skip.Exception, match="additive = False"):
        checked.test_reasons_add_up_to_the_order_of_the_scores()


def test_reasons_against_the_average_of_the_batch_fail() -> None:
    def against_company(batch: RankingBatch) -> Any:
        reasons = true_reasons(batch)
        return reasons - reasons[:1]

    with pytest.raises(AssertionError):
        explaining(against_company).test_reasons_of_a_candidate_do_not_depend_on_the_company()


def test_reasons_by_chance_fail() -> None:
    rng = np.random.default_rng(1)
    checked = explaining(lambda batch: rng.random(batch.features.shape, np.float32))
    with pytest.raises(AssertionError):
        checked.test_same_batch_gets_the_same_reasons_again()
    with pytest.raises(AssertionError):
        checked.test_two_threads_get_the_same_reasons_as_one()


def test_explaining_in_place_fails() -> None:
    def in_place(batch: RankingBatch) -> Any:
        np.nan_to_num(batch.features, copy=False)
        return true_reasons(batch)

    with pytest.raises(ValueError, match="read-only"):
        explaining(in_place).test_explaining_leaves_its_input_alone()


def test_reasons_lost_in_the_bundle_fail() -> None:
    checked = suite(train=lambda self, examples: Explainer(true_reasons), load=lambda self, arrays: Explainer(lost))
    with pytest.raises(AssertionError):
        checked.test_dumped_and_loaded_it_explains_identically()


def lost(batch: RankingBatch) -> Any:
    return np.zeros(batch.features.shape, np.float32)
