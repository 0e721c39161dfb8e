"""The registry of bundles and the one pointer to the live one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import BundleRecord
from service.errors import LiveBundleMoved, OperatorError
from service.repositories import tables
from service.repositories.calls import Sessions, read, write

_bundles = tables.bundles
_live = tables.live_bundle

_SELECT: Select[Any] = select(
    _bundles.c.version, _bundles.c.created_at, _bundles.c.metrics, _live.c.version.is_not(None), _bundles.c.published_at
).outerjoin(_live, _live.c.version == _bundles.c.version)

# One at a time moves the pointer, from where it was when that was decided.
_LOCK = text("lock table live_bundle in exclusive mode")


class Bundles:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def register(self, version: str, created_at: datetime, metrics: Mapping[str, float]) -> None:
        """Enter a bundle that lies whole in the artefact store; entering it again updates its metrics."""
        values = {"created_at": created_at, "metrics": dict(metrics)}
        statement = insert(_bundles).values(version=version, **values)
        upsert = statement.on_conflict_do_update(index_elements=[_bundles.c.version], set_=values)

        async def work(session: AsyncSession) -> None:
            await session.execute(upsert)

        await write(self._sessions, work)

    async def publish(self, version: str) -> BundleRecord:
        """Make a registered bundle the live one, whatever is; raises OperatorError when it is not registered."""

        async def work(session: AsyncSession) -> BundleRecord:
            await session.execute(_LOCK)
            return await _publish(session, version)

        return await write(self._sessions, work)

    async def replace(self, live: str | None, version: str) -> BundleRecord:
        """Make a registered bundle the live one in the place of `live`; None: where none is.

        Raises LiveBundleMoved when another is live by now, and OperatorError when it is not registered.
        """

        async def work(session: AsyncSession) -> BundleRecord:
            await session.execute(_LOCK)
            await _require_live(session, live)
            return await _publish(session, version)

        return await write(self._sessions, work)

    async def rollback(self, live: str, before: str) -> BundleRecord:
        """From the bundle `live` to the one published before it, which is `before`. Raises LiveBundleMoved when either is not
        so by now.

        The bundle left is no longer published, so that no later rollback comes back to it.
        """
        others = select(_bundles.c.version).where(_bundles.c.published_at.is_not(None), _bundles.c.version != live)
        latest = others.order_by(_bundles.c.published_at.desc(), _bundles.c.version.desc()).limit(1)

        async def work(session: AsyncSession) -> BundleRecord:
            await session.execute(_LOCK)
            await _require_live(session, live)
            if await session.scalar(latest) != before:
                raise LiveBundleMoved(f"{before} is not the bundle published before {live} any more")
            await session.execute(update(_bundles).where(_bundles.c.version == live).values(published_at=None))
            return await _point(session, before)

        return await write(self._sessions, work)

    async def retire(self, n_kept: int, unpublished_before: datetime) -> Sequence[str]:
        """Strike off all but the live bundle, the `n_kept` published last, and the unpublished ones made since; the versions.

        Their files are the caller's to delete: nobody can make them live any more.
        """
        newest = select(_bundles.c.version).where(_bundles.c.published_at.is_not(None))
        kept = newest.order_by(_bundles.c.published_at.desc()).limit(n_kept)
        old = _bundles.c.published_at.is_not(None) | (_bundles.c.created_at < unpublished_before)
        gone = delete(_bundles).where(old, _bundles.c.version.not_in(kept), _bundles.c.version.not_in(select(_live.c.version)))

        async def work(session: AsyncSession) -> Sequence[str]:
            await session.execute(_LOCK)
            return sorted(await session.scalars(gone.returning(_bundles.c.version)))

        return await write(self._sessions, work)

    async def live(self) -> BundleRecord | None:
        """The bundle that replicas should serve; None before the first was published."""

        async def work(session: AsyncSession) -> BundleRecord | None:
            row = (await session.execute(_SELECT.where(_live.c.version.is_not(None)))).first()
            return None if row is None else _record(row)

        return await read(self._sessions, work)

    async def list(self) -> list[BundleRecord]:
        """All registered bundles, newest first."""

        async def work(session: AsyncSession) -> list[BundleRecord]:
            rows = await session.execute(_SELECT.order_by(_bundles.c.created_at.desc(), _bundles.c.version.desc()))
            return [_record(row) for row in rows]

        return await read(self._sessions, work)


async def _require_live(session: AsyncSession, version: str | None) -> None:
    live = await session.scalar(select(_live.c.version))
    if live != version:
        raise LiveBundleMoved(f"meanwhile {live or 'no bundle'} went live in the place of {version or 'none'}; look again")


async def _publish(session: AsyncSession, version: str) -> BundleRecord:
    now = func.clock_timestamp()
    await session.execute(update(_bundles).where(_bundles.c.version == version).values(published_at=now))
    return await _point(session, version)


async def _point(session: AsyncSession, version: str) -> BundleRecord:
    row = (await session.execute(_SELECT.where(_bundles.c.version == version))).first()
    if row is None:
        raise OperatorError(f"no bundle {version!r} is registered")
    now = func.clock_timestamp()
    pointer = insert(_live).values(version=version, activated_at=now)
    moved = pointer.on_conflict_do_update(index_elements=[_live.c.one], set_={"version": version, "activated_at": now})
    await session.execute(moved)
    return BundleRecord(version=row[0], created_at=row[1], metrics=row[2], live=True, published_at=row[4])


def _record(row: Any) -> BundleRecord:
    return BundleRecord(version=row[0], created_at=row[1], metrics=row[2], live=row[3], published_at=row[4])
