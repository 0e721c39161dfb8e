"""Experiments as operators make and change them: the one way for the route and for the command."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.domain_experiments import Arm, ClusterBy, Design, Experiment, ExperimentStatus, Guardrails, Others, Unit
from service.errors import ExperimentConflict
from service.experiments import lifecycle
from service.experiments.freezing import freeze
from service.repositories.clusters import PackedClusters, pack
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.resilience import Deadline
from service.threads import ThreadDoor

_PACK_S = 10.0

_OF_THE_MAP = ("salt", "unit", "cluster_by")
"""What a map of clusters is made by."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an experiment, in this order: fields, traffic, an arm to stop, the status. What is left out stays."""

    status: ExperimentStatus | UnsetType = UNSET
    traffic: float | UnsetType = UNSET
    stop_arm: str | UnsetType = UNSET
    design: Design | UnsetType = UNSET
    unit: Unit | UnsetType = UNSET
    cluster_by: ClusterBy | UnsetType | None = UNSET
    salt: str | UnsetType = UNSET
    layer: str | UnsetType | None = UNSET
    arms: tuple[Arm, ...] | UnsetType = UNSET
    guardrails: Guardrails | UnsetType = UNSET

    def fields(self) -> dict[str, Any]:
        """The fields that are given, without those of which more is asked than to hold a value."""
        names = set(self.__struct_fields__) - {"status", "traffic", "stop_arm"}
        return {name: value for name in names if (value := getattr(self, name)) is not UNSET}


def now_utc() -> datetime:
    return datetime.now(UTC)


async def tell_nobody() -> None:
    """For who has no way to tell replicas: they look by themselves, twice a second."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Management:
    """`installed` names the rankers that arms may name; `tell` tells every replica that something changed."""

    store: Experiments
    users: Users
    interactions: Interactions
    door: ThreadDoor
    installed: Callable[[], Collection[str]]
    tell: Callable[[], Awaitable[None]] = tell_nobody
    now: Callable[[], datetime] = now_utc

    async def list(self) -> Sequence[Experiment]:
        """Newest first."""
        return await self.store.list()

    async def get(self, name: str) -> Experiment:
        """Raises UnknownExperiment."""
        return await self.store.get(name)

    async def create(self, draft: Experiment) -> Experiment:
        """Raises BadInput naming each field that is wrong, and ExperimentConflict where the name is taken."""
        lifecycle.require_sound(draft, self.installed())
        await self.store.create(draft)
        return draft

    async def change(self, name: str, changes: Changes) -> Experiment:
        """The experiment as it is now, on every replica within a second. Starting one by clusters makes their map first, which
        takes its time. Raises BadInput, UnknownExperiment and ExperimentConflict, and then nothing has changed."""
        starting = await self._to_start(name, changes)
        clusters = None if starting is None else await self._frozen(starting)

        def change(before: Experiment, others: Others) -> Experiment:
            after = self._changed(before, changes, others.running)
            lifecycle.require_layer_known(before, after, others.unread)
            if after.unit == "cluster" and before.status == "draft" and after.status == "running":
                _require_map_of(starting, after)
            return after

        after = await self.store.change(name, change, clusters)
        await self.tell()
        return after

    def _changed(self, before: Experiment, changes: Changes, running: Sequence[Experiment]) -> Experiment:
        after, is_draft = lifecycle.edit(before, changes.fields()), before.status == "draft"
        if changes.fields() or (is_draft and changes.status == "running"):
            known = self.installed() if is_draft else {arm.algorithm_version for arm in after.arms}
            lifecycle.require_sound(after, known)
        if changes.traffic is not UNSET:
            after = lifecycle.ramp(after, changes.traffic, running)
        if changes.stop_arm is not UNSET:
            after = lifecycle.stop_arm(after, changes.stop_arm)
        return after if changes.status is UNSET else self._in_status(after, changes.status, running)

    def _in_status(self, experiment: Experiment, status: ExperimentStatus, running: Sequence[Experiment]) -> Experiment:
        if status == "running":
            return lifecycle.start(experiment, running, self.now())
        if status == "stopped":
            return lifecycle.stop(experiment, self.now())
        if experiment.status != "draft":
            raise ExperimentConflict(f"{experiment.name!r} has started and cannot be a draft again")
        return experiment

    async def _to_start(self, name: str, changes: Changes) -> Experiment | None:
        """The experiment as it will start by these changes, if it needs a map of clusters for that."""
        if changes.status != "running":
            return None
        before = await self.store.get(name)
        if before.status != "draft":
            return None
        after = lifecycle.edit(before, changes.fields())
        lifecycle.require_sound(after, self.installed())
        return after if after.unit == "cluster" else None

    async def _frozen(self, experiment: Experiment) -> PackedClusters:
        clusters = await freeze(experiment, self.users, self.interactions, self.door)
        return await self.door.call("cluster maps", pack, clusters, deadline=Deadline(_PACK_S))


def _require_map_of(made_for: Experiment | None, started: Experiment) -> None:
    if made_for is None or any(getattr(made_for, name) != getattr(started, name) for name in _OF_THE_MAP):
        raise ExperimentConflict(f"{started.name!r} was changed by somebody else meanwhile; please try again")
