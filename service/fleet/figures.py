"""What each replica counted, kept in Redis so that any of them can report for all.

Two hashes a span, `amity:performance:s:<second>` and `amity:performance:m:<minute>` (numbers since 1970), with a field for each
replica that holds the *whole* of what it counted in that span. Why no counters that are incremented: a flush whose reply was
lost would be counted twice when sent again, and not at all when not. To set a field to the whole twice is to set it once; so a
failed flush is simply repeated, and a connection may repeat commands of its own accord.

Memory: BYTES
All lapses after KEEP_S. Redis under `maxmemory` may evict it like all that it holds; `put` tells when that, or a restart, took
what was kept.

Reading: minutes are whole, so only the oldest, broken minute of a window is read by seconds: at most 59 + 61 hashes,
whatever the window. Every hash is one key, so that any slot of a Cluster will do.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from service.errors import RedisUnavailable
from service.fleet.client import Fleet, Refused
from service.resilience import Deadline

KEEP_S = 3720
"""An hour, and two minutes for clocks that differ."""
AHEAD_S = 60
"""A replica whose clock is ahead by no more than this is still heard at once."""
PUT_S = 0.5
_ROWS_AT_ONCE = 60
"""Rows read in one round trip, about: 1 ms of work before others have their turn."""


class Span(NamedTuple):
    """A second or a minute, by its number since 1970."""

    level: Literal["s", "m"]
    number: int

    @property
    def key(self) -> str:
        return f"amity:performance:{self.level}:{self.number}"


def cover(after_s: int, now_s: int) -> list[Span]:
    """The spans that hold every second after `after_s` just once, up to AHEAD_S from now and to the end of that minute."""
    first_s = after_s + 1
    first_whole = -(-first_s // 60)
    seconds = [Span("s", second) for second in range(first_s, first_whole * 60)]
    return seconds + [Span("m", minute) for minute in range(first_whole, (now_s + AHEAD_S) // 60 + 1)]


class Put(msgspec.Struct, frozen=True):
    """How a flush went. `forgotten`: Redis no longer had what it had taken before."""

    kept: frozenset[Span] = frozenset()
    forgotten: bool = False


class FleetFigures:
    """One replica's rows in, everybody else's out. It does not know what a row says."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._replica = secrets.token_hex(8).encode()
        self._mark = f"amity:performance:replica:{self._replica.decode()}"
        """There as long as Redis has forgotten nothing."""
        self._marked = False

    async def put(self, rows: Sequence[tuple[Span, bytes]]) -> Put:
        """Set this replica's rows; what is not in `kept` has to be put again."""
        commands: list[tuple[Any, ...]] = [("GET", self._mark), ("SET", self._mark, b"1", "EX", KEEP_S)]
        for span, row in rows:
            commands += [("HSET", span.key, self._replica, row), ("EXPIRE", span.key, KEEP_S)]
        replies = await self._fleet.run("figures", commands, Deadline(PUT_S))
        if replies is None:
            return Put()
        answers = {span: reply for (span, _), reply in zip(rows, replies[2::2], strict=True)}
        await self._clear([span.key for span, reply in answers.items() if _is_foreign(reply)])
        forgotten = self._marked and replies[0] is None
        self._marked = replies[1] == b"OK"
        return Put(frozenset(span for span, reply in answers.items() if isinstance(reply, int)), forgotten)

    async def others(self, spans: Sequence[Span], deadline: Deadline) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """What the other replicas put for these spans, as (replica, row), some at a time. Raises RedisUnavailable."""
        at, n_spans = 0, 1
        while at < len(spans):
            asked = spans[at : at + n_spans]
            replies = await self._fleet.run("figures", [("HGETALL", span.key) for span in asked], deadline)
            if replies is None:
                raise RedisUnavailable
            found = [pair for reply in replies if isinstance(reply, list) for pair in zip(reply[::2], reply[1::2], strict=True)]
            yield [pair for pair in found if pair[0] != self._replica]
            at += len(asked)
            n_spans = max(1, len(asked) * _ROWS_AT_ONCE // max(len(found), 1)) if found else 2 * len(asked)

    async def _clear(self, keys: list[str]) -> None:
        await self._fleet.run("figures", [("DEL", key) for key in keys], Deadline(PUT_S))


def _is_foreign(reply: Any) -> bool:
    """Something that is no hash stands in the place of ours."""
    return isinstance(reply, Refused) and reply.reason.startswith("WRONGTYPE")
