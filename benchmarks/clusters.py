"""Clusters for experiments: what share of likes stays within one, against chance, and what finding communities costs.

    python -m benchmarks.clusters [--people 5000] [--sizes 100000,300000,1000000]

Worth: on the demo population, and, where AMITY_EVAL_DATA names the folder of the real data sets, on CollegeMsg, by location and
by community with several bounds. Cost: on made-up people with ten likes each, some of whom like many and are liked by many, in
communities of 20 to 5,000 that keep 60 % of the likes; CPU time, and memory beyond the likes, in a process for each size.
"""

import argparse
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, lines
from service.domain import Kind
from service.domain_experiments import ClusterMap
from service.experiments.clusters import MOST_SHARE, by_community, by_location, cohesion
from service.transfer.demo import DemoRequest, generate

Ids = NDArray[np.int64]

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)
BOUNDS = (1.0, 0.05, MOST_SHARE, 0.01)
_LIKES_EACH = 10


def worth(name: str, clusters: ClusterMap, actors: Ids, targets: Ids) -> Iterator[Row]:
    found = cohesion(clusters, actors, targets)
    yield Row(f"{name}: likes within a cluster", found.within or 0.0, "share")
    yield Row(f"{name}: by chance", found.by_chance or 0.0, "share")
    yield Row(f"{name}: clusters, as many of equal size", found.effective, "clusters")


def bounded(name: str, people: Ids, actors: Ids, targets: Ids) -> Iterator[Row]:
    for most_share in BOUNDS:
        found = by_community(people, actors, targets, seed=1, most_share=most_share)
        yield from worth(f"{name}, communities of at most {most_share:.0%}", found, actors, targets)


def demo(n_people: int) -> Iterator[Row]:
    crowd = generate(DemoRequest(n_people=n_people, seed=7, reference=REFERENCE))
    likes = np.array([kind in (Kind.LIKE, Kind.MESSAGE) for kind in crowd.kinds])
    actors, targets = crowd.actors[likes], crowd.targets[likes]
    yield from worth("demo, by location", by_location((one.id, one.location) for one in crowd.people), actors, targets)
    yield from bounded("demo", np.arange(1, n_people + 1), actors, targets)


def college(folder: Path) -> Iterator[Row]:
    pairs = np.unique(np.loadtxt(folder / "college_msg" / "CollegeMsg.txt", np.int64, usecols=(0, 1)), axis=0)
    yield from bounded("CollegeMsg", np.unique(pairs), pairs[:, 0], pairs[:, 1])


def made_up(n_people: int) -> tuple[Ids, Ids]:
    """Who likes whom, int64 (n,) each, of people 0 to n-1."""
    rng, n_likes = np.random.default_rng(0), n_people * _LIKES_EACH
    sizes = np.minimum(5000, 20 * (1 / rng.random(n_people // 20)) ** 0.8).astype(np.int64)
    community = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)[:n_people])
    members = np.argsort(community, kind="stable")
    starts = np.searchsorted(community[members], np.arange(len(sizes) + 1))
    drawn = np.cumsum((1 / rng.random(n_people)) ** 0.5)
    actors, anybody = (np.searchsorted(drawn, rng.random(n_likes) * drawn[-1]) for _ in range(2))
    first, end = starts[community[actors]], starts[community[actors] + 1]
    near = members[first + (rng.random(n_likes) * (end - first)).astype(np.int64)]
    return actors, np.where(rng.random(n_likes) < 0.6, near, anybody)


def cost(n_people: int) -> list[Row]:
    actors, targets = made_up(n_people)
    before_mb, started_s = _peak_mb(), time.process_time()
    by_community(np.arange(n_people), actors, targets, seed=1)
    label = f"{n_people:,} people, {len(actors):,} likes"
    return [
        Row(f"{label}: CPU", time.process_time() - started_s, "s"),
        Row(f"{label}: memory beyond them", _peak_mb() - before_mb, "MB"),
    ]


def _peak_mb() -> float:
    """What this process has held at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--sizes", default="100000,300000,1000000")
    options = parser.parse_args()
    rows = list(demo(options.people))
    if folder := os.environ.get("AMITY_EVAL_DATA"):
        rows += college(Path(folder))
    for size in map(int, options.sizes.split(",")):
        with get_context("spawn").Pool(1) as pool:
            rows += pool.apply(cost, (size,))
    print(*lines(rows), sep="\n")


if __name__ == "__main__":
    main()
