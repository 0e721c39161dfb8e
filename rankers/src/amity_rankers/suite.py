"""What the laws of rankers are tried on: trained rankers, batches and examples that look like the service's."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from amity_rankers.checks import plausible
from amity_rankers.contract import Floats, Ranker, RankerFactory, RankingBatch, TrainingExamples

laws = settings(
    max_examples=40,
    deadline=None,  # a law is about answers, not about how busy the machine is
    database=None,
    suppress_health_check=[HealthCheck.differing_executors],  # one law, inherited by the suites of many plug-ins
)
seeds = st.integers(0, 2**32 - 1)


class RankerSuite:
    """What `RankerContract` is set by, and what its laws draw on."""

    factory: ClassVar[type[RankerFactory]]
    tolerance: ClassVar[float] = 1e-6
    never_missing: ClassVar[tuple[str, ...]] = ()
    most_ms: ClassVar[float] = 60.0
    most_mb: ClassVar[float] = 100.0
    _kept: ClassVar[Ranker]

    def values(self, name: str, n: int, rng: np.random.Generator) -> Floats:
        """Plausible values of a feature, float32, shape (n,). Override for features of an unusual range."""
        return plausible(name, n, rng)

    @pytest.fixture
    def ranker(self) -> Ranker:
        return self.kept()

    def kept(self) -> Ranker:
        """One trained ranker for the whole class; a law, which runs many times, cannot take it from a fixture."""
        cls = type(self)
        if "_kept" not in vars(cls):
            cls._kept = self.trained()
        return cls._kept

    def trained(self, seed: int = 1) -> Ranker:
        return self.factory().train(self.examples(seed=seed))

    def matrix(self, n: int, seed: int, missing: float = 0.1) -> Floats:
        """Features of n candidates, C-contiguous, a share `missing` of each column NaN where it may be."""
        rng = np.random.default_rng(seed)
        names = self.factory().required_features
        matrix = np.empty((n, len(names)), np.float32)
        for index, name in enumerate(names):
            matrix[:, index] = self.values(name, n, rng)
            absent = rng.random(n) < missing
            if name not in self.never_missing:
                matrix[absent, index] = np.nan
        return matrix

    def batch(self, features: Floats) -> RankingBatch:
        ids = np.arange(10, 10 + len(features), dtype=np.int64)
        return RankingBatch(7, ids, self.factory().required_features, np.ascontiguousarray(features, np.float32))

    def examples(self, n: int = 3000, seed: int = 1, rate: float = 0.2, calibration: float = 0.2) -> TrainingExamples:
        """Pairs of 20 viewers, of which `rate` matched: more often the larger the first feature is."""
        rng = np.random.default_rng(seed)
        features = self.matrix(n, seed)
        pull = np.argsort(np.argsort(np.nan_to_num(features[:, 0]))) / max(n - 1, 1)
        return TrainingExamples(
            viewer_ids=np.sort(rng.integers(1, 21, n)),
            candidate_ids=rng.integers(100, 1000, n),
            names=self.factory().required_features,
            features=features,
            matched=(rng.random(n) < 2 * rate * pull if rate < 1 else np.ones(n)).astype(np.float32),
            weights=rng.uniform(0.5, 2.0, n).astype(np.float32),
            calibration=np.arange(n) >= n * (1 - calibration),
            seed=seed,
        )
