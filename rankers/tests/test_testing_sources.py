"""The suite of sources is worth something: each kind of broken source fails the test that is meant for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import Found, People, SourceQuery
from amity_rankers.people import ListPeople, crowd
from amity_rankers.testing import SourceContract


class Everyone:
    contract_version = 1
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        ids = np.sort(people.eligible_ids())[: query.k]
        return Found(ids, np.zeros(len(ids), np.float32))


def source_suite(find: Callable[[People, SourceQuery], Found]) -> SourceContract:
    made = type("Broken", (Everyone,), {"find": lambda self, people, query: find(people, query)})
    checked: SourceContract = type("TestBroken", (SourceContract,), {"source": made})()
    return checked


def found(ids: Any, scores: Any = None) -> Found:
    return Found(np.asarray(ids), np.zeros(len(ids), np.float32) if scores is None else scores)


def test_sound_source_passes() -> None:
    checked = source_suite(Everyone().find)
    checked.test_only_eligible_people_each_once_at_most_k_best_first()
    checked.test_one_seed_gives_one_answer()


@pytest.mark.parametrize(
    "find",
    [
        lambda people, query: found(people.eligible_ids()),
        lambda people, query: found(np.append(people.eligible_ids()[: query.k - 1], people.viewer_id)),
        lambda people, query: found(np.repeat(people.eligible_ids()[:1], min(2, query.k))),
        lambda people, query: found(people.eligible_ids()[:1].astype(np.int32)),
        lambda people, query: found(people.eligible_ids()[:1], np.zeros(1)),
        lambda people, query: found(people.eligible_ids()[:1], np.full(1, np.nan, np.float32)),
        lambda people, query: found(people.eligible_ids()[:2], np.arange(2, dtype=np.float32)),
    ],
    ids=["too many", "ineligible", "twice", "ids of 32 bits", "scores of 64 bits", "score missing", "worst first"],
)
def test_answers_against_the_contract_fail(find: Callable[[People, SourceQuery], Found]) -> None:
    with pytest.raises(AssertionError):
        source_suite(find).find(crowd(50), SourceQuery(k=10, now_s=0.0, seed=1))


def test_source_that_needs_somebody_fails() -> None:
    checked = source_suite(lambda people, query: found(people.eligible_ids()[[0]]))
    with pytest.raises(IndexError):
        checked.test_nobody_eligible_is_no_error()


def test_source_that_needs_a_known_viewer_fails() -> None:
    def by_taste(people: People, query: SourceQuery) -> Found:
        return people.search("mutual", people.viewer_vector("mutual") + np.float32(0), query.k)  # type: ignore[operator]

    with pytest.raises(TypeError):
        source_suite(by_taste).test_viewer_of_whom_nothing_is_known_is_no_error()


def test_source_that_goes_by_rows_fails() -> None:
    with pytest.raises(AssertionError):
        source_suite(lambda people, query: found(people.eligible_ids()[: query.k])).test_rows_do_not_decide_whom_it_finds(True)


def test_source_that_draws_globally_fails() -> None:
    def drawn(people: People, query: SourceQuery) -> Found:
        return found(np.random.permutation(people.eligible_ids())[: query.k])

    with pytest.raises(AssertionError):
        source_suite(drawn).test_global_randomness_is_neither_used_nor_touched()


@pytest.mark.parametrize(
    ("work", "said"),
    [(lambda: sum(range(1_000_000)), "takes .* ms"), (lambda: np.ones(10_000_000).sum(), "takes .* MB")],
    ids=["slow", "large"],
)
def test_costly_source_fails(work: Callable[[], object], said: str) -> None:
    def costly(people: People, query: SourceQuery) -> Found:
        work()
        return Everyone().find(people, query)

    source_suite(Everyone().find).test_finding_500_of_5000_is_quick_and_small()
    checked = source_suite(costly)
    checked.most_ms = 5.0 if "ms" in said else 1e4  # type: ignore[misc]
    with pytest.raises(AssertionError, match=said):
        checked.test_finding_500_of_5000_is_quick_and_small()


def test_list_people_search_is_best_first_with_ties_by_id() -> None:
    people = ListPeople([9, 4, 7, 2], vectors={"mutual": [[1, 0], [2, 0], [2, 0], [0, 5]]})
    best = people.search("mutual", np.array([1, 0], np.float32), 3)
    assert best.ids.tolist() == [4, 7, 9]
    assert best.scores.tolist() == [2, 2, 1]


def test_list_people_without_vectors_find_nobody() -> None:
    people = ListPeople([9, 4])
    assert len(people.search("content", np.ones(2, np.float32), 3).ids) == 0
    assert people.viewer_vector("content") is None


def test_list_people_refuse_what_the_contract_does_not_name() -> None:
    with pytest.raises(ValueError, match="no space 'looks'"):
        ListPeople([1]).search("looks", np.ones(2, np.float32), 1)
    with pytest.raises(ValueError, match="no column 'name'"):
        ListPeople([1]).column("name")
