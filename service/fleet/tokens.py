"""Tokens that say whether what a replica holds, or finds in a pool, still stands.

A writer replaces a token after the commit and before the reply; a reader reads it before it reads PostgreSQL, and marks with it
what it keeps. So what is kept under an unchanged token is what PostgreSQL says, on every replica. Tokens are random and never
counters: an expired counter would count itself back to a value that something forgotten still bears.
"""

import asyncio
import itertools
import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

import msgspec

from service.fleet import keys
from service.fleet.client import Fleet, Refused
from service.fleet.wire import Command
from service.resilience import Deadline

CHUNK = 500
"""Tokens written in one pipeline: about 4 ms, so that a batch of 2,000 people neither exceeds a timeout nor holds up others."""

NEW_S = 60
"""Life of tokens that a reader makes. A pool that is stored prolongs them. Those of ids that nobody has, for which one may ask
by the thousand, are soon gone; whoever held something under tokens that went reads it again."""


Asked = asyncio.Future[list[bytes | None] | None]
"""The values of a viewer's tokens, in the order of `Tokens`; None while Redis is away."""


class Tokens(msgspec.Struct, frozen=True):
    """Those of one viewer, 16 hexadecimal digits each. See `keys` for what replaces which."""

    version: str
    generation: str
    everyone: str

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Self:
        """As read. One that is not there is like none that was written."""
        return cls(*["" if value is None else value.decode("ascii", "replace") for value in values])

    @classmethod
    def told(cls, replies: Sequence[Any]) -> Self | None:
        """As the replies to `prolonged` tell them; None where one is not there, or was refused."""
        return cls.of(replies) if all(isinstance(reply, bytes) for reply in replies) else None


class ViewerTokens:
    """Tokens live `life_s` from when they were replaced or prolonged: longer than any pool that bears them or an older one."""

    def __init__(self, fleet: Fleet, life_s: int) -> None:
        self._fleet = fleet
        self._life_s = life_s

    async def read(
        self, viewer_id: int, extra_keys: Sequence[str], deadline: Deadline, is_stranger: bool = False
    ) -> tuple[Tokens, list[bytes | None]] | None:
        """The viewer's tokens and the values of `extra_keys`, in one look shared with others; None while Redis is away.

        Absent tokens are made, and what then stands is read: replicas that make one at the same time agree. Those of a stranger
        most likely are absent: they are made with the first look, which spares a second.
        """
        names = [keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL]
        looking = self._create(names, extra_keys, deadline) if is_stranger else self._fleet.get([*names, *extra_keys], deadline)
        values = await looking
        if values is None:
            return None
        found: list[bytes | None] = values[:3]
        if None in found:
            created = await self._create([name for name, value in zip(names, found, strict=True) if value is None], (), deadline)
            if created is None:
                return None
            made = iter(created)
            found = [next(made) if value is None else value for value in found]
        return Tokens.of(found), values[3:]

    def begin_read(self, viewer_id: int) -> Asked | None:
        """Ask for the viewer's tokens alone, and make none. None at once while Redis is known to be away."""
        return self._fleet.begin_get([keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL])

    async def changed(self, viewer_ids: Collection[int]) -> bool:
        """New versions. False when Redis did not take all: the change feed then carries the news."""
        return await self._replace(map(keys.version, viewer_ids))

    async def drop_pools(self, viewer_ids: Collection[int] | None) -> bool:
        """New generations, for these viewers or (None) for everybody. False when Redis did not take all."""
        return await self._replace([keys.GENERATION_OF_ALL] if viewer_ids is None else map(keys.generation, viewer_ids))

    def prolonged(self, viewer_id: int) -> list[Command]:
        """What to send along when a pool is stored, so that the tokens outlive it. The replies tell how they stand just then."""
        names = (keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL)
        return [("GETEX", name, "EX", self._life_s) for name in names]

    async def _create(self, names: Sequence[str], extra_keys: Sequence[str], deadline: Deadline) -> list[bytes | None] | None:
        """What stands at `names`, made where nothing did, and the values of `extra_keys`; None where not all are there."""
        commands: list[Command] = [("SET", name, secrets.token_hex(8), "NX", "EX", NEW_S) for name in names]
        commands += [("GET", name) for name in (*names, *extra_keys)]
        replies = await self._fleet.run("create tokens", commands, deadline)
        if replies is None:
            return None
        found, extra = replies[len(names) : 2 * len(names)], replies[2 * len(names) :]
        if refused := [name for name, reply in zip(names, found, strict=True) if isinstance(reply, Refused)]:
            await self._remove(refused)  # of another type: not ours
        values = [reply if isinstance(reply, bytes) else None for reply in (*found, *extra)]
        return None if None in values[: len(names)] else values

    async def _replace(self, names: Iterable[str]) -> bool:
        """Those that are there: under one that is not, nothing is kept, and nobody fills Redis by writing about ids at random.

        Also while our breaker is open: Redis may be back already for another replica, which would find the old tokens.
        """
        complete = True
        left = iter(names)
        while chunk := list(itertools.islice(left, CHUNK)):
            commands = [("SET", name, secrets.token_hex(8), "XX", "EX", self._life_s) for name in chunk]
            replies = await self._fleet.run("replace tokens", commands, Deadline(self._fleet.timeout_s), insists=True)
            if replies is None:
                complete = False
            elif refused := [name for name, reply in zip(chunk, replies, strict=True) if isinstance(reply, Refused)]:
                complete = await self._remove(refused) and complete
        return complete

    async def _remove(self, names: list[str]) -> bool:
        """A Redis that is full takes no new token, but lets go of the old one: whoever reads next then has none, or another."""
        commands: list[Command] = [("DEL", name) for name in names]
        replies = await self._fleet.run("remove tokens", commands, Deadline(self._fleet.timeout_s), insists=True)
        return replies is not None and not any(isinstance(reply, Refused) for reply in replies)
