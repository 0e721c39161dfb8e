"""Who belongs together: the units of an experiment whose people are each other's candidates. Pure.

Randomising viewers assumes that nobody's outcome depends on how others are ranked. It does, where people compete for the same
people and answer one another's likes. Randomising whole clusters takes in what happens within one; what crosses from one to
another still dilutes the difference, by the share that `cohesion` tells.
"""

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain_experiments import ClusterMap
from service.experiments.communities import communities, graph_of

Ids = NDArray[np.int64]

MOST_SHARE = 0.02
"""No community has more of the people: at least 50 units, so that chance can share them out evenly. On the demo population 2 %
keeps 50 % of the likes within a cluster (1.7 % by chance) in 79 clusters' worth of people, 5 % 65 % in 30, no bound 79 % in 17,
and its six cities 58 % in 5 (`python -m benchmarks.clusters`)."""
_LEAST_MOST = 2
"""A bound of one person would be randomising viewers."""


class Cohesion(msgspec.Struct, frozen=True, kw_only=True):
    """What a map of clusters is worth. `effective`: how many clusters of equal size would be shared out as evenly (1 over the sum
    of squared shares). `within`: the share of likes within a cluster; `by_chance`: the same had everybody's likes gone to others
    at random, in proportion to the likes those get. None without likes."""

    people: int
    clusters: int
    largest_share: float
    effective: float
    within: float | None
    by_chance: float | None

    def rounded(self) -> dict[str, float | None]:
        """Its figures by name, for people: four digits after the point."""
        return {name: value if value is None else round(value, 4) for name, value in msgspec.structs.asdict(self).items()}


def by_location(people: Iterable[tuple[int, str | None]]) -> ClusterMap:
    """A cluster for each place by its name, whatever its case; who has none is in no cluster. `people`: ids with locations."""
    placed = [(who, " ".join(location.casefold().split())) for who, location in people if location and location.strip()]
    numbers = {name: number for number, name in enumerate(sorted({name for _, name in placed}))}
    clusters = np.fromiter((numbers[name] for _, name in placed), np.int32, len(placed))
    return _sorted(np.fromiter((who for who, _ in placed), np.int64, len(placed)), clusters)


def by_community(people: Ids, actors: Ids, targets: Ids, seed: int, most_share: float = MOST_SHARE) -> ClusterMap:
    """The communities of a graph of interactions, none of more than `most_share` of the people.

    `people` int64 (n,), each once; an interaction of `actors[i]` with `targets[i]`, int64 (m,), counts if both are among them.
    Who has none is a cluster alone.
    """
    ids = np.sort(people)
    sources, ends = _rows(ids, actors, targets)
    most = max(int(most_share * len(ids)), _LEAST_MOST)
    return ClusterMap(ids, communities(graph_of(len(ids), sources, ends), most, seed))


def cohesion(clusters: ClusterMap, actors: Ids, targets: Ids) -> Cohesion:
    """How well a map keeps likes together, of those between people who are in it."""
    sizes = np.bincount(clusters.clusters)
    shares = sizes / max(sizes.sum(), 1)
    sources, ends = _rows(clusters.ids, actors, targets)
    given, received = clusters.clusters[sources], clusters.clusters[ends]
    n_likes, n_clusters = len(given), len(sizes)
    chances = np.bincount(given, minlength=n_clusters) * np.bincount(received, minlength=n_clusters).astype(np.float64)
    return Cohesion(
        people=len(clusters.ids),
        clusters=int(np.count_nonzero(sizes)),
        largest_share=float(shares.max(initial=0.0)),
        effective=float(1 / (shares**2).sum()) if len(clusters.ids) else 0.0,
        within=float((given == received).mean()) if n_likes else None,
        by_chance=float(chances.sum() / n_likes**2) if n_likes else None,
    )


def _rows(ids: Ids, actors: Ids, targets: Ids) -> tuple[Ids, Ids]:
    """The rows of both ends, of the interactions between two different people who are in `ids`, ascending."""
    if not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ends = [np.minimum(np.searchsorted(ids, side), len(ids) - 1) for side in (actors, targets)]
    known = (ids[ends[0]] == actors) & (ids[ends[1]] == targets) & (actors != targets)
    return ends[0][known], ends[1][known]


def _sorted(ids: Ids, clusters: NDArray[np.int32]) -> ClusterMap:
    order = np.argsort(ids)
    return ClusterMap(ids[order], clusters[order])
