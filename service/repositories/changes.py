"""The feed of committed changes, which triggers write and every replica tails.

A change is readable once every transaction that began before its own has ended (xid below the snapshot's xmin): then nothing
with a lower position can still appear, and a reader that goes by position passes nothing over. The price: a long writing
transaction, in any database of the server, holds the feed back for as long as it lasts.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Change, FeedPosition, Kind
from service.repositories.calls import Sessions, read
from service.repositories.facts import set_fact

PRUNED = "changes_pruned_to"
"""The fact that holds the newest position ever pruned: `[xid, change_id]`."""

_END_OF_TRANSACTION = 2**63 - 1

_READ = text(
    """
    select xid, change_id, entity, ids, others, kinds from changes
    where (xid, change_id) > (:xid, :change_id) and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    order by xid, change_id limit :limit
    """
)
_HORIZON = text("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_OLDEST = text("select value from facts where name = :name")

_PRUNE = text(
    """
    with gone as (
        delete from changes where recorded_at < now() - make_interval(days => :days) returning xid, change_id
    )
    select xid, change_id, count(*) over () from gone order by xid desc, change_id desc limit 1
    """
)


class Changes:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def read(self, after: FeedPosition, limit: int = 1000) -> list[Change]:
        """The next changes after a position, in order. Fewer than `limit` means: that is all for now."""
        bound = {"xid": after.xid, "change_id": after.change_id, "limit": limit}

        async def work(session: AsyncSession) -> list[Change]:
            return [_change(row) for row in await session.execute(_READ, bound)]

        return await read(self._sessions, work)

    async def horizon(self) -> FeedPosition:
        """A position up to which everything is committed and visible to any later query.

        Whoever reads the tables whole takes it BEFORE, and goes on in the feed from there: what commits meanwhile is then
        read twice rather than never.
        """

        async def work(session: AsyncSession) -> FeedPosition:
            return FeedPosition(int(await session.scalar(_HORIZON) or 0) - 1, _END_OF_TRANSACTION)

        return await read(self._sessions, work)

    async def oldest(self) -> FeedPosition | None:
        """The newest position that was pruned: a reader before it has a gap. None while nothing was ever pruned."""

        async def work(session: AsyncSession) -> FeedPosition | None:
            pruned = await session.scalar(_OLDEST, {"name": PRUNED})
            return None if pruned is None else FeedPosition(*pruned)

        return await read(self._sessions, work)

    async def has_gap(self, position: FeedPosition) -> bool:
        """Whether a reader at this position cannot go on, but must read the tables anew.

        So it is when changes after it were pruned, and when the position lies in the future: it is of another server.
        """
        horizon, oldest = await self.horizon(), await self.oldest()
        return position > horizon or (oldest is not None and position < oldest)


async def prune(session: AsyncSession, days: int) -> int:
    """Drop changes older than `days` within the transaction of the session, and note how far; how many rows."""
    newest = (await session.execute(_PRUNE, {"days": days})).first()
    if newest is None:
        return 0
    pruned = await session.scalar(_OLDEST, {"name": PRUNED})
    if pruned is None or tuple(pruned) < (newest[0], newest[1]):
        await set_fact(session, PRUNED, [newest[0], newest[1]])
    return int(newest[2])


def _change(row: Any) -> Change:
    return Change(
        position=FeedPosition(row[0], row[1]),
        entity=row[2],
        ids=tuple(row[3]),
        others=tuple(row[4]),
        kinds=tuple(Kind(kind) for kind in row[5]),
    )
