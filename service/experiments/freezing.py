"""The map of clusters that an experiment starts with, made of the database as it is now."""

from hashlib import blake2b

import numpy as np
import structlog
from numpy.typing import NDArray

from service.domain import Kind
from service.domain_experiments import ClusterMap, Experiment
from service.errors import ExperimentConflict
from service.experiments.clusters import by_community, by_location, cohesion
from service.repositories.columns import CODES, InteractionTable
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.resilience import Deadline
from service.threads import ThreadDoor

_LIKES = np.array([CODES[Kind.LIKE], CODES[Kind.MESSAGE]], np.int8)
"""What joins two people: what training takes for liking, too."""
_LONGEST_S = 600.0
"""A million people with ten million likes take 22 s of one core."""

_log = structlog.get_logger("amity.experiments")


async def freeze(experiment: Experiment, users: Users, interactions: Interactions, door: ThreadDoor) -> ClusterMap:
    """Who belongs to which cluster, by what the experiment goes by; repeatable for its salt. The event loop stays free.

    Raises ExperimentConflict when there are fewer clusters than arms, StageTimeout, DatabaseUnavailable, and StageBusy when other
    maps, of which one is made at a time, take longer than ten minutes.
    """
    places = [place async for batch in users.places() for place in batch]
    table = await interactions.load_all()
    deadline = Deadline(_LONGEST_S)
    return await door.call("clusters", clusters_of, experiment, places, table, deadline=deadline, at_most=1)


def clusters_of(experiment: Experiment, places: list[tuple[int, str | None]], table: InteractionTable) -> ClusterMap:
    """The map out of everybody's location and all interactions; what it is worth is logged."""
    likes = np.isin(table.kind, _LIKES)
    actors, targets = table.actor[likes], table.target[likes]
    if experiment.cluster_by == "location":
        clusters = by_location(places)
    else:
        clusters = by_community(_ids(places), actors, targets, _seed_of(experiment.salt))
    found = cohesion(clusters, actors, targets)
    if found.clusters < len(experiment.arms):
        raise ExperimentConflict(
            f"{len(experiment.arms)} arms need as many clusters at least; by {experiment.cluster_by} there are {found.clusters}"
        )
    _log.info("clusters frozen", experiment=experiment.name, by=experiment.cluster_by, **found.rounded())
    return clusters


def _ids(places: list[tuple[int, str | None]]) -> NDArray[np.int64]:
    return np.fromiter((who for who, _ in places), np.int64, len(places))


def _seed_of(salt: str) -> int:
    return int.from_bytes(blake2b(f"clusters:{salt}".encode(), digest_size=8).digest(), "big")
