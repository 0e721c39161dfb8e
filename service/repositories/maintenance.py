"""The hourly housekeeping of the database, by whichever replica comes first."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories import partitions
from service.repositories.calls import Sessions, write
from service.repositories.changes import prune
from service.repositories.forgetting import sweep
from service.repositories.locks import MAINTENANCE, try_lock


class Maintained(msgspec.Struct, frozen=True):
    """What one round did."""

    partitions_made: list[str]
    partitions_dropped: list[str]
    changes_pruned: int
    slates_swept: int


class Maintenance:
    """Makes partitions ahead, drops old ones, prunes the change feed, and takes the erased out of what others were shown."""

    def __init__(self, sessions: Sessions, impressions_retention_days: int, changes_retention_days: int) -> None:
        self._sessions = sessions
        self._impressions_retention_days = impressions_retention_days
        self._changes_retention_days = changes_retention_days

    async def run(self) -> Maintained | None:
        """One round; None when another replica is at it. Raises DatabaseUnavailable, also when readers of impressions held it
        up for 2 s: the next round does it."""

        async def make(session: AsyncSession) -> list[str] | None:
            free = await try_lock(session, MAINTENANCE)
            return await partitions.ensure(session, days_ahead=3) if free else None

        async def drop(session: AsyncSession) -> list[str]:
            return await partitions.drop(session, self._impressions_retention_days)

        async def forget(session: AsyncSession) -> int:
            return await prune(session, self._changes_retention_days)

        # A transaction each, so that tables are locked in one order only, that of whoever writes impressions.
        made = await write(self._sessions, make)
        if made is None:
            return None
        dropped, pruned = await write(self._sessions, drop), await write(self._sessions, forget)
        return Maintained(made, dropped, pruned, await sweep(self._sessions))
