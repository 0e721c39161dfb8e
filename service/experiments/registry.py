"""The experiments that run, as this replica knows them: read at its start, whenever told of a change, and twice a second."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import structlog

from service.domain_experiments import ClusterMap, Experiment
from service.errors import AmityError
from service.experiments.leavers import Leavers
from service.experiments.routing import Router
from service.repositories.clusters import PackedClusters, unpack
from service.resilience import Deadline
from service.threads import ThreadDoor

POLL_S = 0.5
"""News and the feed tell within milliseconds. But news may be lost, and the feed waits for every transaction that began before
the change: an import of minutes must not keep an experiment from stopping. A read takes .1 ms."""

_UNPACK_S = 10.0

_log = structlog.get_logger("amity.experiments")


class ExperimentStore(Protocol):
    """Raises DatabaseUnavailable."""

    async def running(self) -> Sequence[Experiment]: ...

    async def packed_clusters(self, name: str, /) -> PackedClusters | None: ...

    async def erased_since(self, since: datetime, /) -> Sequence[tuple[int, datetime]]: ...


class Registry:
    """Keeps `router` as experiments are. While the database is away, they are as last known."""

    def __init__(self, store: ExperimentStore, door: ThreadDoor, default_ranker: str) -> None:
        self._store = store
        self._door = door
        self._default = default_ranker
        self._running: Sequence[Experiment] = ()
        self._maps: dict[tuple[str, datetime | None], ClusterMap | None] = {}
        self._leavers = Leavers(store.erased_since)
        self._loading = asyncio.Lock()
        self._nudged = asyncio.Event()
        self.router = Router(default_ranker)

    @property
    def running(self) -> Sequence[Experiment]:
        """In the order in which they started, then by name."""
        return self._running

    def nudge(self) -> None:
        """Look at once: somebody has told of a change."""
        self._nudged.set()

    async def load(self) -> None:
        """Route as the database says from now on. Raises DatabaseUnavailable; for a map of clusters StageBusy and StageTimeout,
        and it is asked for again at the next look: until then its experiment holds nobody, and the others are heeded."""
        async with self._loading:  # lest of two reads the older one be the last to be heeded
            running = await self._store.running()
            if running != self._running:
                self._route(running)
                _log.info("experiments changed", running=[each.name for each in running])
            by_cluster = [each for each in running if each.unit == "cluster"]
            await self._heed_erasures(by_cluster)
            for each in by_cluster:
                if _key(each) not in self._maps:
                    self._maps[_key(each)] = await self._map(each, by_cluster)
                    self._route(running)

    async def run(self) -> None:
        """Keep up until cancelled."""
        is_known = True
        while True:
            with suppress(TimeoutError):  # nobody nudged: time for the next look
                async with asyncio.timeout(POLL_S):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                await self.load()
                is_known = True
            except AmityError as exc:
                if is_known:
                    _log.warning("experiments cannot be read; going on as last known", reason=exc.message)
                is_known = False

    def _route(self, running: Sequence[Experiment]) -> None:
        """By the maps that are there."""
        kept = {_key(each) for each in running}
        self._maps = {key: found for key, found in self._maps.items() if key in kept}
        self._running = running
        maps = {name: found for (name, _), found in self._maps.items() if found is not None}
        self.router = Router(self._default, running, maps)

    async def _heed_erasures(self, by_cluster: Sequence[Experiment]) -> None:
        """Take who was erased since out of the maps that are there."""
        if not by_cluster:
            self._leavers.forget()
        elif await self._leavers.look(min(map(_start, by_cluster))):
            for each in by_cluster:
                clusters = self._maps.get(_key(each))
                if clusters is not None:
                    self._maps[_key(each)] = self._leavers.out_of(clusters, _start(each))
            self._route(self._running)

    async def _map(self, experiment: Experiment, by_cluster: Sequence[Experiment]) -> ClusterMap | None:
        """Who is in which cluster, which is fixed from the start on but for who is erased; None where that is lost."""
        packed = await self._store.packed_clusters(experiment.name)
        if packed is None:
            _log.error("experiment without its map of clusters", experiment=experiment.name)
            return None
        clusters = await self._door.call("cluster maps", unpack, packed, deadline=Deadline(_UNPACK_S))
        await self._heed_erasures(by_cluster)  # of the time that it took, too
        return self._leavers.out_of(clusters, _start(experiment))


def _key(experiment: Experiment) -> tuple[str, datetime | None]:
    return experiment.name, experiment.started_at


def _start(experiment: Experiment) -> datetime:
    """When a running experiment started."""
    return experiment.started_at or experiment.created_at
