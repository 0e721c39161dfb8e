"""The ranker called, checked and replaced."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from amity_rankers.contract import RankingBatch

from service.domain import Degradation
from service.plugins import LoadedRanker
from service.recommend.ports import Trail
from service.recommend.ranking import UNRANKED, Ranked, Ranking, RankingTask
from service.recommend.stages import Breakers
from service.resilience import Breaker, Deadline
from service.threads import ThreadDoor
from tests.fakes import FakeClock, FakePeople, FakeRanker, loaded

IDS = np.arange(1, 6, dtype=np.int64)


def ranking(clock: FakeClock | None = None) -> Ranking:
    make = (lambda name: Breaker(name, 3, 2.0, clock.monotonic)) if clock else Breaker
    return Ranking(ThreadDoor(4), Breakers(make), fallback="heuristic", share=0.25)


async def rank(*rankers: LoadedRanker, using: Ranking | None = None, deadline_s: float = 1.0) -> tuple[Ranked, list[Degradation]]:
    installed = {one.name: one for one in (loaded("heuristic", FakeRanker()), *rankers)}
    trail = Trail()
    task = RankingTask(9, IDS, FakePeople(9, IDS.tolist()), installed, "v1")
    return await (using or ranking()).rank(task, Deadline(deadline_s), trail), trail.degraded


@pytest.mark.parametrize("inline", [True, False])
async def test_a_ranker_scores_in_place_or_in_a_thread(inline: bool) -> None:
    threads: list[int] = []

    def score(batch: Any) -> Any:
        threads.append(threading.get_ident())
        return np.full(5, 0.5, np.float32)

    ranked, degraded = await rank(loaded("v1", FakeRanker(score), inline))
    assert (ranked.algorithm_version, ranked.scores.tolist(), degraded) == ("v1", [0.5] * 5, [])
    assert (threads == [threading.get_ident()]) == inline


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (lambda batch: 1 / 0, "exception"),
        (lambda batch: np.zeros(4), "wrong_shape"),
        (lambda batch: np.zeros((5, 1)), "wrong_shape"),
        (lambda batch: None, "wrong_shape"),
        (lambda batch: np.array(["a"] * 5), "wrong_dtype"),
        (lambda batch: np.array([0, 1, 1, 0, 1]), "wrong_dtype"),
        (lambda batch: np.array([True] * 5), "wrong_dtype"),
        (lambda batch: np.full(5, 1e300), "nan"),
        (lambda batch: np.array([0.1, 0.2, np.nan, 0.3, 0.4]), "nan"),
        (lambda batch: np.array([0.1, 0.2, np.inf, 0.3, 0.4]), "nan"),
        (lambda batch: np.array([0.1, 0.2, 1.1, 0.3, 0.4]), "out_of_range"),
        (lambda batch: np.array([0.1, 0.2, -0.1, 0.3, 0.4]), "out_of_range"),
    ],
)
@pytest.mark.parametrize("inline", [True, False])
async def test_what_breaks_the_contract_is_ranked_by_the_fallback(score: Callable[[Any], Any], reason: str, inline: bool) -> None:
    ranked, degraded = await rank(loaded("v1", FakeRanker(score), inline))
    assert ranked.algorithm_version == "heuristic"
    assert degraded == [Degradation("ranking", reason, "heuristic")]


async def test_a_ranker_without_its_bundle_is_replaced_and_its_breaker_left_alone() -> None:
    using = ranking()
    for _ in range(5):
        _, degraded = await rank(loaded("v1", None), using=using)
        assert degraded == [Degradation("ranking", "missing_bundle", "heuristic")]
    ranked, degraded = await rank(loaded("v1", FakeRanker()), using=using)
    assert (ranked.algorithm_version, degraded) == ("v1", [])


async def test_scores_of_another_width_are_taken_as_they_are() -> None:
    ranked, degraded = await rank(loaded("v1", FakeRanker(lambda batch: np.full(5, 0.25))))
    assert (ranked.algorithm_version, ranked.scores.dtype.name, degraded) == ("v1", "float32", [])


async def test_a_ranker_that_hangs_is_replaced_when_its_share_of_the_deadline_is_over() -> None:
    hang = threading.Event()
    ranked, degraded = await rank(loaded("v1", FakeRanker(lambda batch: hang.wait()), inline=False), deadline_s=0.2)
    assert (ranked.algorithm_version, degraded[0].reason) == ("heuristic", "timeout")
    hang.set()


async def test_the_breaker_opens_for_a_ranker_all_of_whose_threads_hang() -> None:
    hang, using = threading.Event(), ranking()
    hung = loaded("v1", FakeRanker(lambda batch: hang.wait()), inline=False)
    reasons = [(await rank(hung, using=using, deadline_s=0.1))[1][0].reason for _ in range(4)]
    assert reasons == ["timeout", "timeout", "timeout", "circuit_open"]
    hang.set()


async def test_a_ranker_that_keeps_failing_is_not_tried_until_it_may_be_well() -> None:
    clock = FakeClock()
    using, broken = ranking(clock), FakeRanker(lambda batch: 1 / 0)
    reasons = [(await rank(loaded("v1", broken), using=using))[1][0].reason for _ in range(4)]
    assert (reasons, broken.asked) == (["exception"] * 3 + ["circuit_open"], 3)
    clock.elapsed_s = 3.0
    ranked, degraded = await rank(loaded("v1", FakeRanker()), using=using)
    assert (ranked.algorithm_version, degraded) == ("v1", [])


async def test_failures_of_one_version_do_not_count_for_the_next() -> None:
    using, broken = ranking(FakeClock()), loaded("v1", FakeRanker(lambda batch: 1 / 0))
    for _ in range(4):
        await rank(broken, using=using)
    ranked, degraded = await rank(msgspec.structs.replace(loaded("v1", FakeRanker()), version="2"), using=using)
    assert (ranked.algorithm_version, degraded) == ("v1", [])
    assert (await rank(broken, using=using))[1][0].reason == "circuit_open"


async def test_one_probe_alone_tries_a_ranker_that_kept_failing() -> None:
    clock, gate = FakeClock(), threading.Event()
    using = ranking(clock)
    for _ in range(3):
        await rank(loaded("v1", FakeRanker(lambda batch: 1 / 0)), using=using)
    clock.elapsed_s = 3.0

    def wait(batch: RankingBatch) -> Any:
        gate.wait(10)
        return np.full(5, 0.5, np.float32)

    slow = FakeRanker(wait)
    asking = [asyncio.create_task(rank(loaded("v1", slow, inline=False), using=using, deadline_s=40)) for _ in range(6)]
    done, _ = await asyncio.wait(asking[1:])
    assert {task.result()[1][0].reason for task in done} == {"circuit_open"}
    gate.set()
    assert ((await asking[0])[0].algorithm_version, slow.asked) == ("v1", 1)


async def test_when_the_fallback_fails_as_well_the_order_of_retrieval_stays_and_is_named() -> None:
    broken = FakeRanker(lambda batch: 1 / 0)
    ranked, degraded = await rank(loaded("v1", broken), loaded("heuristic", broken))
    assert (ranked.algorithm_version, ranked.scores.tolist()) == (UNRANKED, [0.0] * 5)
    assert degraded == [Degradation("ranking", "exception", UNRANKED)]


async def test_features_that_cannot_be_made_degrade_too() -> None:
    people = FakePeople(9, IDS.tolist())
    people.features = lambda ids, names: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    trail = Trail()
    task = RankingTask(9, IDS, people, {"v1": loaded("v1", FakeRanker())}, "v1")
    ranked = await ranking().rank(task, Deadline(1), trail)
    assert (ranked.algorithm_version, trail.degraded[0].reason) == (UNRANKED, "exception")


async def test_nobody_is_ranked_without_calling_anyone() -> None:
    ranker = FakeRanker()
    task = RankingTask(9, IDS[:0], FakePeople(9, []), {"v1": loaded("v1", ranker)}, "v1")
    ranked = await ranking().rank(task, Deadline(1), Trail())
    assert (len(ranked.scores), ranker.asked) == (0, 0)


async def test_what_a_third_party_writes_into_its_batch_stays_there() -> None:
    def spoil(batch: Any) -> Any:
        batch.candidate_ids[:] = 7
        batch.features[:] = np.nan
        return np.full(5, 0.5, np.float32)

    before = IDS.copy()
    ranked, degraded = await rank(loaded("v1", FakeRanker(spoil), inline=False))
    assert (degraded, IDS.tolist()) == ([], before.tolist())
    assert ranked.features is not None
    assert np.isfinite(ranked.features).all()
