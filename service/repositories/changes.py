"""The feed of committed changes, which triggers write and every replica tails.

A change is readable once every transaction that began before its own has ended (xid below the snapshot's xmin): then nothing
with a lower position can still appear, and a reader that goes by position passes nothing over. The price: a long writing
transaction, in any database of the server, holds the feed back for as long as it lasts.

The order of positions is that in which transactions began to write. The order in which one row was written is that of
`change_id`, which is drawn while the row is locked. Of the service's own writers of interactions the two agree, since they take
their locks before they write; of other people's SQL they need not. Of people a change says only who, in whatever order: they are
read anew.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Change, FeedPosition
from service.repositories.calls import Sessions, read
from service.repositories.columns import KINDS
from service.repositories.facts import set_fact

PRUNED = "changes_pruned_to"
"""The fact that holds the newest position ever pruned: `[xid, change_id]`."""

_END_OF_TRANSACTION = 2**63 - 1

MOST_CHANGES, MOST_IDS = 500, 10_000
"""Bounds of one read: decoding takes 2 µs a change and 0.1 µs an id, in which nobody else gets a turn."""

# Arrays as the server would send them, but as plain bytes: asyncpg hands those over whole, and makes no object of each element.
# `n_ids` is had from the size that is stored, 20 to 24 bytes more than the ids take, lest the array be fetched to count it.
_READ = """
    select xid, change_id, entity, array_send(ids), array_send(others), array_to_string(kinds, ',')
    from (
        select *, sum(n_ids) over (order by xid, change_id rows between unbounded preceding and 1 preceding) as n_before
        from (
            select xid, change_id, entity, ids, others, kinds, (pg_column_size(ids) - 20) / 8 as n_ids from changes
            where (xid, change_id) > ($1, $2) and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
            order by xid, change_id limit $3
        ) next
    ) counted
    where coalesce(n_before, 0) < $4::bigint order by xid, change_id
"""
# Backwards by key: past what the reader has not seen yet.
_NEWEST = "select change_id from changes where (xid, change_id) <= ($1, $2) order by change_id desc limit 1"

_STANDING = """
    select actor_id, target_id, kind from interactions
    join unnest($1::bigint[], $2::bigint[]) as wanted (actor, target) on actor_id = actor and target_id = target
    where family in (1, 2)
"""
_MOST_LOOKED_AT = 1_000
_BEYOND = f"""
    select
        coalesce((array_agg(extract(epoch from clock_timestamp() - recorded_at)::float8 order by xid, change_id))[1], 0),
        coalesce(bool_or(entity in ('user', 'erasure')) or count(*) = {_MOST_LOOKED_AT}, false)
    from (
        select xid, change_id, recorded_at, entity from changes
        where (xid, change_id) > ($1, $2) order by xid, change_id limit {_MOST_LOOKED_AT}
    ) beyond
"""
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


class Standing(NamedTuple):
    """What actors did to targets: int64, int64 and int8 codes into KINDS, of equal length."""

    actors: NDArray[np.int64]
    targets: NDArray[np.int64]
    kinds: NDArray[np.int8]


class Beyond(NamedTuple):
    """What is committed past a position, readable or still held back. `waiting_s`: how long ago the change next after it was
    made, 0 when there is none; the feed is in the order of transactions, so there may be older ones. `of_people`: whether a
    profile may be among what was changed."""

    waiting_s: float
    of_people: bool


class Changes:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def read(self, after: FeedPosition, limit: int = MOST_CHANGES, n_ids: int = MOST_IDS) -> list[Change]:
        """The next changes after a position, in order, until they hold `n_ids` ids together; see `is_all`."""
        return _changes(await self._sessions.readers.fetch(_READ, after.xid, after.change_id, limit, n_ids))

    async def newest(self, position: FeedPosition) -> int:
        """The highest `change_id` of the changes up to a position; 0 when none is left."""
        rows = await self._sessions.readers.fetch(_NEWEST, position.xid, position.change_id)
        return int(rows[0][0]) if rows else 0

    async def beyond(self, position: FeedPosition) -> Beyond:
        [(waiting_s, of_people)] = await self._sessions.readers.fetch(_BEYOND, position.xid, position.change_id)
        return Beyond(max(0.0, waiting_s), of_people)

    async def standing(self, actors: NDArray[np.int64], targets: NDArray[np.int64]) -> Standing:
        """The opinions and blocks of ordered pairs as the database has them now, withdrawals too."""
        rows = await self._sessions.readers.fetch(_STANDING, actors.tolist(), targets.tolist())
        ids = np.array([row[:2] for row in map(tuple, rows)], np.int64).reshape(-1, 2)
        return Standing(ids[:, 0], ids[:, 1], _codes(row[2] for row in rows))

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


def is_all(found: Sequence[Change], limit: int = MOST_CHANGES, n_ids: int = MOST_IDS) -> bool:
    """Whether a read with these bounds that found these changes has come to the end of the feed, for now."""
    return len(found) < limit and sum(len(change.ids) for change in found) < n_ids


def _changes(rows: Sequence[Any]) -> list[Change]:
    """All arrays of all rows decoded together, then cut."""
    ids, id_bounds = _bigints([row[3] for row in rows])
    others, bounds = _bigints([row[4] for row in rows])
    kinds = _codes(row[5] for row in rows if row[5])
    return [
        Change(
            position=FeedPosition(row[0], row[1]),
            entity=row[2],
            ids=ids[id_bounds[index] : id_bounds[index + 1]],
            others=others[bounds[index] : bounds[index + 1]],
            kinds=kinds[bounds[index] : bounds[index + 1]],
        )
        for index, row in enumerate(rows)
    ]


_ARRAY_HEADER_BYTES = 20  # dimensions, flags, type, length and first subscript; an array of nothing has the first three alone
_ELEMENT = np.dtype([("bytes", ">i4"), ("value", ">i8")])


def _bigints(arrays: Sequence[bytes]) -> tuple[NDArray[np.int64], list[int]]:
    """The elements of bigint[] values, one after another, and where each array begins, with the end of the last."""
    bodies = [array[_ARRAY_HEADER_BYTES:] for array in arrays]
    bounds = np.cumsum([0, *(len(body) // _ELEMENT.itemsize for body in bodies)]).tolist()
    return np.frombuffer(b"".join(bodies), _ELEMENT)["value"].astype(np.int64), bounds


_WORD_BYTES = 8  # every kind fits
_WORDS = np.array([int.from_bytes(kind.encode().ljust(_WORD_BYTES, b"\0"), "little") for kind in KINDS], np.uint64)
_BY_WORD = np.argsort(_WORDS)


def _codes(texts: Iterable[str]) -> NDArray[np.int8]:
    """Codes into KINDS of words that commas part; -1 for kinds that only a newer version of this service knows."""
    joined = ",".join(texts).encode()
    if not joined:
        return np.empty(0, np.int8)
    letters = np.frombuffer(joined + b"," * _WORD_BYTES, np.uint8)
    ends = np.flatnonzero(letters[: len(joined) + 1] == ord(","))
    starts = np.append(0, ends[:-1] + 1)
    places = np.arange(_WORD_BYTES)
    spelled = letters[starts[:, None] + places]
    spelled[places >= (ends - starts)[:, None]] = 0
    words = spelled.view("<u8")[:, 0]
    rank = np.minimum(np.searchsorted(_WORDS, words, sorter=_BY_WORD), len(_WORDS) - 1)
    code = _BY_WORD[rank]
    known = (_WORDS[code] == words) & (ends - starts <= _WORD_BYTES)
    return np.where(known, code, -1).astype(np.int8)
