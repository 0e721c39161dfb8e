"""Experiments, and the maps of clusters that are frozen when they start.

Whoever changes one holds the lock EXPERIMENTS: what may be started depends on what else runs, and two that start at once must not
be given the same part of a layer.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
import structlog
from msgspec import UNSET
from sqlalchemy import Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain_experiments import Experiment, Others, Unread
from service.errors import ExperimentConflict, UnknownExperiment
from service.repositories.calls import Sessions, read, write
from service.repositories.clusters import PackedClusters
from service.repositories.locks import EXPERIMENTS, lock_exclusive
from service.repositories.tables import experiment_clusters as _clusters
from service.repositories.tables import experiments as _experiments

Change = Callable[[Experiment, Others], Experiment]
"""From an experiment, and all that run now, to what it becomes. Raises what forbids it."""

_log = structlog.get_logger("amity.experiments")

_COLUMNS = ("name", "status", "created_at", "started_at", "stopped_at")
"""What has a column of its own; the rest is in `definition`."""

_SELECT = select(*(_experiments.c[name] for name in _COLUMNS), _experiments.c.definition)
_RUNNING = f"select {', '.join(_COLUMNS)}, definition::text from experiments where status = 'running' order by started_at, name"


_ERASED = "select user_id, erased_at from tombstones where erased_at >= $1"


class Experiments:
    """All calls raise DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def create(self, experiment: Experiment) -> None:
        """Store a new one. Raises ExperimentConflict where the name is taken."""

        async def work(session: AsyncSession) -> None:
            added = insert(_experiments).values(**_row(experiment)).on_conflict_do_nothing().returning(_experiments.c.name)
            if await session.scalar(added) is None:
                raise ExperimentConflict(f"there is an experiment named {experiment.name!r} already")

        await write(self._sessions, work)

    async def get(self, name: str) -> Experiment:
        """Raises UnknownExperiment, and ExperimentConflict for one that a later version has made."""

        async def work(session: AsyncSession) -> Experiment:
            return (await _one(session, name))[0]

        return await read(self._sessions, work)

    async def list(self) -> Sequence[Experiment]:
        """All of them, newest first."""
        newest_first = _SELECT.order_by(_experiments.c.created_at.desc(), _experiments.c.name)
        return await read(self._sessions, lambda session: _all(session, newest_first))

    async def running(self) -> Sequence[Experiment]:
        """Those that run, in the order in which they started, then by name. By the short way: replicas ask twice a second."""
        rows = await self._sessions.readers.fetch(_RUNNING)
        return _readable((row[:-1], msgspec.json.decode(row[-1])) for row in map(tuple, rows))

    async def change(self, name: str, change: Change, clusters: PackedClusters | None = None) -> Experiment:
        """Replace an experiment by what `change` makes of it, while nobody else changes any; gives what it is now. `clusters`
        are stored with it, unless it has some: of two that start it at once, the first one's map holds. Raises
        UnknownExperiment and what `change` raises, and then nothing was changed."""

        async def work(session: AsyncSession) -> Experiment:
            await lock_exclusive(session, EXPERIMENTS)
            before, stored = await _one(session, name)
            after = change(before, await _others(session))
            if after != before:
                row = _row(after)
                row["definition"] = _merged(stored, _row(before)["definition"], row["definition"])
                await session.execute(update(_experiments).where(_experiments.c.name == name).values(**row))
            if clusters is not None:
                await _put_clusters(session, name, clusters)
            return after

        return await write(self._sessions, work)

    async def packed_clusters(self, name: str) -> PackedClusters | None:
        """The map as it is stored, to be unpacked in a thread; None where none was made."""

        async def work(session: AsyncSession) -> PackedClusters | None:
            found = select(_clusters.c.ids, _clusters.c.clusters).where(_clusters.c.experiment == name)
            row = (await session.execute(found)).first()
            return None if row is None else PackedClusters(row[0], row[1])

        return await read(self._sessions, work)

    async def erased_since(self, since: datetime) -> Sequence[tuple[int, datetime]]:
        """Ids of those erased from a time on, and when each was last."""
        return [(row[0], row[1]) for row in await self._sessions.readers.fetch(_ERASED, since)]


async def _one(session: AsyncSession, name: str) -> tuple[Experiment, dict[str, Any]]:
    """The experiment, and its definition as it is stored."""
    if not name.isprintable():  # NUL, or half a character: PostgreSQL refuses to look for these
        raise UnknownExperiment(name)
    row = (await session.execute(_SELECT.where(_experiments.c.name == name))).first()
    if row is None:
        raise UnknownExperiment(name)
    try:
        return _experiment(row[:-1], row[-1]), row[-1]
    except msgspec.ValidationError as exc:
        raise ExperimentConflict(f"{name!r} was made by a later version of Amity, and cannot be read by this one: {exc}") from exc


async def _all(session: AsyncSession, query: Select[Any]) -> Sequence[Experiment]:
    return _readable((row[:-1], row[-1]) for row in await session.execute(query))


async def _others(session: AsyncSession) -> Others:
    running = _SELECT.where(_experiments.c.status == "running").order_by(_experiments.c.started_at, _experiments.c.name)
    rows = [(row[:-1], row[-1]) for row in await session.execute(running)]
    known = _readable(rows)
    names = {each.name for each in known}
    return Others(known, [_unread(columns[0], definition) for columns, definition in rows if columns[0] not in names])


def _unread(name: str, definition: dict[str, Any]) -> Unread:
    layer = definition.get("layer", UNSET)
    return Unread(name, layer if layer is None or isinstance(layer, str) else UNSET)


def _readable(rows: Iterable[tuple[Sequence[Any], dict[str, Any]]]) -> list[Experiment]:
    """Those that this version understands: another's, of a design that is unknown here, must not keep replicas from routing the
    rest."""
    found = []
    for columns, definition in rows:
        try:
            found.append(_experiment(columns, definition))
        except msgspec.ValidationError as exc:
            _complain(columns[0], str(exc))
    return found


def _merged(stored: Any, before: Any, after: Any) -> Any:
    """What is stored, with the difference of before and after: fields of a later version stay, unseen by this one."""
    if before == after:
        return stored
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        return stored | {key: _merged(stored.get(key), before.get(key), value) for key, value in after.items()}
    lists = (stored, before, after)
    if all(isinstance(each, (list, tuple)) for each in lists) and len({len(each) for each in lists}) == 1:
        return [_merged(*items) for items in zip(*lists, strict=True)]
    return after


@cache
def _complain(name: str, reason: str) -> None:
    """Once: they are read twice a second."""
    _log.error("experiment cannot be read and is left out", experiment=name, reason=reason)


async def _put_clusters(session: AsyncSession, name: str, packed: PackedClusters) -> None:
    added = insert(_clusters).values(experiment=name, ids=packed.ids, clusters=packed.clusters)
    await session.execute(added.on_conflict_do_nothing())


def _row(experiment: Experiment) -> dict[str, Any]:
    fields = msgspec.to_builtins(experiment)
    return {name: getattr(experiment, name) for name in _COLUMNS} | {
        "definition": {name: value for name, value in fields.items() if name not in _COLUMNS}
    }


def _experiment(columns: Sequence[Any], definition: dict[str, Any]) -> Experiment:
    return msgspec.convert(definition | dict(zip(_COLUMNS, columns, strict=True)), Experiment)
