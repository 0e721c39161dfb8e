"""What each replica counted, kept in Redis so that any of them can report for all.

Two hashes a span, `amity:performance:s:<second>` and `amity:performance:m:<minute>` (numbers since 1970), with a field for each
replica that holds the *whole* of what it counted in that span. Why no counters that are incremented: a flush whose reply was
lost would be counted twice when sent again, and not at all when not. To set a field to the whole twice is to set it once; so a
failed flush is simply repeated, and a connection may repeat commands of its own accord. Flushes are numbered, so that one which
the network kept back does not overwrite a later one.

Memory, measured: a replica that ranks by two algorithms in ten stages puts 0.8 kB a second at 100 requests/s and 1.5 kB at 1,500
(a minute 1.9 and 2.6 kB), and Redis adds 100 bytes to each: 3.2 to 5.7 MB for a replica and hour of traffic in every second, and
nothing for seconds without. Twenty of the busiest hold 114 MB. All lapses after KEEP_S. Redis under `maxmemory` may evict it
like all that it holds. A mark, looked at with every flush, tells when that, or a restart, took what was put.

Reading: minutes are whole, so only the oldest, broken minute of a window is read by seconds: at most 59 + 61 hashes,
whatever the window. Every hash is one key, so that any slot of a Cluster will do.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from service.errors import RedisUnavailable
from service.fleet.client import Fleet, Refused
from service.resilience import Deadline

KEEP_S = 3720
"""An hour, and two minutes for clocks that differ."""
AHEAD_S = 60
"""A replica whose clock is ahead by no more than this is still heard at once."""
_SET_NEWER = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held or (tonumber(string.match(held, '^%d+') or '') or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
end
return redis.call('EXPIRE', KEYS[1], ARGV[4])
"""
"""KEYS: a span. ARGV: replica, number of the flush, row, seconds to keep it. Whatever is no hash is in the way, and goes; but no
DEL without need, for once a script has written, Redis no longer heeds `maxmemory` in it."""
_ROWS_AT_ONCE = 60
"""Rows handed on before others have their turn: about 1 ms of work."""
_ROWS_FETCHED = 300
"""Rows in one round trip, about: 0.7 MB at most, so that it ends in time."""
_SPANS_AT_FIRST, _SPANS_AT_MOST = 4, 16


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
        self._told = False
        self._n_flushes = 0

    async def put(self, rows: Sequence[tuple[Span, bytes]]) -> Put:
        """Set this replica's rows, or only look after those it has set; what is not in `kept` has to be put again."""
        self._n_flushes += 1
        commands: list[tuple[str | bytes | int, ...]] = [("GET", self._mark), ("SET", self._mark, b"1", "EX", KEEP_S)]
        for span, row in rows:
            commands.append(("EVAL", _SET_NEWER, 1, span.key, self._replica, self._n_flushes, row, KEEP_S))
        replies = await self._fleet.run("figures", commands, Deadline(self._fleet.timeout_s))
        if replies is None:
            return Put()
        forgotten = self._told and replies[0] is None
        kept = frozenset(span for (span, _), reply in zip(rows, replies[2:], strict=True) if not isinstance(reply, Refused))
        self._told = self._told or bool(kept)
        return Put(kept, forgotten)

    async def others(self, spans: Sequence[Span], deadline: Deadline) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """What the other replicas put for these spans, as (replica, row), some at a time. Raises RedisUnavailable."""
        at, n_spans, densest = 0, _SPANS_AT_FIRST, 1.0
        while at < len(spans):
            asked = spans[at : at + n_spans]
            replies = await self._fleet.run("figures", [("HGETALL", span.key) for span in asked], deadline)
            if replies is None:
                raise RedisUnavailable
            found = [pair for reply in replies if isinstance(reply, list) for pair in zip(reply[::2], reply[1::2], strict=True)]
            for start in range(0, len(found), _ROWS_AT_ONCE):
                some = found[start : start + _ROWS_AT_ONCE]
                yield [(replica, value.partition(b":")[2]) for replica, value in some if replica != self._replica]
                await asyncio.sleep(0)
            at += len(asked)
            densest = max(densest, len(found) / len(asked))
            n_spans = max(1, min(_SPANS_AT_MOST, int(_ROWS_FETCHED / densest)))
