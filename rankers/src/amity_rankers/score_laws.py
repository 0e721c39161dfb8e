"""Laws of what a ranker says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amity_rankers.checks import assert_probabilities, run_together
from amity_rankers.contract import CONTRACT_VERSION, Floats, Ranker
from amity_rankers.suite import RankerSuite, laws, seeds


class ScoreLaws(RankerSuite):
    def test_factory_declares_what_the_contract_asks(self) -> None:
        factory = self.factory()
        assert factory.contract_version == CONTRACT_VERSION
        assert isinstance(factory.version, str)
        assert factory.version
        assert isinstance(factory.required_features, tuple)
        assert len(set(factory.required_features)) == len(factory.required_features) > 0
        assert isinstance(factory.needs_bundle, bool)
        assert isinstance(factory.light, bool)

    @pytest.mark.parametrize("n", [0, 1, 2, 2000])
    def test_scores_are_probabilities_one_a_candidate(self, ranker: Ranker, n: int) -> None:
        assert_probabilities(ranker.score(self.batch(self.matrix(n, seed=n))), n)

    @laws
    @given(n=st.integers(1, 50), seed=seeds, magnitude=st.sampled_from([1.0, 1e3, 1e6, 1e18]))
    def test_scores_stay_probabilities_for_absurd_features(self, n: int, seed: int, magnitude: float) -> None:
        rng = np.random.default_rng(seed)
        features = self.matrix(n, seed) * np.float32(magnitude) * rng.choice([-1, 1], (n, 1)).astype(np.float32)
        assert_probabilities(self.kept().score(self.batch(features)), n)

    @laws
    @given(n=st.integers(1, 300), seed=seeds)
    def test_order_of_the_batch_does_not_matter(self, n: int, seed: int) -> None:
        features = self.matrix(n, seed)
        order = np.random.default_rng(seed).permutation(n)
        scores = self.kept().score(self.batch(features))
        shuffled = self.kept().score(self.batch(features[order]))
        np.testing.assert_allclose(shuffled, scores[order], rtol=0, atol=self.tolerance)

    @laws
    @given(n=st.integers(1, 50), copies=st.integers(2, 9), seed=seeds)
    def test_equal_candidates_score_equally(self, n: int, copies: int, seed: int) -> None:
        scores = self.kept().score(self.batch(np.repeat(self.matrix(n, seed), copies, axis=0)))
        spread = np.ptp(scores.reshape(n, copies), axis=1)
        assert spread.max() <= self.tolerance

    def test_same_batch_scores_the_same_again(self, ranker: Ranker) -> None:
        batch = self.batch(self.matrix(500, seed=3))
        np.testing.assert_array_equal(ranker.score(batch), ranker.score(batch))

    def test_missing_features_do_not_make_missing_scores(self, ranker: Ranker) -> None:
        assert_probabilities(ranker.score(self.batch(self.matrix(50, seed=4, missing=1.0))), 50)

    def test_scoring_leaves_its_input_alone(self, ranker: Ranker) -> None:
        features = self.matrix(200, seed=5)
        batch = self.batch(features.copy())
        batch.features.flags.writeable = False
        ranker.score(batch)
        np.testing.assert_array_equal(batch.features, features)

    def test_two_threads_get_the_same_answers_as_one(self, ranker: Ranker) -> None:
        batches = [self.batch(self.matrix(n, seed=n)) for n in (300, 700)]
        alone = [ranker.score(batch) for batch in batches]
        together: list[list[Floats]] = [[], []]

        def work(index: int) -> None:
            together[index].extend(ranker.score(batches[index]) for _ in range(20))

        run_together(work)
        for scores, expected in zip(together, alone, strict=True):
            assert len(scores) == 20
            assert all(np.array_equal(one, expected) for one in scores)
