"""What was drawn into exploration slots, among whom, and what came of it: the log that estimates of other rankers rest on."""

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain_experiments import LoggedCounts, LoggedDraw, Window
from service.repositories.calls import LONG_S, Sessions, driver
from service.repositories.failures import translated

BATCH_ROWS = 500
"""Rows of about 20 kB fetched at once."""

# The lots of a pool are drawn once. Who was drawn and stays to be drawn again was passed over by the viewer, so only the first
# slate out of a pool that explores is a fair draw. A pool lives for much less than a day.
_FIRST = """
with first as (
    select distinct on (pool_id) pool_id, served_at, slate_id, hopefuls
    from impressions
    where served_at >= $1::timestamptz - interval '1 day' and served_at < $2 and true = any(exploration)
    order by pool_id, served_at, slate_id
), explored as (select * from first where served_at >= $1)
"""

_COUNT = f"{_FIRST} select count(*) as explored, count(hopefuls) as told from explored"

# Drawn by a hash of the pool's id, so that which slates are left out has nothing to do with what came of them.
# A like belongs to the slate that it names; one that names none, to the last slate of the week before that showed the person.
_DRAWS = f"""
{_FIRST}, sampled as (
    select * from explored where hopefuls is not null order by hashtextextended(pool_id::text, 0) limit $3
)
select shown.viewer_id, shown.served_at, shown.candidate_ids, shown.exploration, shown.propensities, shown.hopefuls,
    pool.names, pool.candidate_ids as logged_ids, pool.explorable, pool.matrix, liked.ids as liked, liked.matched
from sampled
    join impressions shown on shown.served_at = sampled.served_at and shown.slate_id = sampled.slate_id
    join served_features pool on pool.pool_id = sampled.pool_id and pool.explorable is not null
        and pool.computed_at >= $1::timestamptz - interval '2 days'
    cross join lateral (
        select coalesce(array_agg(target_id), '{{}}') as ids, coalesce(array_agg(target_id) filter (where exists (
            select from matches
            where low_id = least(target_id, shown.viewer_id) and high_id = greatest(target_id, shown.viewer_id)
        )), '{{}}') as matched
        from unnest(shown.candidate_ids, shown.exploration) as place (id, explores)
            join interactions on actor_id = shown.viewer_id and target_id = place.id and family = 1 and kind = 'like'
        where explores and case when interactions.slate_id is null then
            occurred_at >= shown.served_at and shown.pool_id = (
                select later.pool_id from impressions later
                where later.viewer_id = shown.viewer_id and later.served_at >= shown.served_at
                    and later.served_at between occurred_at - interval '7 days' and occurred_at
                    and target_id = any(later.candidate_ids)
                order by later.served_at desc limit 1
            )
        else exists (
            select from impressions named
            where named.viewer_id = shown.viewer_id and named.slate_id = interactions.slate_id
                and named.pool_id = shown.pool_id
                and named.served_at >= shown.served_at and named.served_at < shown.served_at + interval '1 day'
        ) end
    ) liked
"""


class Logged:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def counts(self, window: Window) -> LoggedCounts:
        """How much there is to go by."""
        with translated():
            async with self._sessions() as session:
                connection = await driver(session)
                row = await connection.fetchrow(_COUNT, window.since, window.until, timeout=LONG_S)
        return LoggedCounts(row["explored"], row["told"])

    async def draws(self, window: Window, at_most: int) -> AsyncGenerator[list[LoggedDraw], None]:
        """The draws that were served in the window, in batches, in no particular order; where there are more than `at_most`, that
        many of them by lot. Those left no choice are not among them: everybody who could be drawn was. To be closed by who leaves
        before the end."""
        with translated():
            async with self._sessions() as session:
                connection = await driver(session)
                cursor = await connection.cursor(_DRAWS, window.since, window.until, at_most, timeout=LONG_S)
                while rows := await cursor.fetch(BATCH_ROWS, timeout=LONG_S):
                    yield [draw for row in rows if (draw := _draw(row)) is not None]


def _draw(row: Any) -> LoggedDraw | None:
    """None where there was no choice, and where what was written down does not hold together.

    People erased since (id 0) are left out: among the others, given how many of them were drawn, the draw was as fair.
    """
    logged, explorable = np.array(row["logged_ids"], np.int64), np.array(row["explorable"], np.int64)
    matrix = np.frombuffer(row["matrix"], "<f4")
    if not len(logged) or len(matrix) != len(logged) * len(row["names"]) or (explorable >= len(logged)).any():
        return None
    rows = explorable[_bits(row["hopefuls"], len(explorable))]
    rows = rows[logged[rows] > 0]
    explored = np.array([place for place in _explored(row) if place > 0], np.int64)
    ids = logged[rows]
    drawn = np.isin(ids, explored)
    if not 0 < drawn.sum() == len(explored) < len(ids):
        return None
    return LoggedDraw(
        viewer_id=row["viewer_id"],
        served_at=row["served_at"],
        ids=ids,
        names=tuple(row["names"]),
        features=matrix.reshape(len(logged), -1)[rows],
        drawn=drawn,
        liked=drawn & np.isin(ids, row["liked"]),
        matched=drawn & np.isin(ids, row["matched"]),
    )


def _explored(row: Any) -> list[int]:
    return [who for who, explores in zip(row["candidate_ids"], row["exploration"], strict=True) if explores]


def _bits(number: int, n: int) -> NDArray[np.bool_]:
    return np.array([number >> place & 1 for place in range(n)], np.bool_)
