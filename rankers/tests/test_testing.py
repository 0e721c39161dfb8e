"""The suites are worth something: each kind of broken plug-in fails the test that is meant for it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import Found, People, RankingBatch, SourceQuery, TrainingExamples
from amity_rankers.people import ListPeople, crowd
from amity_rankers.testing import RankerContract, SourceContract


class Scorer:
    def __init__(self, score: Callable[[RankingBatch], Any]) -> None:
        self.score = score


def sound(batch: RankingBatch) -> Any:
    return 1 / (1 + np.exp(-np.clip(np.nan_to_num(batch.features[:, 0]), -9, 9)))


class Sound:
    """Learns nothing, needs a bundle all the same, and keeps the contract."""

    contract_version = 1
    version = "1"
    required_features = ("forward_affinity", "distance_km")
    needs_bundle = True
    light = True

    def train(self, examples: TrainingExamples) -> Scorer:
        return Scorer(sound)

    def dump(self, ranker: Any) -> dict[str, Any]:
        return {"nothing": np.zeros(1)}

    def load(self, arrays: Mapping[str, Any]) -> Scorer:
        if "nothing" not in arrays:
            raise ValueError("no arrays")
        return Scorer(sound)


def suite(**broken: Any) -> RankerContract:
    made = type("Broken", (Sound,), broken)
    checked: RankerContract = type("TestBroken", (RankerContract,), {"factory": made})()
    return checked


def scoring(score: Callable[[RankingBatch], Any]) -> RankerContract:
    return suite(train=lambda self, examples: Scorer(score), load=lambda self, arrays: Scorer(score))


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
