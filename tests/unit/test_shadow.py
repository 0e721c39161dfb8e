"""A ranker in the shadow of those that serve."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch
from scipy.stats import spearmanr

from service.domain import RecommendationRequest
from service.metrics import REGISTRY
from service.recommend.ranking import Ranked, RankingTask
from service.recommend.shadow import CAPACITY, LONGEST_S, Shadow, rank_correlation
from service.recommend.stages import Breakers
from service.threads import ThreadDoor
from tests.fakes import FakePeople, FakeRanker, World, loaded, person

IDS = np.arange(2, 32)
_NAMES = iter(f"shadow{i}" for i in range(1000))


@pytest.fixture
def name() -> str:
    """A name of the test's own, so that its metrics are."""
    return next(_NAMES)


def metric(name: str, ranker: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"amity_shadow_{name}", {"ranker": ranker, **labels}) or 0.0


def task(name: str, ranker: FakeRanker | None) -> RankingTask:
    return RankingTask(1, IDS, FakePeople(1, IDS.tolist()), {name: loaded(name, ranker)}, "v1")


def served(scores: Any = None, by: str = "v1") -> Ranked:
    return Ranked(by, np.linspace(0.1, 0.4, len(IDS), dtype=np.float32) if scores is None else scores)


async def shade(name: str, ranker: FakeRanker | None, share: float = 1.0, times: int = 1) -> Shadow:
    """A shadow that was offered a pool and scored it."""
    shadow = Shadow(name, share, ThreadDoor(2), Breakers(), pause_s=0.0)
    for _ in range(times):
        shadow.offer(task(name, ranker), served())
        await shadow.drain()
    return shadow


async def test_a_pool_is_scored_and_compared(name: str) -> None:
    ranker = FakeRanker(lambda batch: np.linspace(0.9, 0.3, len(batch.candidate_ids), dtype=np.float32))
    await shade(name, ranker)
    assert [metric("rank_correlation_bucket", name, against="v1", le=le) for le in ("-0.5", "1.0")] == [1, 1]
    assert [metric("score_drift_bucket", name, against="v1", le=le) for le in ("0.2", "0.5")] == [0, 1]  # .6 less .25
    assert (metric("seconds_count", name), ranker.asked) == (1, 1)


async def test_only_a_share_of_pools_is_scored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chances = iter([0.24, 0.25, 0.9, 0.0])
    monkeypatch.setattr("random.random", lambda: next(chances))
    await shade(name, ranker := FakeRanker(), share=0.25, times=4)
    assert ranker.asked == 2


@pytest.mark.parametrize("ranked", [served(by="heuristic"), served(by="retrieval_order")])
async def test_a_pool_for_which_another_had_to_step_in_is_not_compared(name: str, ranked: Ranked) -> None:
    shadow = Shadow(name, 1.0, ThreadDoor(2), Breakers(), pause_s=0.0)
    shadow.offer(task(name, FakeRanker()), ranked)
    assert len(shadow) == 0


async def test_without_a_name_nothing_is_taken_and_nobody_is_compared_with_themselves() -> None:
    for own in ("", "v1"):
        shadow = Shadow(own, 1.0, ThreadDoor(2), Breakers(), pause_s=0.0)
        shadow.offer(task("v1", FakeRanker()), served())
        assert len(shadow) == 0


async def test_what_finds_no_room_is_left_out_and_counted(name: str) -> None:
    shadow = Shadow(name, 1.0, ThreadDoor(2), Breakers(), pause_s=0.0)
    for _ in range(CAPACITY + 3):
        shadow.offer(task(name, FakeRanker()), served())
    assert (len(shadow), metric("failures_total", name, reason="no_room")) == (CAPACITY, 3)


def throw(_: Any) -> Any:
    raise ValueError("Alice is 28")


@pytest.mark.parametrize(
    ("scoring", "reason"),
    [
        (throw, "exception"),
        (lambda batch: np.full(len(IDS), np.nan, np.float32), "nan"),
        (lambda batch: np.zeros(3, np.float32), "wrong_shape"),
        (lambda batch: np.full(len(IDS), -0.1, np.float32), "out_of_range"),
    ],
)
async def test_a_failure_is_counted_by_its_reason_and_raises_nothing(name: str, scoring: Any, reason: str) -> None:
    await shade(name, FakeRanker(scoring))
    assert metric("failures_total", name, reason=reason) == 1
    assert metric("seconds_count", name) == 0


async def test_one_that_is_not_in_the_bundle_is_counted(name: str) -> None:
    await shade(name, None)
    assert metric("failures_total", name, reason="missing_bundle") == 1


async def test_one_that_fails_again_and_again_is_left_alone(name: str) -> None:
    ranker = FakeRanker(throw)
    await shade(name, ranker, times=6)
    assert (ranker.asked, metric("failures_total", name, reason="circuit_open")) == (3, 3)


async def test_one_that_hangs_is_given_up_and_holds_one_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for_ever = threading.Event()
    assert LONGEST_S >= 1
    monkeypatch.setattr("service.recommend.shadow.LONGEST_S", 0.05)
    ranker = FakeRanker(lambda batch: for_ever.wait())
    await shade(name, ranker, times=2)
    for_ever.set()
    assert (ranker.asked, metric("failures_total", name, reason="timeout")) == (1, 2)


async def test_scores_that_are_all_equal_have_no_order_to_compare(name: str) -> None:
    await shade(name, FakeRanker(lambda batch: np.full(len(IDS), 0.5, np.float32)))
    assert metric("rank_correlation_bucket", name, against="v1", le="+Inf") == 0
    assert metric("score_drift_bucket", name, against="v1", le="+Inf") == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_correlation_is_scipys(seed: int) -> None:
    chance = np.random.default_rng(seed)
    one, other = (np.round(chance.random(200), 1 + seed).astype(np.float32) for _ in range(2))
    assert rank_correlation(one, one + other) == pytest.approx(spearmanr(one, one + other).statistic)


def crowd(name: str, ranker: FakeRanker) -> World:
    world = World(person(one) for one in range(1, 41))
    world.rankers[name] = loaded(name, ranker)
    world.shadow_ranker = name
    world.orchestrator = world.build()
    return world


async def test_new_pools_are_offered_after_ranking_and_cached_ones_are_not(name: str) -> None:
    world = crowd(name, ranker := FakeRanker())
    slates = [await world.orchestrator.recommend(RecommendationRequest(viewer_id=1)) for _ in range(2)]
    assert [slate.cached for slate in slates] == [False, True]
    assert (len(world.shadow), ranker.asked) == (1, 0)


async def test_a_shadow_that_fails_leaves_no_trace_in_answers(name: str) -> None:
    world = crowd(name, FakeRanker(throw))
    for _ in range(5):
        slate = await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, use_cache=False))
        assert (slate.degraded, slate.algorithm_version, slate.total_count) == ((), "v1", 20)
        await world.shadow.drain()
    assert metric("failures_total", name, reason="exception") == 3


async def test_what_is_offered_is_scored_in_the_background(name: str) -> None:
    scored = threading.Event()

    def score(batch: RankingBatch) -> Any:
        scored.set()
        return np.full(len(batch.candidate_ids), 0.5, np.float32)

    world = crowd(name, FakeRanker(score))
    working = asyncio.create_task(world.shadow.run())
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1))
    assert await asyncio.to_thread(scored.wait, 10)
    working.cancel()
