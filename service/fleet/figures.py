"""What each replica counted, kept in Redis so that any of them can report for all.

Two hashes a span, `amity:performance:s:<second>` and `amity:performance:m:<minute>` (numbers since 1970), with a field for each
replica that holds the *whole* of what it counted in that span. Why not counters that are incremented: a flush whose reply was lost
would have to be sent again, and be counted twice, or not, and be lost. To set a field twice to the whole is to set it once;
so a failed flush is simply repeated, and a connection may repeat commands of its own accord.

Memory: a replica that does 1,500 requests/s through ten stages writes 0.6 to 1.3 kB a second and 1 to 2.4 kB a minute, and a field
costs Redis 90 bytes beside its value: 2.5 to 5 MB for a replica and hour, and nothing for seconds without requests. All lapses
after KEEP_S. Redis under `maxmemory` may evict it like all that it holds: `put` tells when that, or a restart, took what was kept.

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
_ROWS_AT_ONCE = 100
"""Rows read in one round trip, about: 2 ms of work before others have their turn."""


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
        self._newest_minute: Span | None = None
        """Of those that Redis has taken."""

    async def put(self, rows: Sequence[tuple[Span, bytes]]) -> Put:
        """Set this replica's rows; what is not in `kept` has to be put again."""
        commands: list[tuple[Any, ...]] = []
        for span, row in rows:
            commands += [("HSET", span.key, self._replica, row), ("EXPIRE", span.key, KEEP_S)]
        replies = await self._fleet.run("figures", commands, Deadline(PUT_S))
        if replies is None:
            return Put()
        n_new = {span: reply for (span, _), reply in zip(rows, replies[::2], strict=True)}
        await self._clear([span.key for span, reply in n_new.items() if _is_foreign(reply)])
        kept = frozenset(span for span, reply in n_new.items() if isinstance(reply, int))
        forgotten = self._newest_minute is not None and n_new.get(self._newest_minute) == 1
        self._newest_minute = max((span for span in kept if span.level == "m"), default=self._newest_minute)
        return Put(kept, forgotten)

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
