"""Rounds of work that are made by one replica for the whole fleet, no more often than they should.

Who makes a round holds a lease on it: the fact that says when the next one is due, put off again and again while the work goes
on. The time that it wrote there is what it knows its lease by. Not an advisory lock, which would need a session of its own
throughout the round: behind PgBouncer in transaction mode there is none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.errors import AmityError, DatabaseUnavailable
from service.repositories.calls import Sessions

SHARE = 0.05
"""The part of the time that rounds may take: one of 6 s is followed by a pause of two minutes, however short the interval is."""

LEASE_S = 30.0
"""The least that a lease lasts; else as long as the interval, so that work which kills its replica goes round the fleet no faster
than that. Renewed three times as often: a single renewal that fails costs nothing."""

# By the database's clock, which all replicas share.
_TAKE = """
insert into facts (name, value) values ($1, to_jsonb(now() + make_interval(secs => $2)))
on conflict (name) do update set value = excluded.value where (facts.value #>> '{}')::timestamptz <= now()
returning value #>> '{}'
"""
_PUT_OFF = """
update facts set value = to_jsonb(now() + make_interval(secs => $2)) where name = $1 and value #>> '{}' = $3
returning value #>> '{}'
"""


class Rounds:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions, name: str) -> None:
        """`name`: of the fact that says when the next round is due."""
        self._readers = sessions.readers  # apart from the connections that the work keeps busy, of which there may be but one
        self._name = name

    async def run(self, every_s: float, work: Callable[[], Awaitable[None]]) -> bool:
        """Do `work` if a round is due and nobody is at it; whether it was. The next one is due `every_s` after this one began, or
        later if it took long, and also if it failed: then what it raised is raised.

        Raises DatabaseUnavailable for a round given up since its lease could not be renewed. One that is cancelled, or whose
        process dies, is made up for when its lease ends.
        """
        lease_s, asked_s = max(every_s, LEASE_S), time.monotonic()
        lease = await self._write(_TAKE, lease_s)
        if lease is None:
            return False
        began_s, working = time.monotonic(), asyncio.ensure_future(work())
        try:
            lease = await self._hold(lease, lease_s, asked_s, working)
        finally:
            working.cancel()  # nothing to one that is done
            await asyncio.wait([working])
        took_s = time.monotonic() - began_s
        with suppress(AmityError):  # lest it hide what the work raised; the lease ends all the same
            await self._write(_PUT_OFF, max(every_s - took_s, took_s / SHARE), lease)
        if working.cancelled():
            raise DatabaseUnavailable("A round was given up: the database did not renew its lease")
        working.result()
        return True

    async def _hold(self, lease: str, lease_s: float, asked_s: float, working: asyncio.Future[None]) -> str:
        """Renew the lease until the work is done, or it is not surely ours any more; what it is then. `asked_s`: when it was
        asked for, by the monotonic clock, so that it ends here before it does in the database."""
        while (left_s := asked_s + lease_s - time.monotonic()) > 0:
            done, _ = await asyncio.wait([working], timeout=min(left_s, lease_s / 3))
            if done:
                break
            again_s = time.monotonic()
            with suppress(AmityError, TimeoutError):  # asked again in a while
                async with asyncio.timeout(asked_s + lease_s - again_s):
                    renewed = await self._write(_PUT_OFF, lease_s, lease)
                if renewed is None:
                    break
                lease, asked_s = renewed, again_s
        return lease

    async def _write(self, statement: str, *values: float | str) -> str | None:
        """What the fact says after it; None where it was not for us to write."""
        rows = await self._readers.fetch(statement, self._name, *values)
        return rows[0][0] if rows else None
