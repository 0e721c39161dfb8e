"""Single facts about this database, by name."""

from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories import tables

_facts = tables.facts


async def set_fact(session: AsyncSession, name: str, value: Any) -> None:
    """Set a fact within the transaction of the session."""
    statement = insert(_facts).values(name=name, value=value)
    await session.execute(statement.on_conflict_do_update(index_elements=[_facts.c.name], set_={"value": value}))
