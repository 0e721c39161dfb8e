"""Redis as the replicas of a fleet share it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, TypeVar

import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from service.errors import CircuitOpen, RedisUnavailable
from service.fleet.batches import GRACE_S, Batches
from service.fleet.links import Link, open_link
from service.fleet.wire import Command
from service.metrics import REDIS_REFUSED
from service.resilience import Breaker, Deadline

NEWS_CHANNEL = "amity:news"

T = TypeVar("T")

_log = structlog.get_logger("amity.fleet")


class Refused(msgspec.Struct, frozen=True):
    """The reply in the place of a command that Redis refused, such as `OOM` or `WRONGTYPE`."""

    reason: str


class Fleet:
    """Whatever Redis does, a call ends within its timeout, and nothing is raised: None while it is away.

    A breaker spares most calls the timeout of a Redis that hangs.
    """

    def __init__(self, link: Link, timeout_s: float, breaker: Breaker) -> None:
        self.timeout_s = timeout_s
        self._link = link
        self._breaker = breaker
        # One batch of reads at a time: those who come meanwhile make the next one bigger, and dearer per batch, not per caller.
        self._reads: Batches[str, bytes | None] = Batches(self._read, lanes=1)
        self._commands: Batches[Command, Any] = Batches(self._exchange, lanes=2)
        self._insisted: Batches[Command, Any] = Batches(self._insist, lanes=1)

    @classmethod
    def open(cls, url: str, timeout_s: float, breaker: Breaker) -> "Fleet":
        """Connects to nothing yet. Raises BadSetting, quoting no secret, for a URL that cannot be used."""
        return cls(open_link(url, timeout_s), timeout_s, breaker)

    async def get(self, keys: Sequence[str], deadline: Deadline) -> list[bytes | None] | None:
        """The values of the keys in their order, all read at one time; None in the place of an absent one."""
        if not keys:
            return []
        if self._breaker.state == "open":
            return None
        return await self._reads.answers(keys, min(self.timeout_s, deadline.remaining_s()))

    def begin_get(self, keys: Sequence[str]) -> "asyncio.Future[list[bytes | None] | None] | None":
        """The same for who has no coroutine to wait in; None at once while the breaker is open."""
        return None if self._breaker.state == "open" else self._reads.begin(keys, self.timeout_s)

    async def run(self, what: str, commands: Sequence[Command], deadline: Deadline, insists: bool = False) -> list[Any] | None:
        """Their raw replies, in order but not alone: b"OK", None for nil, int, list; Refused where Redis refused.

        `what` names them in the log and in metrics. They may be sent twice, when the first connection turns out to be gone.
        With `insists` they are sent though the breaker is open: for what other replicas, whose breakers are not, rely on.
        """
        if not commands:
            return []
        if self._breaker.state == "open" and not insists:
            return None
        way = self._insisted if insists and self._breaker.state != "closed" else self._commands
        replies = await way.answers(commands, min(self.timeout_s, deadline.remaining_s()))
        if replies is None:
            _log.debug("redis did not answer", command=what)
            return None
        told = [Refused(str(reply)) if isinstance(reply, ResponseError) else reply for reply in replies]
        if n_refused := sum(isinstance(reply, Refused) for reply in told):
            REDIS_REFUSED.labels(what).inc(n_refused)
        return told

    async def publish(self, payload: bytes, channel: str = NEWS_CHANNEL) -> bool:
        """Tell all who listen; False when Redis did not take it."""
        replies = await self.run("publish", [("PUBLISH", channel, payload)], Deadline(self.timeout_s))
        return replies is not None and not isinstance(replies[0], Refused)

    async def listen(self, *channels: str) -> AsyncGenerator[bytes, None]:
        """What is published from about now on, by default on the channel of news. Raises RedisUnavailable when it breaks.

        The connection is its own, without a time limit: whoever listens has to notice silence.
        """
        try:
            async with aclosing(self._link.messages(channels or (NEWS_CHANNEL,))) as payloads:
                async for payload in payloads:
                    yield payload
        except (RedisError, OSError) as exc:
            raise RedisUnavailable from exc

    async def ping(self) -> bool:
        return await self.run("ping", [("PING",)], Deadline(self.timeout_s)) is not None

    async def close(self) -> None:
        """Nothing is asked any more; those who still wait get None."""
        await self._reads.close()
        await self._commands.close()
        await self._insisted.close()
        await self._link.close()

    async def _read(self, keys: list[str]) -> list[bytes | None] | None:
        return await self._attempt("read", lambda: self._link.mget(keys))

    async def _exchange(self, commands: list[Command]) -> list[Any] | None:
        return await self._attempt("commands", lambda: self._link.exchange(commands))

    async def _insist(self, commands: list[Command]) -> list[Any] | None:
        return await self._attempt("commands", lambda: self._link.exchange(commands), nullcontext())

    async def _attempt(
        self, what: str, command: Callable[[], Awaitable[T]], guard: AbstractContextManager[None] | None = None
    ) -> T | None:
        """The answer, or None while Redis is away."""
        try:
            with guard or self._breaker.guard(RedisUnavailable):
                return await self._translated(command)
        except CircuitOpen:
            return None
        except RedisUnavailable as exc:
            _log.warning("redis unavailable", what=what, cause=type(exc.__cause__).__name__)
            await self._link.forget()
            return None

    async def _translated(self, command: Callable[[], Awaitable[T]]) -> T:
        """Its time is no hard bound, as `bounded` is for 25 µs: those who wait for a batch go when theirs is over."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                alarm = loop.call_later(self.timeout_s, lambda: limit.reschedule(loop.time() + GRACE_S))
                try:
                    return await command()
                finally:
                    alarm.cancel()
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            raise RedisUnavailable from exc
