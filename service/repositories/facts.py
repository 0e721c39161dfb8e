"""Single facts about this database, by name."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories import tables
from service.repositories.calls import Sessions, read, write

_facts = tables.facts


class Facts:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def get(self, name: str) -> Any:
        """The JSON value of a fact; None when it was never set."""

        async def work(session: AsyncSession) -> Any:
            return await session.scalar(select(_facts.c.value).where(_facts.c.name == name))

        return await read(self._sessions, work)

    async def set(self, name: str, value: Any) -> None:
        """Set a fact to a JSON value."""

        async def work(session: AsyncSession) -> None:
            await set_fact(session, name, value)

        await write(self._sessions, work)


async def set_fact(session: AsyncSession, name: str, value: Any) -> None:
    """Set a fact within the transaction of the session."""
    statement = insert(_facts).values(name=name, value=value)
    await session.execute(statement.on_conflict_do_update(index_elements=[_facts.c.name], set_={"value": value}))
