"""The door to worker threads."""

import asyncio
import contextvars
import threading
from contextlib import suppress

import pytest

from service.errors import StageBusy, StageTimeout
from service.resilience import Deadline
from service.threads import ThreadDoor

variable = contextvars.ContextVar("variable", default="outside")


async def called_until_free(door: ThreadDoor) -> int:
    """A call's result, once the thread that hung has come back."""
    for _ in range(1000):
        with suppress(StageTimeout):
            return await door.call("k", int, deadline=Deadline(5), at_most=1)
        await asyncio.sleep(0.005)
    pytest.fail("the place never came free")


async def test_a_call_runs_in_another_thread_and_brings_its_result() -> None:
    door = ThreadDoor(1)
    assert await door.call("k", threading.get_ident, deadline=Deadline(5)) != threading.get_ident()
    assert await door.call("k", divmod, 7, 2, deadline=Deadline(5)) == (3, 1)


async def test_a_call_keeps_the_context_variables_of_its_caller() -> None:
    variable.set("inside")
    assert await ThreadDoor(1).call("k", variable.get, deadline=Deadline(5)) == "inside"


async def test_what_the_function_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        await ThreadDoor(1).call("k", lambda: 1 / 0, deadline=Deadline(5))


async def test_a_call_that_hangs_ends_with_its_deadline() -> None:
    hang = threading.Event()
    with pytest.raises(StageTimeout):
        await ThreadDoor(1).call("k", hang.wait, deadline=Deadline(0.02))
    hang.set()


async def test_a_key_whose_places_hang_fails_at_once_while_others_go_on() -> None:
    door, hang = ThreadDoor(4), threading.Event()
    for _ in range(2):
        with pytest.raises(StageTimeout):
            await door.call("hung", hang.wait, deadline=Deadline(0.02))
    with pytest.raises(StageTimeout):  # at once, long before its own deadline
        await asyncio.wait_for(door.call("hung", int, deadline=Deadline(600)), 60)
    assert await door.call("other", int, deadline=Deadline(5)) == 0
    hang.set()


async def test_threads_that_hang_are_replaced() -> None:
    door, hang = ThreadDoor(1), threading.Event()
    for key in ("one", "two", "three"):
        with pytest.raises(StageTimeout):
            await door.call(key, hang.wait, deadline=Deadline(0.02))
    assert await door.call("other", int, deadline=Deadline(60)) == 0
    hang.set()


async def test_a_thread_that_the_system_refuses_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    door = ThreadDoor(1)
    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", lambda _: int("can't start new thread"))
        with pytest.raises(ValueError, match="new thread"):
            await door.call("k", int, deadline=Deadline(5), at_most=1)
    assert await door.call("k", int, deadline=Deadline(5), at_most=1) == 0


@pytest.mark.parametrize("escape", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration])
async def test_what_would_end_the_event_loop_becomes_an_ordinary_error(escape: type[BaseException]) -> None:
    def leave() -> None:
        raise escape

    with pytest.raises(RuntimeError, match=escape.__name__):
        await ThreadDoor(1).call("k", leave, deadline=Deadline(60))


async def test_who_waits_too_long_behind_calls_that_are_waited_for_is_turned_away() -> None:
    door, hang = ThreadDoor(2), threading.Event()
    first = asyncio.create_task(door.call("k", hang.wait, deadline=Deadline(60), at_most=1))
    await asyncio.sleep(0)
    with pytest.raises(StageBusy):
        await door.call("k", int, deadline=Deadline(0.01), at_most=1)
    hang.set()
    assert await first


async def test_a_place_is_free_again_when_the_late_call_has_ended() -> None:
    door, hang = ThreadDoor(2), threading.Event()
    with pytest.raises(StageTimeout):
        await door.call("k", hang.wait, deadline=Deadline(0.02), at_most=1)
    hang.set()
    assert await called_until_free(door) == 0


async def test_more_calls_than_places_wait_their_turn() -> None:
    door, together, most = ThreadDoor(4), 0, 0

    def work() -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        threading.Event().wait(0.01)
        together -= 1

    await asyncio.gather(*(door.call("k", work, deadline=Deadline(5)) for _ in range(8)))
    assert most == 2


async def test_a_call_whose_deadline_passed_before_a_thread_was_free_never_runs() -> None:
    ran: list[int] = []
    door, hang = ThreadDoor(1), threading.Event()
    blocker = asyncio.create_task(door.call("a", hang.wait, deadline=Deadline(5)))
    await asyncio.sleep(0)
    with pytest.raises(StageBusy):  # and no failure of what was to run
        await door.call("b", ran.append, 1, deadline=Deadline(0.02))
    hang.set()
    await blocker
    await door.call("c", int, deadline=Deadline(5))
    assert not ran


async def test_a_cancelled_caller_leaves_the_door_usable() -> None:
    door, hang = ThreadDoor(1), threading.Event()
    call = asyncio.create_task(door.call("k", hang.wait, deadline=Deadline(5), at_most=1))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    hang.set()
    assert await called_until_free(door) == 0


async def test_closing_ends_the_idle_threads() -> None:
    door = ThreadDoor(2)
    await door.call("k", int, deadline=Deadline(5))
    threads = list(door._threads)
    door.close()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
