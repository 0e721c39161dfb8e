"""Rounds of work that are made by one replica for the whole fleet, no more often than they should."""

import time
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories.calls import Sessions, write

SHARE = 0.05
"""The part of the time that rounds may take: one of 6 s is followed by a pause of two minutes, however short the interval is."""

# By the database's clock, which all replicas share. Taken at once and not held: a lock would need a connection of its own
# throughout the round, of which a replica may have but one.
_TAKE = text(
    """
    insert into facts (name, value) values (:name, to_jsonb(now() + make_interval(secs => :after_s)))
    on conflict (name) do update set value = excluded.value where (facts.value #>> '{}')::timestamptz <= now()
    returning true
    """
)
_PUT_OFF = text("update facts set value = to_jsonb(now() + make_interval(secs => :after_s)) where name = :name")


class Rounds:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions, name: str) -> None:
        """`name`: of the fact that says when the next round is due."""
        self._sessions = sessions
        self._name = name

    async def run(self, every_s: float, work: Callable[[], Awaitable[None]]) -> bool:
        """Do `work` if a round is due; whether it was. Of a round that fails, the next one makes up."""
        if not await self._take(every_s):
            return False
        began_s = time.monotonic()
        await work()
        took_s = time.monotonic() - began_s
        if took_s > every_s * SHARE:
            await self._put_off(took_s / SHARE)
        return True

    async def _take(self, after_s: float) -> bool:
        async def take(session: AsyncSession) -> bool:
            return bool(await session.scalar(_TAKE, {"name": self._name, "after_s": after_s}))

        return await write(self._sessions, take)

    async def _put_off(self, after_s: float) -> None:
        async def put_off(session: AsyncSession) -> None:
            await session.execute(_PUT_OFF, {"name": self._name, "after_s": after_s})

        await write(self._sessions, put_off)
