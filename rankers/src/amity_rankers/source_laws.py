"""Laws of candidate sources. They may ask elsewhere, of a search engine say, under the service's deadline; so unlike rankers they
are not held to reach for nothing outside."""

import time
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amity_rankers.checks import global_randomness, grown_mb, quickest_ms, run_together, seed_everything
from amity_rankers.contract import CONTRACT_VERSION, CandidateSource, Found, Ids, SourceQuery
from amity_rankers.people import NOW_S, ListPeople, crowd
from amity_rankers.suite import laws, seeds

N_PEOPLE = 5000


class SourceContract:
    """Set `source`. Override `query` when yours needs another k or time. `most_ms`: CPU of finding 500 of 5,000 people;
    `most_mb`: what that takes meanwhile."""

    source: ClassVar[type[CandidateSource]]
    most_ms: ClassVar[float] = 60.0
    most_mb: ClassVar[float] = 50.0

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

    def test_finding_500_of_5000_is_quick_and_small(self) -> None:
        source, people, query = self.source(), crowd(N_PEOPLE), self.query(k=500)
        took_ms = quickest_ms(lambda: source.find(people, query), time.process_time)
        taken_mb = grown_mb(lambda: source.find(people, query))
        assert took_ms <= self.most_ms, f"finding takes {took_ms:.1f} ms, and {self.most_ms:g} are allowed (most_ms)"
        assert taken_mb <= self.most_mb, f"finding takes {taken_mb:.0f} MB, and {self.most_mb:g} are allowed (most_mb)"
