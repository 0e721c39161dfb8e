"""What was shown to whom, a row a slate, and the features that pools were ranked on."""

import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import ExperimentArm, Impression, ServedFeatures, ShownPeople
from service.repositories import copying
from service.repositories.calls import Sessions, raw_driver, write
from service.repositories.copying import BIGINT, BOOLEAN, REAL, SMALLINT
from service.repositories.locks import WRITERS, lock_shared

_SLATES = (
    "served_at", "slate_id", "viewer_id", "cached", "degraded", "pool_id", "generation_ms", "request_id", "teams",
    "algorithm_version", "bundle_version", "experiment", "arm", "candidate_ids", "scores", "propensities", "exploration",
    "sources", "hopefuls",
)  # fmt: skip
_FEATURES = ("computed_at", "pool_id", "names", "candidate_ids", "matrix", "explorable")

_SLATE_HEAD = struct.Struct(">h iq i16s iq i? i? i16s if".replace(" ", ""))
"""The number of columns and the first seven of them."""
_FEATURES_HEAD = struct.Struct(">hiqi16s")

_encode_json = msgspec.json.Encoder().encode

# A viewer who is there now may still be somebody new under the id of the one who saw the slate.
_GONE = """
select asked.id, users.id is not null as is_there, erased_at
from unnest($1::bigint[]) asked (id)
    left join users on users.id = asked.id
    left join tombstones on tombstones.user_id = asked.id
where users.id is null or erased_at is not null
"""

_Rows = Iterator[bytes]
_Put = Callable[[Any, str, Sequence[str], _Rows], Awaitable[None]]


class _Repeated(Exception):
    """Some of the batch is there already."""


class Impressions:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._encoded: WeakKeyDictionary[ShownPeople, bytes] = WeakKeyDictionary()

    async def write(self, impressions: Sequence[Impression], features: Sequence[ServedFeatures] = ()) -> int:
        """Write both in one transaction; how many slates. What is there already is left, so a batch may be sent again.

        Slates of viewers erased since they were served are left out, with the features of their pools.
        """
        try:
            return await self._write(impressions, features, _copy)
        except _Repeated:  # the answer to a commit was lost, which is rare: only then the dearer way is worth its price
            return await self._write(impressions, features, _copy_what_is_new)

    async def _write(self, impressions: Sequence[Impression], features: Sequence[ServedFeatures], put: _Put) -> int:
        async def work(session: AsyncSession) -> int:
            await lock_shared(session, WRITERS)
            connection = await raw_driver(session)
            kept = await _of_the_living(connection, impressions)
            left_out = set()
            if len(kept) < len(impressions):  # hashing the pools of thousands would hold everybody up by a ms, for nothing
                left_out = {shown.pool_id for shown in impressions} - {shown.pool_id for shown in kept}
            if kept:
                await put(connection, "impressions", _SLATES, map(self._slate_row, kept))
            served = [pool for pool in features if pool.pool_id not in left_out]
            if served:
                await put(connection, "served_features", _FEATURES, map(_features_row, served))
            return len(kept)

        return await write(self._sessions, work)

    def _slate_row(self, shown: Impression) -> bytes:
        people = self._encoded.get(shown.people)
        if people is None:
            people = self._encoded[shown.people] = _people_fields(shown.people)
        head = _SLATE_HEAD.pack(
            len(_SLATES),
            *(8, copying.micros(shown.served_at)),
            *(16, shown.slate_id.bytes),
            *(8, shown.viewer_id),
            *(1, shown.cached),
            *(1, shown.degraded),
            *(16, shown.pool_id.bytes),
            *(4, shown.generation_ms),
        )
        teams = copying.field(None) if shown.teams is None else copying.array(SMALLINT, shown.teams)
        about = _about_fields(shown.algorithm_version, shown.bundle_version, shown.experiment)
        return b"".join((head, copying.text(shown.request_id), teams, about, people))


@lru_cache(maxsize=256)
def _about_fields(algorithm_version: str, bundle_version: str | None, arm: ExperimentArm | None) -> bytes:
    names = (algorithm_version, bundle_version, arm.name if arm else None, arm.arm if arm else None)
    return b"".join(map(copying.text, names))


def _people_fields(people: ShownPeople) -> bytes:
    """Most of a row, 9 us for 20 people. Kept for as long as the slate itself is kept to be served again."""
    return b"".join(
        (
            copying.array(BIGINT, people.candidate_ids),
            copying.array(REAL, people.scores),
            copying.array(REAL, people.propensities),
            copying.array(BOOLEAN, people.exploration),
            copying.jsonb(_encode_json(people.sources)),
            copying.field(people.hopefuls.to_bytes(8, "big") if people.hopefuls else None),
        )
    )


def _features_row(pool: ServedFeatures) -> bytes:
    head = _FEATURES_HEAD.pack(len(_FEATURES), 8, copying.micros(pool.computed_at), 16, pool.pool_id.bytes)
    ids = copying.long_array(BIGINT, pool.candidate_ids)
    rows = copying.long_array(SMALLINT, pool.explorable)
    return b"".join((head, copying.text_array(pool.names), ids, copying.field(pool.matrix), rows))


async def _of_the_living(connection: Any, impressions: Sequence[Impression]) -> Sequence[Impression]:
    rows = await connection.fetch(_GONE, list({shown.viewer_id for shown in impressions}))
    if not rows:
        return impressions
    gone: dict[int, datetime | None] = {row["id"]: row["erased_at"] if row["is_there"] else None for row in rows}

    def is_theirs(shown: Impression) -> bool:
        if shown.viewer_id not in gone:
            return True
        erased_at = gone[shown.viewer_id]
        return erased_at is not None and erased_at < shown.served_at

    return [shown for shown in impressions if is_theirs(shown)]


async def _copy(connection: Any, table: str, columns: Sequence[str], rows: _Rows) -> None:
    """Straight into the table. Raises _Repeated where a row is there already."""
    try:
        await connection.copy_to_table(table, source=copying.chunks(rows), columns=columns, format="binary")
    except asyncpg.UniqueViolationError as exc:
        raise _Repeated from exc


async def _copy_what_is_new(connection: Any, table: str, columns: Sequence[str], rows: _Rows) -> None:
    """By way of a table of the transaction's own, leaving out what is there already."""
    await connection.execute(f"create temporary table sent_again_{table} (like {table}) on commit drop")
    await _copy(connection, f"sent_again_{table}", columns, rows)
    names = ", ".join(columns)
    await connection.execute(f"insert into {table} ({names}) select {names} from sent_again_{table} on conflict do nothing")
