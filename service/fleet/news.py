"""Who changed, told to every replica by pub/sub within milliseconds.

Pub/sub promises nothing: what is published while a connection is down, or hangs, is lost without a word. So each replica sends
itself a heartbeat on the same connection, and whatever rests on news is dropped and not used when none comes back.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from service.errors import RedisUnavailable
from service.fleet.client import NEWS_CHANNEL, Fleet
from service.metrics import NEWS_LAPSED, NEWS_LIVE, NEWS_MESSAGES
from service.resilience import Clock

VERSION = 1
HEARTBEAT_S = 0.25
LIVE_S = 1.0
"""A replica whose last heartbeat to come back was sent longer ago than this may be missing news."""
PATIENCE_S = 3.0
"""A connection that has been silent for so long is given up: one that hangs need never break by itself."""
RECONNECT_S = 0.25
MESSAGE_IDS = 10_000
"""Ids in one message: 90 kB at most, so that a batch of changes neither blocks the loop nor overflows Redis's buffers."""

_log = structlog.get_logger("amity.fleet")


_Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class _News(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """People whose profile changed, told by the replica `teller`; nobody: something else did, which the database tells."""

    teller: bytes
    people: list[_Id]


class _Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=-VERSION):
    """Sent by a replica to itself, at this time of its own clock."""

    teller: bytes
    sent_s: float


_decoder = msgspec.msgpack.Decoder(_News | _Heartbeat)
_encoder = msgspec.msgpack.Encoder()


class News:
    """Tells the others, and hears from them.

    `listeners` are called with the ids of people whose profile changed, on every replica, and synchronously on the telling one;
    with none when something else did: experiments.
    `lapsed` is called whenever messages may have been missed, and once after each connection, before news counts as live: drop
    all that rests on news.
    """

    def __init__(
        self,
        fleet: Fleet,
        listeners: Sequence[Callable[[Sequence[int]], None]],
        lapsed: Callable[[], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._listeners = tuple(listeners)
        self._lapsed = lapsed
        self._clock = clock
        self._me = secrets.token_bytes(8)
        # A channel of its own for the heartbeat: on a common one each of n replicas would hear 4 n a second.
        self._own_channel = f"{NEWS_CHANNEL}:{self._me.hex()}"
        self._trusted = False
        self._heard_s = 0.0

    @property
    def is_live(self) -> bool:
        """Whether all that was told until a second ago has been heard: a heartbeat sent within the last second has come back."""
        return self._trusted and self._clock() - self._heard_s <= LIVE_S

    async def tell(self, people: Sequence[int]) -> None:
        """Listeners here hear it at once, others within milliseconds; where Redis is away, the change feed tells them."""
        self._hear(people)
        for start in range(0, len(people), MESSAGE_IDS):
            message = _News(self._me, list(people[start : start + MESSAGE_IDS]))
            sent = await self._fleet.publish(_encoder.encode(message))
            NEWS_MESSAGES.labels("sent" if sent else "unsent").inc()

    async def tell_of_experiments(self) -> None:
        """Listeners here and everywhere hear of nobody: to replicas of a version before, a reason to look at the feed."""
        self._hear(())
        sent = await self._fleet.publish(_encoder.encode(_News(self._me, [])))
        NEWS_MESSAGES.labels("sent" if sent else "unsent").inc()

    async def run(self) -> None:
        """Listen, and beat, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat(), name="amity-news-heartbeat")
                tasks.create_task(self._listen(), name="amity-news-listener")
        finally:
            self._distrust()  # a stop in good order is nothing to warn of

    async def _beat(self) -> None:
        while True:
            if self._trusted and not self.is_live:
                self._lapse("silent")
            await self._fleet.publish(_encoder.encode(_Heartbeat(self._me, self._clock())), self._own_channel)
            await asyncio.sleep(HEARTBEAT_S)

    async def _listen(self) -> None:
        while True:
            try:
                async with (
                    asyncio.timeout(PATIENCE_S) as patience,
                    aclosing(self._fleet.listen(NEWS_CHANNEL, self._own_channel)) as messages,
                ):
                    async for payload in messages:
                        if self._is_heartbeat(payload):
                            patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
            except (RedisUnavailable, TimeoutError) as exc:
                self._lapse(type(exc).__name__)
            await asyncio.sleep(RECONNECT_S * random.uniform(0.5, 1.5))  # not all replicas at once

    def _is_heartbeat(self, payload: bytes) -> bool:
        """Take one message in; whether it was the heartbeat of this replica."""
        try:
            message = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):  # another version's, or nobody's: the feed brings what it told
            NEWS_MESSAGES.labels("foreign").inc()
            return False
        if isinstance(message, _Heartbeat):
            if message.teller == self._me:
                self._came_back(message.sent_s)
            return message.teller == self._me
        if message.teller != self._me:
            NEWS_MESSAGES.labels("received").inc()
            self._hear(message.people)
        return False

    def _came_back(self, sent_s: float) -> None:
        """Messages come in order: all that was told before this heartbeat was sent has been heard by now."""
        if self._clock() - sent_s > LIVE_S:
            return
        if not self.is_live:
            self._lapse("silent")
            self._lapsed()  # between the last connection and this one anything may have been told
            self._trusted = True
            NEWS_LIVE.set(1)
        self._heard_s = sent_s

    def _lapse(self, cause: str) -> None:
        if self._trusted:
            NEWS_LAPSED.inc()
            _log.warning("news lapsed", cause=cause)
            self._distrust()

    def _distrust(self) -> None:
        if self._trusted:
            self._trusted = False
            NEWS_LIVE.set(0)
            self._lapsed()

    def _hear(self, people: Sequence[int]) -> None:
        for listener in self._listeners:
            listener(people)
