"""What is dear is made once for everybody who asks meanwhile."""

import asyncio

import pytest

from service.console.held import Held


class Making:
    """Counts; waits for `gate` where there is one."""

    def __init__(self) -> None:
        self.n_made = 0
        self.gate: asyncio.Event | None = None
        self.fails = False

    async def __call__(self) -> int:
        self.n_made += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise ValueError("no")
        return self.n_made


class Clock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


async def test_it_is_held_for_its_time_and_then_made_anew() -> None:
    clock, make = Clock(), Making()
    held = Held[int](clock)
    assert [await held.get("a", 10, make), await held.get("a", 10, make)] == [1, 1]
    clock.at_s = 10
    assert await held.get("a", 10, make) == 2
    assert await held.get("b", 10, make) == 3


async def test_all_who_ask_at_once_wait_for_one_making_however_long_it_takes() -> None:
    clock, make = Clock(), Making()
    make.gate = asyncio.Event()
    held = Held[int](clock)
    asking = [asyncio.ensure_future(held.get("a", 1, make)) for _ in range(3)]
    await asyncio.sleep(0)
    clock.at_s = 100
    asking.append(asyncio.ensure_future(held.get("a", 1, make)))
    await asyncio.sleep(0)
    make.gate.set()
    assert await asyncio.gather(*asking) == [1] * 4


async def test_who_leaves_does_not_end_it_for_the_others() -> None:
    make = Making()
    make.gate = asyncio.Event()
    held = Held[int]()
    first, second = (asyncio.ensure_future(held.get("a", 60, make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    make.gate.set()
    assert await second == 1


async def test_a_failure_is_told_to_who_waits_and_not_held() -> None:
    make = Making()
    make.fails = True
    held = Held[int]()
    with pytest.raises(ValueError, match="no"):
        await held.get("a", 60, make)
    make.fails = False
    assert await held.get("a", 60, make) == 2


async def test_of_many_keys_the_latest_are_held() -> None:
    make = Making()
    held = Held[int]()
    for number in range(20):
        await held.get(str(number), 60, make)
    assert (await held.get("19", 60, make), await held.get("0", 60, make)) == (20, 21)


async def test_closing_ends_what_is_still_being_made() -> None:
    make = Making()
    make.gate = asyncio.Event()
    held = Held[int]()
    asking = asyncio.ensure_future(held.get("a", 60, make))
    await asyncio.sleep(0)
    await held.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
