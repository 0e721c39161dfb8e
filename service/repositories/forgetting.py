"""The erased, taken out of what others were shown: their ids there become 0, lest somebody new under one inherit its past.

Within the hour, by the housekeeping, and not in the erasure: nothing finds the slates that showed a person but reading all of
them, and an index of every candidate of every slate would cost each write more than it brings. The reading is one long query
that holds nobody up; the writing goes by small transactions, since a long one would hold the change feed back.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories.calls import LONG_S, Sessions, driver, raw_driver, read, write
from service.repositories.facts import set_fact

SWEPT = "erasures_swept_to"
"""The fact that holds the time, seconds since 1970, up to which erasures were swept."""

OVERLAP_S = 3600
"""Erasures of the last hour before that are swept once more: a slate may wait in a replica's queue to be written."""

AT_ONCE = 1000


class _Shown(NamedTuple):
    """A table of what was shown, the time from which it tells who was there, and the rest of its key."""

    table: str
    at: str
    key: str


_SHOWN = (_Shown("impressions", "served_at", "slate_id"), _Shown("served_features", "computed_at", "pool_id"))

_RECENT = """
select extract(epoch from clock_timestamp())::float8,
    to_timestamp(coalesce((select value::text::float8 from facts where name = $1), 0) - $2)
"""

_FIND = """
select {at}, {key} from {table}
where candidate_ids && array(select user_id from tombstones where erased_at > $1) and exists (
    select from tombstones where user_id = any(candidate_ids) and erased_at > $1 and erased_at >= {at}
)
"""

# `any` tells which days and which places of their indexes, whatever way of joining the planner takes.
# Rows that an erasure is deleting are its own: waiting for them could be waiting for one that waits for us.
_REPLACE = """
with found as (
    select {at}, {key} from {table}
    where {at} = any($1::timestamptz[]) and ({at}, {key}) in (select * from unnest($1::timestamptz[], $2::uuid[]))
    for update skip locked
)
update {table} shown set candidate_ids = array(
    select case when exists (select from tombstones where user_id = id and erased_at >= shown.{at}) then 0 else id end
    from unnest(shown.candidate_ids) with ordinality listed (id, place) order by place
)
from found where shown.{at} = any($1::timestamptz[]) and shown.{at} = found.{at} and shown.{key} = found.{key}
"""


async def sweep(sessions: Sessions) -> int:
    """Take those erased since the last sweep out of what others were shown; how many slates and pools held one."""

    async def begin(session: AsyncSession) -> tuple[float, object, bool]:
        connection = await raw_driver(session)
        until_s, since = await connection.fetchrow(_RECENT, SWEPT, float(OVERLAP_S))
        return until_s, since, await connection.fetchval("select exists (select from tombstones where erased_at > $1)", since)

    until_s, since, any_erased = await read(sessions, begin)
    n_swept = 0
    for shown in _SHOWN if any_erased else ():
        n_swept += await _sweep_one(sessions, shown, since)

    async def end(session: AsyncSession) -> None:
        await set_fact(session, SWEPT, until_s)

    await write(sessions, end)
    return n_swept


async def _sweep_one(sessions: Sessions, shown: _Shown, since: object) -> int:
    names = shown._asdict()

    async def find(session: AsyncSession) -> Sequence[tuple[object, object]]:
        found = await (await raw_driver(session)).fetch(_FIND.format(**names), since, timeout=LONG_S)
        return [(row[0], row[1]) for row in found]

    keys = await read(sessions, find)
    for first in range(0, len(keys), AT_ONCE):
        await _replace(sessions, _REPLACE.format(**names), keys[first : first + AT_ONCE])
    return len(keys)


async def _replace(sessions: Sessions, statement: str, keys: Sequence[tuple[object, object]]) -> None:
    async def work(session: AsyncSession) -> None:
        await (await driver(session)).execute(statement, [at for at, _ in keys], [key for _, key in keys], timeout=LONG_S)

    await write(sessions, work)
