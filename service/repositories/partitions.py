"""Partitions by day of the two tables that only grow. `impressions_p20261122` holds that day, in UTC."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories.locks import MAINTENANCE, lock_exclusive

LOCK_TIMEOUT_MS = 2000
"""Changing partitions waits for readers of the table, and writers queue behind it: better to try again in an hour."""


class Parted(NamedTuple):
    table: str
    column: str


PARTED = (Parted("impressions", "served_at"), Parted("served_features", "computed_at"))

_CHILDREN = text(
    """
    select child.relname from pg_inherits join pg_class child on child.oid = inhrelid
    where inhparent = cast(:table as regclass)
    """
)

# None or -1 (before PostgreSQL 17) where ANALYZE goes by its default.
_STATISTICS = text(
    """
    select string_agg(format('alter column %I set statistics %s', attname, attstattarget), ', ') from pg_attribute
    where attrelid = cast(:table as regclass) and attnum > 0 and not attisdropped and attstattarget >= 0
    """
)


async def ensure(session: AsyncSession, days_ahead: int) -> list[str]:
    """Make the partitions of today and the days ahead that are missing; their names."""
    await _prepare(session)
    today = datetime.now(UTC).date()
    made = []
    for parted in PARTED:
        there = await _children(session, parted)
        for day in (today + timedelta(days=ahead) for ahead in range(days_ahead + 1)):
            if _name(parted, day) not in there:
                await _make(session, parted, day)
                made.append(_name(parted, day))
    return made


async def drop(session: AsyncSession, older_than_days: int) -> list[str]:
    """Drop the partitions of days that ended before, and such rows of the default partitions; the names dropped."""
    await _prepare(session)
    first_kept = datetime.now(UTC).date() - timedelta(days=older_than_days)
    dropped = []
    for parted in PARTED:
        for name in sorted(await _children(session, parted)):
            day = _day(parted, name)
            if day is not None and day < first_kept:
                await session.execute(text(f"drop table {name}"))
                dropped.append(name)
        stray = text(f"delete from {parted.table}_default where {parted.column} < :first_kept")
        await session.execute(stray, {"first_kept": _midnight(first_kept)})
    return dropped


async def _prepare(session: AsyncSession) -> None:
    await lock_exclusive(session, MAINTENANCE)
    await session.execute(text(f"set local lock_timeout = {LOCK_TIMEOUT_MS}"))


async def _children(session: AsyncSession, parted: Parted) -> set[str]:
    return set(await session.scalars(_CHILDREN, {"table": parted.table}))


async def _make(session: AsyncSession, parted: Parted, day: date) -> None:
    """A new partition, with the day's rows that went to the default one, which PostgreSQL would refuse it for.

    Writers are stopped at the table itself: one that was already on its way to the default partition would find that this
    does not take its row any more. What ANALYZE is told of the table's columns is not among what LIKE copies.
    """
    table, column, name = parted.table, parted.column, _name(parted, day)
    start, end = (f"'{_midnight(at).isoformat()}'" for at in (day, day + timedelta(days=1)))
    stray = f"with stray as (delete from {table}_default where {column} >= {start} and {column} < {end} returning *)"
    for statement in (
        f"lock table only {table} in share row exclusive mode",
        f"create table {name} (like {table} including defaults including constraints)",
    ):
        await session.execute(text(statement))
    if statistics := await session.scalar(_STATISTICS, {"table": table}):
        await session.execute(text(f"alter table {name} {statistics}"))
    for statement in (
        f"lock table {table}_default in access exclusive mode",
        f"{stray} insert into {name} select * from stray",
        f"alter table {table} attach partition {name} for values from ({start}) to ({end})",
    ):
        await session.execute(text(statement.replace(":", r"\:")))


def _name(parted: Parted, day: date) -> str:
    return f"{parted.table}_p{day:%Y%m%d}"


def _day(parted: Parted, name: str) -> date | None:
    digits = name.removeprefix(f"{parted.table}_p")
    return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date() if digits.isdigit() else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
