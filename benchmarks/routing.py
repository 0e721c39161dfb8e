"""What routing costs a request, by how many experiments run: for viewers who ask for the first time, and who ask again."""

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np

from benchmarks.rows import Row
from service.domain import RecommendationRequest
from service.domain_experiments import Arm, ClusterMap, Experiment
from service.experiments import lifecycle
from service.experiments.routing import Router

MOST_US = 5.0
VIEWERS = 5_000
REPEATS = 15
CLUSTERED = 1_000_000
INSTALLED = {"v1": None, "v2": None, "heuristic": None}
ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def measure() -> list[Row]:
    """Microseconds of the CPU a request, the median of several runs."""
    requests = [RecommendationRequest(viewer_id=viewer) for viewer in range(1, VIEWERS + 1)]
    rows = []
    for what, make in _cases():
        first = statistics.median(_us(make(), requests) for _ in range(REPEATS))
        rows.append(Row(f"routing: {what}, first request of a viewer", first, "us", MOST_US, at_most=True))
    router = Router("v1", _running(10))
    _us(router, requests)
    again = statistics.median(_us(router, requests) for _ in range(REPEATS))
    rows.append(Row("routing: 10 experiments, request of a viewer who asked before", again, "us", MOST_US, at_most=True))
    return rows


def _cases() -> Iterator[tuple[str, Callable[[], Router]]]:
    yield "no experiment", lambda: Router("v1")
    yield "1 experiment", lambda: Router("v1", _running(1))
    yield "3 experiments", lambda: Router("v1", _running(3))
    yield "10 experiments in a layer", lambda: Router("v1", _running(10, "ranking"))
    ids = np.arange(1, CLUSTERED + 1)
    clusters = ClusterMap(ids, (ids % 500).astype(np.int32))
    yield "1 experiment by clusters of a million", lambda: Router("v1", _running(1, by_cluster=True), {"trial-0": clusters})


def _running(n: int, layer: str | None = None, by_cluster: bool = False) -> list[Experiment]:
    """So many, of a tenth of the viewers each."""
    running: list[Experiment] = []
    for index in range(n):
        name = f"trial-{index}"
        draft = Experiment(
            name=name,
            salt=name,
            traffic=0.1,
            layer=layer,
            arms=ARMS,
            unit="cluster" if by_cluster else "viewer",
            cluster_by="community" if by_cluster else None,
            created_at=NOW,
        )
        running.append(lifecycle.start(draft, running, NOW))
    return running


def _us(router: Router, requests: list[RecommendationRequest]) -> float:
    started_s = time.process_time()
    for request in requests:
        router.route(request, INSTALLED)
    return (time.process_time() - started_s) / len(requests) * 1e6
