"""What was shown to whom, a row a slate, and the features that pools were ranked on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Impression, ServedFeatures
from service.repositories.calls import Sessions, write
from service.repositories.locks import WRITERS, lock_shared
from service.repositories.storable import as_json

# JSON, since unnest() would flatten the lists. msgspec writes the structs as they are, bytes in base64.
_WRITE = text(
    """
    insert into impressions (served_at, slate_id, request_id, viewer_id, algorithm_version, bundle_version, experiment, arm,
        pool_id, candidate_ids, scores, propensities, exploration, sources, cached, degraded)
    select served_at, slate_id, request_id, viewer_id, algorithm_version, bundle_version, experiment ->> 'name',
        experiment ->> 'arm', pool_id, candidate_ids, scores, propensities, exploration, sources, cached, degraded
    from json_to_recordset(cast(:rows as json)) as shown (served_at timestamptz, slate_id uuid, request_id text,
        viewer_id bigint, algorithm_version text, bundle_version text, experiment json, pool_id uuid, candidate_ids bigint[],
        scores real[], propensities real[], exploration boolean[], sources jsonb, cached boolean, degraded boolean)
    on conflict do nothing
    """
)
_WRITE_FEATURES = text(
    """
    insert into served_features (computed_at, pool_id, names, candidate_ids, matrix)
    select computed_at, pool_id, names, candidate_ids, decode(matrix, 'base64')
    from json_to_recordset(cast(:rows as json)) as pool (computed_at timestamptz, pool_id uuid, names text[],
        candidate_ids bigint[], matrix text)
    on conflict do nothing
    """
)

# A viewer who is there now may still be somebody new under the id of the one who saw the slate.
_VIEWERS = text(
    """
    select users.id, tombstones.erased_at from users left join tombstones on tombstones.user_id = users.id
    where users.id = any(cast(:ids as bigint[]))
    """
)


class Impressions:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def write(self, impressions: Sequence[Impression], features: Sequence[ServedFeatures] = ()) -> int:
        """Write both in one transaction; how many slates. What is there already is left, so a batch may be sent again.

        Slates of viewers erased since they were served are left out, with the features of their pools.
        """

        async def work(session: AsyncSession) -> int:
            await lock_shared(session, WRITERS)
            kept = await _of_the_living(session, impressions)
            left_out = {shown.pool_id for shown in impressions} - {shown.pool_id for shown in kept}
            if kept:
                await session.execute(_WRITE, {"rows": as_json([_row(shown) for shown in kept])})
            served = [pool for pool in features if pool.pool_id not in left_out]
            if served:
                await session.execute(_WRITE_FEATURES, {"rows": as_json(served)})
            return len(kept)

        return await write(self._sessions, work)


def _row(shown: Impression) -> dict[str, Any]:
    row = asdict(shown)
    return row | asdict(row.pop("people"))


async def _of_the_living(session: AsyncSession, impressions: Sequence[Impression]) -> list[Impression]:
    ids = sorted({shown.viewer_id for shown in impressions})
    rows = await session.execute(_VIEWERS, {"ids": ids})
    erased_at: dict[int, datetime | None] = {row.id: row.erased_at for row in rows}

    def is_theirs(shown: Impression) -> bool:
        at = erased_at[shown.viewer_id]
        return at is None or at < shown.served_at

    return [shown for shown in impressions if shown.viewer_id in erased_at and is_theirs(shown)]
