"""Many callers, one command: who shares it, and that nobody suffers for another."""

import asyncio
from collections.abc import Sequence

import pytest
import uvloop

from service.fleet import batches
from service.fleet.batches import Batches


class Server:
    """Answers each item in capitals, when it is let; keeps the batches that it was asked."""

    def __init__(self, lanes: int = 1) -> None:
        self.asked: list[list[str]] = []
        self.lets = asyncio.Event()
        self.lets.set()
        self.away = False
        self.batches: Batches[str, str] = Batches(self.answer, lanes)

    async def answer(self, items: list[str]) -> list[str] | None:
        self.asked.append(items)
        await asyncio.sleep(0)
        await self.lets.wait()
        return None if self.away else [item.upper() for item in items]

    def ask(self, *items: str, seconds: float = 30.0) -> "asyncio.Task[list[str] | None]":
        return asyncio.create_task(self.batches.answers(items, seconds))

    async def busy(self, *items: str) -> "asyncio.Task[list[str] | None]":
        """A batch that is under way and hangs."""
        self.lets.clear()
        first = self.ask(*items)
        await asyncio.sleep(0.01)
        assert self.asked == [list(items)]
        return first


async def answers(*tasks: "asyncio.Task[list[str] | None]") -> Sequence[list[str] | None]:
    return await asyncio.gather(*tasks)


async def test_callers_of_one_turn_share_one_batch_and_each_gets_their_own() -> None:
    server = Server()
    got = await answers(server.ask("a", "b"), server.ask(), server.ask("c"))
    assert got == [["A", "B"], [], ["C"]]
    assert server.asked == [["a", "b", "c"]]


async def test_who_comes_while_one_is_under_way_shares_the_next() -> None:
    server = Server()
    first = await server.busy("a")
    late = [server.ask(name) for name in "bcd"]
    await asyncio.sleep(0.01)
    assert server.asked == [["a"]]
    server.lets.set()
    assert await answers(first, *late) == [["A"], ["B"], ["C"], ["D"]]
    assert server.asked == [["a"], ["b", "c", "d"]]


async def test_a_second_lane_does_not_wait_for_the_first() -> None:
    server = Server(lanes=2)
    await server.busy("a")
    second = server.ask("b")
    await asyncio.sleep(0.01)
    assert server.asked == [["a"], ["b"]]
    server.lets.set()
    assert await second == ["B"]


async def test_one_who_is_cancelled_takes_nobody_along() -> None:
    server = Server()
    first = await server.busy("a")
    waiting, under_way = server.ask("b"), server.ask("c")
    await asyncio.sleep(0.01)
    first.cancel()
    waiting.cancel()
    server.lets.set()
    assert await under_way == ["C"]
    assert server.asked == [["a"], ["c"]]  # nobody asks for those who have gone


async def test_when_all_who_wait_have_gone_the_next_is_served_all_the_same() -> None:
    server = Server()
    first = await server.busy("a")
    gone = server.ask("b")
    await asyncio.sleep(0.01)
    gone.cancel()
    server.lets.set()
    await first
    assert await server.ask("c") == ["C"]


async def test_a_deadline_shorter_than_the_batch_gives_none_and_leaves_the_others() -> None:
    server = Server()
    patient = await server.busy("a")
    assert await server.ask("b", seconds=0.02) is None  # waiting
    server.lets.set()
    assert await patient == ["A"]
    hasty, other = server.ask("c", seconds=0.02), server.ask("d")
    server.lets.clear()
    assert await hasty is None  # under way
    server.lets.set()
    assert await other == ["D"]


async def test_deadlines_pass_in_their_own_order() -> None:
    server = Server()
    await server.busy("a")
    left: list[str] = []
    tasks = []
    for name, seconds in (("slow", 0.09), ("quick", 0.03), ("middling", 0.06)):
        task = server.ask(name, seconds=seconds)
        task.add_done_callback(lambda _, name=name: left.append(name))  # type: ignore[misc]
        tasks.append(task)
    assert await answers(*tasks) == [None, None, None]
    assert left == ["quick", "middling", "slow"]
    server.lets.set()


def test_a_deadline_that_has_passed_gives_none_in_the_loop_that_serves() -> None:
    async def asked() -> Sequence[list[str] | None]:
        server = Server()
        return await answers(server.ask("a", seconds=0.0), server.ask("b", seconds=0.0), server.ask("c"))

    assert uvloop.run(asked()) == [None, None, ["C"]]
    assert asyncio.run(asked()) == [None, None, ["C"]]


async def test_none_of_a_batch_is_none_for_each_of_it() -> None:
    server = Server()
    server.away = True
    assert await answers(server.ask("a"), server.ask("b")) == [None, None]


async def test_a_defect_while_asking_gives_none_and_the_lane_goes_on() -> None:
    server = Server()
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    server.batches._ask = _defect
    assert await server.ask("a") is None
    server.batches._ask = server.answer
    assert await server.ask("b") == ["B"]
    await asyncio.sleep(0)
    assert told == ["a defect"]


async def _defect(items: list[str]) -> list[str] | None:
    raise ZeroDivisionError("a defect")


async def test_a_batch_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_ITEMS", 3)
    server = Server()
    got = await answers(*(server.ask(*names) for names in ("ab", "c", "d", "efghi", "j")))
    assert got == [list(names.upper()) for names in ("ab", "c", "d", "efghi", "j")]
    assert server.asked == [["a", "b", "c"], ["d"], ["e", "f", "g", "h", "i"], ["j"]]


async def test_closing_answers_all_who_wait() -> None:
    server = Server()
    first = await server.busy("a")
    waiting = server.ask("b")
    await asyncio.sleep(0.01)
    await server.batches.close()
    assert await answers(first, waiting) == [None, None]
