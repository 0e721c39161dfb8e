"""What befalls Redis while a crowd is at it, over and over until it is told that it is over; mended at the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import redis.asyncio

from tests.faults.fleet_weather import RECOVERY_S, STRUCK_S, Weather
from tests.proxy import Proxy
from tests.servers import PrivateValkey

CALM_S, STORM_S, FLUSHED_S = RECOVERY_S + 2.0, 0.8, 0.3

Deed = Callable[[], Awaitable[None]]
Storm = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault, and what undoes it. `clean`: whoever asks Redis meanwhile is refused, and nothing said comes through later."""

    strike: Deed
    mend: Deed
    clean: bool


@asynccontextmanager
async def beside(storm: Storm) -> AsyncIterator[None]:
    """The storm beside the body, and to its end after it."""
    over = asyncio.Event()
    task = asyncio.create_task(_run(storm, over))
    try:
        yield
    finally:
        over.set()
        await task


async def none_at_all(over: asyncio.Event) -> None:
    await over.wait()


def killed(weather: Weather, valkey: PrivateValkey) -> Storm:
    blow = Blow(_now(valkey.kill), _now(valkey.start), clean=True)
    return _in_turn(weather, range(3), [blow])


def frozen(weather: Weather, valkey: PrivateValkey) -> Storm:
    blow = Blow(_now(valkey.pause), _now(valkey.resume), clean=False)
    return _in_turn(weather, range(3), [blow])


def flushed(valkey: PrivateValkey) -> Storm:
    """Which bends no bound at all."""

    async def flush(over: asyncio.Event) -> None:
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            while not over.is_set():
                await client.flushall()
                await _unless(over, FLUSHED_S)

    return flush


def cut_off(weather: Weather, proxy: Proxy, replica: int) -> Storm:
    """One replica is refused, or hears nothing, or loses its connections at once, and the others notice nothing."""

    blows = [
        Blow(proxy.refuse, proxy.restore, clean=True),
        Blow(_now(proxy.freeze), _now(proxy.thaw), clean=False),
        Blow(proxy.cut, proxy.cut, clean=False),
    ]
    return _in_turn(weather, [replica], blows)


def _in_turn(weather: Weather, replicas: Sequence[int], blows: Sequence[Blow]) -> Storm:
    async def storm(over: asyncio.Event) -> None:
        while not over.is_set():
            for blow in blows:
                await _unless(over, CALM_S / 2)
                weather.worsen(replicas, clean=blow.clean)
                await blow.strike()
                await asyncio.sleep(STRUCK_S + STORM_S)
                await blow.mend()
                weather.clear()
                await _unless(over, CALM_S / 2)

    return storm


def _now(deed: Callable[[], None]) -> Deed:
    """Not in a thread: a server dies with the thread that started it."""

    async def do() -> None:
        deed()

    return do


async def _run(storm: Storm, over: asyncio.Event) -> None:
    await storm(over)


async def _unless(over: asyncio.Event, pause_s: float) -> None:
    with contextlib.suppress(TimeoutError):  # it is not over yet
        async with asyncio.timeout(pause_s):
            await over.wait()
