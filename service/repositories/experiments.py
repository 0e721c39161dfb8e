"""Experiments, and the maps of clusters that are frozen when they start.

Whoever changes one holds the lock EXPERIMENTS: what may be started depends on what else runs, and two that start at once must not
be given the same part of a layer.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain_experiments import Experiment
from service.errors import ExperimentConflict, UnknownExperiment
from service.repositories.calls import Sessions, read, write
from service.repositories.clusters import PackedClusters
from service.repositories.locks import EXPERIMENTS, lock_exclusive
from service.repositories.tables import experiment_clusters as _clusters
from service.repositories.tables import experiments as _experiments

Change = Callable[[Experiment, Sequence[Experiment]], Experiment]
"""From an experiment, and all that run now in the order in which they started, to what it becomes. Raises what forbids it."""

_log = structlog.get_logger("amity.experiments")

_COLUMNS = ("name", "status", "created_at", "started_at", "stopped_at")
"""What has a column of its own; the rest is in `definition`."""

_SELECT = select(*(_experiments.c[name] for name in _COLUMNS), _experiments.c.definition)
_RUNNING = f"select {', '.join(_COLUMNS)}, definition::text from experiments where status = 'running' order by started_at, name"


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
        """Raises UnknownExperiment."""
        return await read(self._sessions, lambda session: _one(session, name))

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
            before = await _one(session, name)
            running = _SELECT.where(_experiments.c.status == "running").order_by(_experiments.c.started_at, _experiments.c.name)
            after = change(before, await _all(session, running))
            if after != before:
                await session.execute(update(_experiments).where(_experiments.c.name == name).values(**_row(after)))
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


async def _one(session: AsyncSession, name: str) -> Experiment:
    if not name.isprintable():  # NUL, or half a character: PostgreSQL refuses to look for these
        raise UnknownExperiment(name)
    row = (await session.execute(_SELECT.where(_experiments.c.name == name))).first()
    if row is None:
        raise UnknownExperiment(name)
    return _experiment(row[:-1], row[-1])


async def _all(session: AsyncSession, query: Select[Any]) -> Sequence[Experiment]:
    return _readable((row[:-1], row[-1]) for row in await session.execute(query))


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
