"""Ranker `popular`: scores of the examples add up to their matches, and more likes are better."""

import numpy as np
import pytest
from amity_rankers.contract import Floats, RankingBatch, TrainingExamples
from amity_rankers.popular import PopularFactory, PopularRanker

NAMES = PopularFactory.required_features


def score(ranker: PopularRanker, rates: Floats) -> Floats:
    return ranker.score(RankingBatch(1, np.arange(len(rates)), NAMES, rates[:, None]))


def examples(n: int, n_matched: int) -> TrainingExamples:
    rates = np.random.default_rng(1).random((n, 1), np.float32)
    ids, matched = np.arange(n), (np.arange(n) < n_matched).astype(np.float32)
    return TrainingExamples(ids, ids, NAMES, rates, matched, np.ones(n, np.float32), np.zeros(n, np.bool_), 1)


def test_scores_of_the_examples_add_up_to_their_matches() -> None:
    known = examples(10_000, 800)
    assert score(PopularFactory().train(known), known.features[:, 0]).sum() == pytest.approx(800, rel=0.01)


def test_more_likes_are_better_and_unknown_is_the_middle() -> None:
    low, unknown, high = score(PopularRanker(0.2), np.array([0.1, np.nan, 0.9], np.float32))
    assert low < unknown < high
    assert unknown == pytest.approx(0.1)


def test_few_examples_do_not_make_a_certainty() -> None:
    lucky = PopularFactory().train(examples(2, 2))
    assert score(lucky, np.ones(1, np.float32))[0] < 0.5
