"""The rankers that a replica serves with: those installed when it started, and any that were installed since.

A bundle that has just been trained may hold a ranker that nobody had when this replica started. So whenever a bundle is taken,
what is installed is looked for again: a new ranker serves without a restart. What is in memory stays as it is: Python does not
load a module twice, so another version of a ranker already known is in use after a restart.
"""

import importlib
from collections.abc import Mapping

import structlog

from service.artifacts.bundle import Bundle
from service.errors import PluginBroken, StageBusy, StageTimeout
from service.features.definitions import FEATURES
from service.plugins import (
    EntryPoints,
    Installed,
    InstalledRanker,
    LoadedRanker,
    Problem,
    instantiate_one,
    load_rankers,
    registered,
    standing,
)
from service.resilience import Deadline
from service.settings import Settings
from service.threads import ThreadDoor

Rankers = Mapping[str, LoadedRanker]

RANKER_LOAD_S = 30.0
"""A model of some hundred megabytes takes a second."""

_LOG = structlog.get_logger("amity.app")


class RankerStock:
    """Belongs to the event loop; what plug-ins do in here is done in threads, but for the first look."""

    def __init__(self, settings: Settings, door: ThreadDoor, entry_points: EntryPoints = registered) -> None:
        """Raises PluginBroken when one that is needed is broken."""
        self._settings = settings
        self._door = door
        self._entry_points = entry_points
        self._installed = Installed[InstalledRanker]({}, ())
        self._take(load_rankers(settings, FEATURES, entry_points))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those that are installed and not used, and why."""
        return self._installed.problems

    async def loaded(self, bundle: Bundle | None) -> Rankers:
        """All of them as they stand with a bundle. One that hangs while it loads keeps none of the others from serving."""
        await self._look_again()
        rankers = {}
        for name, ranker in self._installed.by_name.items():
            try:
                deadline = Deadline(RANKER_LOAD_S)
                rankers[name] = await self._door.call(f"load:{name}", instantiate_one, ranker, bundle, deadline=deadline)
            except (StageTimeout, StageBusy) as exc:
                rankers[name] = standing(ranker, None, f"cannot be loaded: {exc} after {RANKER_LOAD_S:g} s")
            if rankers[name].problem:
                _LOG.warning("ranker not loaded", ranker=name, reason=rankers[name].problem)
        return rankers

    async def _look_again(self) -> None:
        """What cannot be looked for now, or would keep a replica from starting, changes nothing for one that runs."""
        try:
            self._take(await self._door.call("plugins", self._look, deadline=Deadline(RANKER_LOAD_S)))
        except (PluginBroken, StageTimeout, StageBusy) as exc:
            _LOG.error("rankers installed since the start cannot be used", reason=str(exc))

    def _look(self) -> Installed[InstalledRanker]:
        importlib.invalidate_caches()  # else the modules of what was installed a moment ago cannot be found
        return load_rankers(self._settings, FEATURES, self._entry_points)

    def _take(self, found: Installed[InstalledRanker]) -> None:
        """Add who is new."""
        known = self._installed.by_name
        for problem in set(found.problems) - set(self._installed.problems):
            _LOG.warning("ranker left out", ranker=problem.name, reason=problem.reason)
        for name, ranker in found.by_name.items():
            before = known.get(name)
            if before is not None and before.distribution_version != ranker.distribution_version:
                _LOG.warning("ranker was upgraded: in use after a restart", ranker=name, version=ranker.distribution_version)
        by_name = dict(sorted({**found.by_name, **known}.items()))
        self._installed = Installed(by_name, tuple(problem for problem in found.problems if problem.name not in known))
