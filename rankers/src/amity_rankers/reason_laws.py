"""Laws of rankers that say why: see ExplainingRanker. Whoever cannot explain is held to none of them."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amity_rankers.checks import run_together
from amity_rankers.contract import ExplainingRanker, Floats, Ranker
from amity_rankers.keeping_laws import KeepingLaws
from amity_rankers.suite import laws, seeds


class ReasonLaws(KeepingLaws):
    additive: ClassVar[bool] = True

    def explaining(self, ranker: Ranker) -> ExplainingRanker:
        if not isinstance(ranker, ExplainingRanker):
            pytest.skip("this ranker does not explain itself: it has no method 'contributions'")
        return ranker

    def reasons(self, features: Floats) -> Floats:
        return self.explaining(self.kept()).contributions(self.batch(features))

    @pytest.mark.parametrize("n", [0, 1, 2, 300])
    @pytest.mark.parametrize("missing", [0.1, 1.0])
    def test_reasons_are_one_number_a_feature(self, n: int, missing: float) -> None:
        self.assert_reasons(self.reasons(self.matrix(n, seed=20 + n, missing=missing)), n)

    @pytest.mark.parametrize("magnitude", [-1e18, -1e3, 1e3, 1e18])
    def test_reasons_stay_numbers_for_absurd_features(self, magnitude: float) -> None:
        self.assert_reasons(self.reasons(self.matrix(20, seed=21) * np.float32(magnitude)), 20)

    @laws
    @given(n=st.integers(1, 50), seed=seeds)
    def test_reasons_of_a_candidate_do_not_depend_on_the_company(self, n: int, seed: int) -> None:
        features = self.matrix(n, seed)
        order = np.random.default_rng(seed).permutation(n)
        np.testing.assert_allclose(self.reasons(features[order]), self.reasons(features)[order], rtol=1e-5, atol=1e-5)

    @laws
    @given(n=st.integers(2, 100), seed=seeds)
    def test_reasons_add_up_to_the_order_of_the_scores(self, n: int, seed: int) -> None:
        """Unless `additive` is False: of two candidates the one with the larger sum does not score lower. What does not add up
        to the score was not what made it."""
        if not self.additive:
            pytest.skip("this ranker's reasons do not add up: it says additive = False")
        features = self.matrix(n, seed)
        sums = self.reasons(features).sum(axis=1, dtype=np.float64)
        scores = self.kept().score(self.batch(features)).astype(np.float64)[np.argsort(sums, kind="stable")]
        fall = float((np.maximum.accumulate(scores) - scores).max())
        assert fall <= 1e-4, f"a candidate whose reasons add up to more scores {fall:.4f} less (see `additive`)"

    def test_same_batch_gets_the_same_reasons_again(self) -> None:
        features = self.matrix(50, seed=22)
        np.testing.assert_array_equal(self.reasons(features), self.reasons(features))

    def test_explaining_leaves_its_input_alone(self) -> None:
        features = self.matrix(50, seed=23)
        batch = self.batch(features.copy())
        batch.features.flags.writeable = False
        self.explaining(self.kept()).contributions(batch)
        np.testing.assert_array_equal(batch.features, features)

    def test_dumped_and_loaded_it_explains_identically(self) -> None:
        ranker = self.explaining(self.kept())
        batch = self.batch(self.matrix(50, seed=24))
        loaded = self.explaining(self.factory().load(self.kept_arrays(ranker)))
        np.testing.assert_array_equal(loaded.contributions(batch), ranker.contributions(batch))

    def test_two_threads_get_the_same_reasons_as_one(self) -> None:
        ranker, batches = self.explaining(self.kept()), [self.batch(self.matrix(n, seed=n)) for n in (20, 40)]
        alone = [ranker.contributions(batch) for batch in batches]

        def work(index: int) -> None:
            for _ in range(20):
                np.testing.assert_array_equal(ranker.contributions(batches[index]), alone[index])

        run_together(work)

    def assert_reasons(self, reasons: Floats, n: int) -> None:
        shape = (n, len(self.factory().required_features))
        assert isinstance(reasons, np.ndarray), f"reasons are a {type(reasons).__name__}, and have to be an array"
        assert reasons.dtype == np.float32, f"reasons are {reasons.dtype}, and have to be float32"
        assert reasons.shape == shape, f"reasons are of shape {reasons.shape}, and have to be of shape {shape}: one a feature"
        assert np.isfinite(reasons).all(), f"{int((~np.isfinite(reasons)).sum())} reasons are NaN or infinite"
