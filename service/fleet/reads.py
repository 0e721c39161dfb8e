"""Reads of many callers in one command: what waits in one turn of the event loop travels together.

A look of its own costs a request about 50 µs of CPU, one of 32 that share a command about 4.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

Values = list[bytes | None]
Fetch = Callable[[list[str]], Awaitable[Values | None]]
"""The values of the keys in their order; None while Redis is away. Bounds its own time and raises nothing."""

BATCH_KEYS = 1_000
"""More keys than this go in another batch, so that nobody waits for megabytes of others' pools."""


class _Caller:
    __slots__ = ("answer", "ends_s", "keys")

    def __init__(self, keys: Sequence[str], answer: "asyncio.Future[Values | None]", ends_s: float) -> None:
        self.keys = keys
        self.answer = answer
        self.ends_s = ends_s


class Reads:
    """At most `lanes` batches are under way; who comes meanwhile shares the next. Nobody waits beyond their own time, and who
    gives up takes nobody along."""

    def __init__(self, fetch: Fetch, lanes: int = 1) -> None:
        self._fetch = fetch
        self._waiting: list[_Caller] = []
        self._asked: set[_Caller] = set()
        self._free_lanes = lanes
        self._tasks: set[asyncio.Task[None]] = set()
        self._beginning = False
        self._alarm: asyncio.TimerHandle | None = None

    async def get(self, keys: Sequence[str], seconds: float) -> Values | None:
        """The values of the keys; None when Redis is away, or `seconds` have passed."""
        loop = asyncio.get_running_loop()
        caller = _Caller(keys, loop.create_future(), loop.time() + seconds)
        self._waiting.append(caller)
        if not self._beginning and self._free_lanes:
            self._beginning = True
            loop.call_soon(self._begin)
        if self._alarm is None or caller.ends_s < self._alarm.when():
            self._set_alarm(loop, caller.ends_s)
        return await caller.answer

    def _begin(self) -> None:
        self._beginning = False
        self._free_lanes -= 1
        task = asyncio.get_running_loop().create_task(self._serve())
        self._tasks.add(task)  # the event loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        """One batch after another until nobody waits."""
        try:
            while batch := self._next_batch():
                values: Values | None = None
                try:
                    values = await self._fetch([key for caller in batch for key in caller.keys])
                finally:
                    self._hand_out(batch, values)
        finally:
            self._free_lanes += 1

    def _next_batch(self) -> list[_Caller]:
        waiting = [caller for caller in self._waiting if not caller.answer.done()]
        n_callers, n_keys = 0, 0
        for caller in waiting:
            n_keys += len(caller.keys)
            if n_callers and n_keys > BATCH_KEYS:
                break
            n_callers += 1
        batch, self._waiting = waiting[:n_callers], waiting[n_callers:]
        self._asked.update(batch)
        return batch

    def _hand_out(self, batch: list[_Caller], values: Values | None) -> None:
        start = 0
        for caller in batch:
            end = start + len(caller.keys)
            if not caller.answer.done():
                caller.answer.set_result(None if values is None else values[start:end])
            start = end
        self._asked.difference_update(batch)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        """One timer for all: callers' times end nearly in the order of their coming, and hardly any passes."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(at_s, self._give_up)

    def _give_up(self) -> None:
        """Answer those whose time has passed; whoever is left sets the alarm anew."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        later_s: list[float] = []
        for caller in (*self._waiting, *self._asked):
            if caller.answer.done():
                continue
            if caller.ends_s <= now_s:
                caller.answer.set_result(None)
            else:
                later_s.append(caller.ends_s)
        if later_s:
            self._set_alarm(loop, min(later_s))
