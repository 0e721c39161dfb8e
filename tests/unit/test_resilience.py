"""Deadlines, bounded waits, breakers and limiters."""

import asyncio

import pytest

from service.errors import CircuitOpen, Overloaded, StageBusy, StageTimeout
from service.metrics import REGISTRY
from service.resilience import Breaker, Deadline, Limiter, bounded, left_behind
from tests.fakes import FakeClock


class Failure(Exception):
    """What the breakers of these tests count."""


def fail(breaker: Breaker, error: type[BaseException] = Failure) -> None:
    with pytest.raises(error), breaker.guard(Failure):
        raise error


def opened(clock: FakeClock) -> Breaker:
    breaker = Breaker("test", failures=3, cool_down_s=2.0, clock=clock.monotonic)
    for _ in range(3):
        fail(breaker)
    return breaker


def test_a_part_is_a_share_of_the_whole_and_never_beyond_it() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, clock.monotonic)
    assert deadline.part(0.6).remaining_s() == pytest.approx(0.6)
    clock.elapsed_s = 0.7
    assert deadline.part(0.6).remaining_s() == pytest.approx(0.3)
    clock.elapsed_s = 2.0
    assert deadline.remaining_s() == 0


def test_at_most_keeps_a_least_even_when_the_deadline_has_passed() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, clock.monotonic)
    assert deadline.at_most(0.2).remaining_s() == pytest.approx(0.2)
    clock.elapsed_s = 2.0
    assert deadline.at_most(0.2, at_least=0.05).remaining_s() == pytest.approx(0.05)


async def test_bounded_work_that_ends_in_time_brings_its_result() -> None:
    assert await bounded(asyncio.sleep(0, "done"), Deadline(5)) == "done"


async def test_bounded_work_is_left_behind_even_when_it_refuses_to_be_cancelled() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await released.wait()

    with pytest.raises(StageTimeout):
        await asyncio.wait_for(bounded(stubborn(), Deadline(0.01)), 5)
    released.set()


async def test_work_left_behind_can_be_waited_for() -> None:
    ended: list[bool] = []

    async def slow_to_clean_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    with pytest.raises(StageTimeout):
        await bounded(slow_to_clean_up(), Deadline(0.01))
    assert not ended
    await left_behind(5)
    assert ended


def test_a_breaker_opens_after_so_many_failures_in_a_row() -> None:
    breaker = opened(FakeClock())
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen), breaker.guard(Failure):
        pytest.fail("an open breaker lets nobody through")


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker("test", failures=2)
    for _ in range(3):
        fail(breaker)
        with breaker.guard(Failure):
            assert breaker.state == "closed"
    assert breaker.state == "closed"


def test_an_error_of_another_kind_is_no_failure() -> None:
    breaker = Breaker("test", failures=1)
    fail(breaker, ValueError)
    assert breaker.state == "closed"


def test_want_of_a_thread_neither_opens_nor_closes_a_breaker() -> None:
    clock = FakeClock()
    breaker = Breaker("test", failures=1, cool_down_s=2.0, clock=clock.monotonic)
    fail(breaker, StageBusy)
    assert breaker.state == "closed"
    fail(breaker)
    clock.elapsed_s = 2.0
    fail(breaker, StageBusy)
    assert breaker.state == "half_open"


def test_after_the_cool_down_one_probe_is_let_through() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.elapsed_s = 2.0
    assert breaker.state == "half_open"
    with breaker.guard(Failure), pytest.raises(CircuitOpen), breaker.guard(Failure):
        pytest.fail("only one probe at a time")
    assert breaker.state == "closed"


def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.elapsed_s = 2.0
    fail(breaker)
    assert breaker.state == "open"


def test_a_probe_that_is_cancelled_lets_the_next_one_try() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.elapsed_s = 2.0
    fail(breaker, asyncio.CancelledError)
    with breaker.guard(Failure):
        assert breaker.state == "half_open"
    assert breaker.state == "closed"


async def test_a_limiter_admits_so_many_and_refuses_those_beyond_the_queue() -> None:
    limiter, release = Limiter(1, 1, max_wait_s=5), asyncio.Event()

    async def use() -> None:
        async with limiter:
            await release.wait()

    tasks = [asyncio.create_task(use()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await use()
    release.set()
    await asyncio.gather(*tasks)


async def test_who_waits_too_long_for_a_place_is_refused() -> None:
    def refused() -> float:
        return REGISTRY.get_sample_value("amity_refused_total", {"reason": "waited_too_long"}) or 0

    limiter, before = Limiter(1, 1, max_wait_s=0.01), refused()
    async with limiter:
        with pytest.raises(Overloaded):
            await limiter.__aenter__()
    async with limiter:
        assert refused() == before + 1
