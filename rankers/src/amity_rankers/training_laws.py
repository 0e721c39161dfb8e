"""Laws of how a ranker learns, and of how it is kept."""

import numpy as np
import pytest

from amity_rankers.checks import assert_probabilities, global_randomness, seed_everything
from amity_rankers.suite import RankerSuite


class TrainingLaws(RankerSuite):
    def test_training_twice_with_one_seed_gives_equal_scores(self) -> None:
        batch = self.batch(self.matrix(200, seed=8))
        np.testing.assert_array_equal(self.trained(seed=2).score(batch), self.trained(seed=2).score(batch))

    def test_global_randomness_is_neither_used_nor_touched(self) -> None:
        examples = self.examples()
        batch = self.batch(self.matrix(200, seed=9))
        scores = []
        for seed in (1, 2):
            before = seed_everything(seed)
            scores.append(self.factory().train(examples).score(batch))
            assert global_randomness() == before
        np.testing.assert_array_equal(scores[0], scores[1])

    def test_training_leaves_its_examples_alone(self) -> None:
        examples = self.examples()
        for values in (examples.features, examples.matched, examples.weights, examples.calibration):
            values.flags.writeable = False
        self.factory().train(examples)

    @pytest.mark.parametrize("rate", [0.0, 1.0])
    def test_training_on_one_outcome_only_still_works(self, rate: float) -> None:
        ranker = self.factory().train(self.examples(rate=rate))
        assert_probabilities(ranker.score(self.batch(self.matrix(50, seed=10))), 50)

    @pytest.mark.parametrize(("n", "calibration"), [(500, 0.0), (12, 0.2), (1, 0.0)])
    def test_training_on_little_still_works(self, n: int, calibration: float) -> None:
        ranker = self.factory().train(self.examples(n=n, calibration=calibration))
        assert_probabilities(ranker.score(self.batch(self.matrix(50, seed=11))), 50)
