"""Slates with reasons, on fakes."""

import asyncio
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from amity_rankers.contract import RankingBatch

from service.domain import Degradation, Filters, RecommendationRequest, Relations, Slate
from service.errors import StageBroken
from service.recommend.explaining import Breakdown, checked, contributing, in_words
from service.recommend.ports import Asking
from tests.fakes import NOW, FakeRanker, World, loaded, person

NEEDS = ("shared_interests", "candidate_days_since_active", "likes_viewer")


class Explainer(FakeRanker):
    """Adds the same for everybody: .5 for shared interests, .2 for activity, 1 for a like; or what it is told."""

    def __init__(self, contributing: Any = None) -> None:
        super().__init__()
        self._contributing = contributing
        self.batches: list[RankingBatch] = []

    def contributions(self, batch: RankingBatch) -> Any:
        self.batches.append(batch)
        if self._contributing:
            return self._contributing(batch)
        return np.tile(np.array([0.5, 0.2, 1.0], np.float32), (len(batch.candidate_ids), 1))


def world(ranker: FakeRanker, inline: bool = True, relations: Relations | None = None) -> World:
    """People 1 to 40, of whom 1 and 40 like jazz; 39 was active now."""
    about: dict[int, dict[str, Any]] = {one: {"interests": ("jazz",)} for one in (1, 40)} | {39: {"last_active_at": NOW}}
    made = World((person(one, **about.get(one, {})) for one in range(1, 41)), relations)
    made.rankers["v1"] = msgspec.structs.replace(loaded("v1", ranker, inline), required_features=NEEDS)
    return made


def ask(**changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": 1, "request_id": "r1", "limit": 3, "explain": True, **changes})


def told(slate: Slate) -> list[Any]:
    return [one.reasons for one in slate.recommendations]


async def test_each_person_has_reasons_of_their_own() -> None:
    slate = await world(Explainer()).orchestrator.recommend(ask())
    assert told(slate) == [("shares jazz",), ("active in the last day",), ()]
    assert (slate.explained, slate.degraded) == (True, ())


async def test_without_explain_the_reply_has_neither_and_nobody_is_asked() -> None:
    ranker = Explainer()
    slate = await world(ranker).orchestrator.recommend(ask(explain=False))
    said = msgspec.json.encode(slate)
    assert b"reasons" not in said
    assert b"explained" not in said
    assert ranker.batches == []


async def test_features_are_computed_for_those_shown_only() -> None:
    ranker = Explainer()
    await world(ranker).orchestrator.recommend(ask())
    assert [batch.candidate_ids.tolist() for batch in ranker.batches] == [[40, 39, 38]]
    assert (ranker.batches[0].names, ranker.batches[0].features.shape) == (NEEDS, (3, 3))


async def test_reasons_are_given_for_a_cached_pool_and_never_from_a_held_slate() -> None:
    made = world(Explainer())
    await made.orchestrator.recommend(ask(explain=False))
    assert await made.orchestrator.ready(ask(explain=False)) is not None
    assert await made.orchestrator.ready(ask()) is None
    slate = await made.orchestrator.recommend(ask())
    assert (slate.cached, told(slate)[0]) == (True, ("shares jazz",))


async def test_a_slate_with_reasons_leaves_one_without_for_others() -> None:
    made = world(Explainer())
    await made.orchestrator.recommend(ask())
    ready = await made.orchestrator.ready(ask(explain=False))
    assert ready is not None
    assert b"reasons" not in ready.body


async def test_a_ranker_that_cannot_explain_says_so_and_nothing_is_bent() -> None:
    slate = await world(FakeRanker()).orchestrator.recommend(ask())
    assert (told(slate), slate.explained, slate.degraded) == ([(), (), ()], False, ())


async def test_what_the_ranker_is_asked_does_not_tell_who_likes_the_viewer() -> None:
    ranker = Explainer()
    await world(ranker, relations=Relations(liked_by=frozenset({40}))).orchestrator.recommend(ask())
    assert ranker.batches[0].column("likes_viewer").tolist() == [0, 0, 0]
    assert ranker.batches[0].column("shared_interests").tolist() == [40, 39, 38]


def throw(_: RankingBatch) -> Any:
    raise ValueError("Alice is 28")


@pytest.mark.parametrize(
    ("contributing", "reason"),
    [
        (throw, "exception"),
        (lambda batch: None, "wrong_shape"),
        (lambda batch: np.zeros((3, 2), np.float32), "wrong_shape"),
        (lambda batch: np.zeros((3, 3), np.int64), "wrong_dtype"),
        (lambda batch: np.full((3, 3), np.nan, np.float32), "nan"),
    ],
)
async def test_one_that_explains_badly_is_named_and_ranks_on(contributing: Any, reason: str) -> None:
    made = world(Explainer(contributing))
    slates = [await made.orchestrator.recommend(ask()) for _ in range(5)]
    assert slates[0].degraded == (Degradation("explain", reason, None),)
    assert slates[-1].degraded == (Degradation("explain", "circuit_open", None),)
    assert {(slate.explained, slate.algorithm_version, slate.total_count) for slate in slates} == {(False, "v1", 3)}
    assert (await made.orchestrator.recommend(ask(explain=False, use_cache=False))).degraded == ()


async def test_whatever_goes_wrong_in_explaining_leaves_the_slate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.recommend.explaining.reasons", lambda contributions, pair: contributions["no such"])
    slate = await world(Explainer()).orchestrator.recommend(ask())
    assert (slate.total_count, slate.degraded) == (3, (Degradation("explain", "exception", None),))


async def test_one_that_hangs_costs_its_part_of_the_deadline() -> None:
    for_ever = threading.Event()
    made = world(Explainer(lambda batch: for_ever.wait()), inline=False)
    made.deadline_s = 0.4
    slate = await asyncio.wait_for(made.build().recommend(ask()), 5)
    for_ever.set()
    assert slate.degraded == (Degradation("explain", "timeout", None),)
    assert (slate.total_count, slate.explained) == (3, False)


async def test_a_slate_of_the_fallback_is_explained_by_the_fallback() -> None:
    made = world(FakeRanker(throw))
    made.rankers["heuristic"] = msgspec.structs.replace(loaded("heuristic", Explainer()), required_features=NEEDS)
    slate = await made.orchestrator.recommend(ask())
    assert (slate.algorithm_version, slate.explained, told(slate)[0]) == ("heuristic", True, ("shares jazz",))


async def test_an_unranked_slate_is_not_explained() -> None:
    made = world(FakeRanker(throw))
    made.rankers["heuristic"] = loaded("heuristic", FakeRanker(throw))
    slate = await made.orchestrator.recommend(ask())
    assert (slate.algorithm_version, slate.explained, told(slate)) == ("retrieval_order", False, [(), (), ()])


@pytest.mark.parametrize(("liked_by", "said"), [(frozenset(), ("liked people like you",)), (frozenset({40}), ())])
def test_a_like_of_the_viewer_does_not_count_among_those_of_many(liked_by: frozenset[int], said: tuple[str, ...]) -> None:
    five = {"candidate_log_likes_received": 0.0, "candidate_log_likes_given": float(np.log1p(5))}
    asking = Asking(
        viewer=person(1), relations=Relations(liked_by=liked_by), filters=Filters(), exclude_seen=True, now_s=NOW.timestamp()
    )
    assert in_words(Breakdown(five, {"backward_affinity": 1.0}), asking, person(40)) == said


def test_a_method_is_what_makes_a_ranker_explain() -> None:
    assert contributing(loaded("v1", Explainer())) is not None
    assert contributing(loaded("v1", FakeRanker())) is None
    assert contributing(loaded("v1", None)) is None
    assert contributing(None) is None


def test_contributions_that_are_infinite_are_refused() -> None:
    with pytest.raises(StageBroken):
        checked(np.full((1, 1), np.inf, np.float32), 1, 1)
