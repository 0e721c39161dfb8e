"""Advisory locks of the database: who waits for whom. All last until the transaction ends, but MIGRATIONS until the session does.

A writer of interactions takes WRITERS shared, then the buckets of its pairs in ascending order, and only then reads what
stands: under READ COMMITTED each statement sees what was committed before it began, so that of two mutual likes at once the
second sees the first. An import of many rows takes WRITERS exclusively for the statement that writes, which stands for all
buckets. Erasure takes it exclusively too.

All of them take their locks before anything that gives their transaction an xid (a write, or making a table): the feed of changes
goes by xid, and must tell what writers did to one another's rows in the order in which they had the lock.
"""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

WRITERS = 4_707_190_001
MIGRATIONS = 4_707_190_002
MAINTENANCE = 4_707_190_003
EXPERIMENTS = 4_707_190_004

PAIRS = 4_707_190
"""First half of the two-part key of a bucket; PostgreSQL keeps these apart from the one-part keys above."""

BUCKETS = 1024
"""Locks by bucket, not by pair: 1,000 pairs a transaction on 10 connections would overflow PostgreSQL's lock table (6,400 places
by default), while buckets never need more than 1,024 places and let two single likes collide once in a thousand."""

_SHARED = text("select pg_advisory_xact_lock_shared(:key)")
_EXCLUSIVE = text("select pg_advisory_xact_lock(:key)")
_TRIED = text("select pg_try_advisory_xact_lock(:key)")
_PAIRS = text(
    "select pg_advisory_xact_lock_shared(:key), pg_advisory_xact_lock(:pairs, bucket) from unnest(cast(:buckets as int[])) bucket"
)


def bucket(one_id: int, other_id: int) -> int:
    """The bucket of an unordered pair, the same on every replica."""
    low, high = sorted((one_id, other_id))
    return (low * 1_000_003 ^ high) % BUCKETS


async def lock_shared(session: AsyncSession, key: int) -> None:
    await session.execute(_SHARED, {"key": key})


async def lock_exclusive(session: AsyncSession, key: int) -> None:
    await session.execute(_EXCLUSIVE, {"key": key})


async def try_lock(session: AsyncSession, key: int) -> bool:
    """Whether the lock was free and is ours now; never waits."""
    return bool(await session.scalar(_TRIED, {"key": key}))


async def lock_pairs(session: AsyncSession, pairs: Iterable[tuple[int, int]]) -> None:
    """WRITERS shared and the buckets of all pairs, in ascending order, so that two batches never wait for one another."""
    buckets = sorted({bucket(*pair) for pair in pairs})
    await session.execute(_PAIRS, {"key": WRITERS, "pairs": PAIRS, "buckets": buckets})
