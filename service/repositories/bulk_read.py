"""Everything there is, in one snapshot, in batches of rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from service.repositories.bulk_sql import EXPORT_COUNTS, EXPORT_INTERACTIONS, EXPORT_PEOPLE
from service.repositories.calls import LONG_S, Sessions, driver
from service.repositories.failures import translated

BATCH_ROWS = 20_000


class Snapshot:
    """The database as it was at one moment; valid inside `snapshot()`."""

    def __init__(self, connection: Any, n_people: int, n_interactions: int) -> None:
        self._connection = connection
        self.n_people = n_people
        self.n_interactions = n_interactions

    def people(self) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Rows of PERSON_COLUMNS by id; lists as lists, times in UTC."""
        return self._rows(EXPORT_PEOPLE)

    def interactions(self) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Rows of actor_id, target_id, kind, occurred_at, event_id: what stands, withdrawals too, and all events."""
        return self._rows(EXPORT_INTERACTIONS)

    async def _rows(self, query: str) -> AsyncIterator[list[tuple[Any, ...]]]:
        with translated():
            cursor = await self._connection.cursor(query, timeout=LONG_S)
            while rows := await cursor.fetch(BATCH_ROWS, timeout=LONG_S):
                yield rows


@asynccontextmanager
async def snapshot(sessions: Sessions) -> AsyncIterator[Snapshot]:
    """One transaction that sees one state, so that no interaction is exported whose people are not; writers go on."""
    with translated():
        async with sessions() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            connection = await driver(session)
            yield Snapshot(connection, *await connection.fetchrow(EXPORT_COUNTS, timeout=LONG_S))
