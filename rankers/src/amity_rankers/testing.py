"""The contract suites that every ranker and every candidate source must pass, ours and yours. In a test module:

    class TestMyRanker(RankerContract):
        factory = MyFactory

    class TestMySource(SourceContract):
        source = MySource

Needs `pip install amity-rankers[testing]`.
"""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity_rankers.checks import assert_probabilities, global_randomness, plausible, run_together, seed_everything
from amity_rankers.contract import (
    CONTRACT_VERSION,
    CandidateSource,
    Floats,
    Found,
    Ids,
    Ranker,
    RankerFactory,
    RankingBatch,
    SourceQuery,
    TrainingExamples,
)
from amity_rankers.people import NOW_S, ListPeople, crowd

laws = settings(
    max_examples=40,
    deadline=None,  # a law is about answers, not about how busy the machine is
    database=None,
    suppress_health_check=[HealthCheck.differing_executors],  # one law, inherited by the suites of many plug-ins
)
seeds = st.integers(0, 2**32 - 1)


class RankerContract:
    """Set `factory`. `tolerance`: how far scores may differ for the order of the batch alone; products of whole matrices
    need about 1e-6. `never_missing`: features that your ranker requires and whose definition has no missing values."""

    factory: ClassVar[type[RankerFactory]]
    tolerance: ClassVar[float] = 1e-6
    never_missing: ClassVar[tuple[str, ...]] = ()
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

    def test_dumped_and_loaded_it_scores_identically(self, ranker: Ranker) -> None:
        factory = self.factory()
        arrays = {name: np.array(values) for name, values in factory.dump(ranker).items()}
        for values in arrays.values():
            values.flags.writeable = False  # as they are when mapped from a bundle
        batch = self.batch(self.matrix(500, seed=6))
        np.testing.assert_array_equal(self.factory().load(arrays).score(batch), ranker.score(batch))

    def test_dump_holds_plain_arrays_only(self, ranker: Ranker) -> None:
        for name, values in self.factory().dump(ranker).items():
            assert isinstance(values, np.ndarray), name
            assert values.dtype.kind in "biuf", f"{name} is {values.dtype}: booleans, integers and floats; text as uint8"

    def test_arrays_that_do_not_fit_are_refused(self) -> None:
        if self.factory().needs_bundle:
            with pytest.raises(ValueError):  # noqa: PT011 - the words are the plug-in's own
                self.factory().load({})
        else:
            assert_probabilities(self.factory().load({}).score(self.batch(self.matrix(5, seed=7))), 5)

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


class SourceContract:
    """Set `source`. Override `query` when yours needs another k or time."""

    source: ClassVar[type[CandidateSource]]

    def query(self, k: int = 20, seed: int = 5) -> SourceQuery:
        return SourceQuery(k=k, now_s=NOW_S, seed=seed)

    def find(self, people: ListPeople, query: SourceQuery | None = None) -> Found:
        """What the source finds, checked for all that holds of every answer."""
        query = query or self.query()
        found = self.source().find(people, query)
        assert found.ids.dtype == np.int64
        assert found.scores.dtype == np.float32
        assert found.ids.shape == found.scores.shape == (len(found.ids),)
        assert len(found.ids) <= query.k
        assert len(np.unique(found.ids)) == len(found.ids)
        assert np.isin(found.ids, people.eligible_ids()).all()
        assert np.isfinite(found.scores).all()
        assert (np.diff(found.scores) <= 0).all(), "best first"
        return found

    def test_source_declares_what_the_contract_asks(self) -> None:
        source = self.source()
        assert source.contract_version == CONTRACT_VERSION
        assert isinstance(source.version, str)
        assert source.version
        assert isinstance(source, CandidateSource)

    @laws
    @given(n=st.integers(0, 120), k=st.integers(1, 200), seed=seeds, vectors=st.booleans())
    def test_only_eligible_people_each_once_at_most_k_best_first(self, n: int, k: int, seed: int, vectors: bool) -> None:
        self.find(crowd(n, seed=seed, viewer_vectors=vectors), self.query(k=k, seed=seed))

    @laws
    @given(seed=seeds)
    def test_one_seed_gives_one_answer(self, seed: int) -> None:
        first, second = (self.find(crowd(100, seed=3), self.query(seed=seed)) for _ in range(2))
        np.testing.assert_array_equal(first.ids, second.ids)
        np.testing.assert_array_equal(first.scores, second.scores)

    @pytest.mark.parametrize("vectors", [True, False])
    def test_rows_do_not_decide_whom_it_finds(self, vectors: bool) -> None:
        people = crowd(200, viewer_vectors=vectors, n_admirers=50)
        np.testing.assert_array_equal(self.find(people).ids, self.find(people.shuffled(seed=4)).ids)

    def test_nobody_eligible_is_no_error(self) -> None:
        assert len(self.find(crowd(0)).ids) == 0

    @pytest.mark.parametrize("vectors", [True, False])
    def test_single_person_is_no_error(self, vectors: bool) -> None:
        assert len(self.find(crowd(1, viewer_vectors=vectors)).ids) <= 1

    def test_viewer_of_whom_nothing_is_known_is_no_error(self) -> None:
        self.find(crowd(60, viewer_vectors=False, n_admirers=0))

    def test_people_of_whom_nothing_is_known_are_no_error(self) -> None:
        self.find(crowd(60, unknown=1.0))

    def test_global_randomness_is_neither_used_nor_touched(self) -> None:
        people, found = crowd(100), []
        for seed in (1, 2):
            before = seed_everything(seed)
            found.append(self.find(people).ids)
            assert global_randomness() == before
        np.testing.assert_array_equal(found[0], found[1])

    def test_two_threads_get_the_same_answers_as_one(self) -> None:
        source, people = self.source(), [crowd(80, seed=1), crowd(120, seed=2)]
        alone = [source.find(one, self.query()).ids for one in people]
        together: list[list[Ids]] = [[], []]

        def work(index: int) -> None:
            together[index].extend(source.find(people[index], self.query()).ids for _ in range(20))

        run_together(work)
        for found, expected in zip(together, alone, strict=True):
            assert len(found) == 20
            assert all(np.array_equal(one, expected) for one in found)
