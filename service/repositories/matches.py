"""Matches: two mutual likes. Written by `interactions`, read here."""

from sqlalchemy import literal, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Match
from service.repositories import tables
from service.repositories.calls import Sessions, read

_matches = tables.matches.c


class Matches:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def page(self, user_id: int, limit: int, before: Match | None = None) -> list[Match]:
        """The person's matches, newest first (ties: higher id first), at most `limit`, after the match `before` if given.

        `before` is the last match of the page before: a cursor that stays true while matches come and go.
        """
        both = union_all(
            select(_matches.high_id.label("user_id"), _matches.matched_at).where(_matches.low_id == user_id),
            select(_matches.low_id.label("user_id"), _matches.matched_at).where(_matches.high_id == user_id),
        ).subquery()
        statement = select(both.c.user_id, both.c.matched_at).order_by(both.c.matched_at.desc(), both.c.user_id.desc())
        if before is not None:
            cursor = tuple_(literal(before.matched_at), literal(before.user_id))
            statement = statement.where(tuple_(both.c.matched_at, both.c.user_id) < cursor)

        async def work(session: AsyncSession) -> list[Match]:
            rows = await session.execute(statement.limit(limit))
            return [Match(user_id=user_id, matched_at=matched_at) for user_id, matched_at in rows]

        return await read(self._sessions, work)
