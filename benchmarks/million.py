"""What a cache miss costs among many people: a pool made from scratch, asked for over HTTP.

    python -m benchmarks.million [--people 50000] [--requests 1000] [--keep FOLDER]

One replica has a core of its own; PostgreSQL, Valkey and the load generator share the other. Every request is another
viewer's, of those who may see 4,000 people or more, and passes the cache by: five sources look for candidates, the ranker scores
500 of them, the slate is taken. Measured one after another, over a few connections at once, and at a steady rate, where times
count from when a request was due. With `--keep` the database and the bundle stay, and the next run begins in seconds.

The time on the replica's processor says more than the clock where others use the machine.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import replicas
from benchmarks.million_load import Answers, closed, open_loop
from benchmarks.replicas import Process
from benchmarks.rows import Row, lines
from service.embedded.lease import EmbeddedServers

MOST_P50_MS, MOST_P99_MS = 8.0, 20.0
LEAST_CANDIDATES = 500
CONNECTIONS = (1, 2, 4)
_WARM = 300


class Effort(msgspec.Struct, frozen=True):
    """`requests` for each way of asking; `per_s` in the open loop."""

    people: int = 50_000
    requests: int = 1000
    per_s: float = 60.0


EFFORT = Effort()
FULL_EFFORT = Effort(people=1_000_000, requests=3000)


def measure(effort: Effort, keep: Path | None = None) -> list[Row]:
    """On private servers and people of its own, which stay in `keep` for the next time."""
    with contextlib.ExitStack() as stack:
        folder = keep if keep is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, others = replicas.split_cores()
        with replicas.on_cores(others):
            servers = stack.enter_context(EmbeddedServers(folder / "home"))
        settings = {"AMITY_DATABASE_URL": servers.database_url, "AMITY_REDIS_URL": servers.redis_url}
        settings |= {"AMITY_HOME": str(folder / "home")}
        prepare(folder, effort.people, settings)
        replica = stack.enter_context(replicas.replica(settings, cores=ours[:1]))
        with replicas.on_cores(others):
            return _rows(effort, replica, np.load(folder / "viewers.npy"))


def prepare(folder: Path, n_people: int, settings: dict[str, str]) -> None:
    """Fill the database and make a bundle live, unless it has been done. Raises RuntimeError for a folder of another size."""
    done = folder / "people.txt"
    if done.exists():
        if int(done.read_text()) != n_people:
            raise RuntimeError(f"{folder} holds {int(done.read_text()):,} people")
        return
    command = [sys.executable, "-m", "benchmarks.million_prepare", str(folder), "--people", str(n_people)]
    subprocess.run(command, env=os.environ | settings, check=True)
    if not len(np.load(folder / "viewers.npy")):
        raise RuntimeError(f"among {n_people:,} people nobody may see as many as are asked for; take more people")
    done.write_text(str(n_people))


def _rows(effort: Effort, replica: Process, viewers: NDArray[np.int64]) -> list[Row]:
    paths = _paths(viewers)
    closed(replica.port, [next(paths) for _ in range(_WARM)], 1)
    rows: list[Row] = []
    title = f"miss ({effort.people:,} people)"
    for connections in CONNECTIONS:
        some = [next(paths) for _ in range(effort.requests)]
        before_s = replica.cpu_s()
        answers = closed(replica.port, some, connections)
        worked_ms = (replica.cpu_s() - before_s) * 1000 / len(some)
        name = f"{title}, {connections} at once"
        rows.append(Row(f"{name}: processor time", round(worked_ms, 2), "ms a request"))
        rows.append(Row(f"{name}: requests", answers.per_s, "1/s"))
        rows += _times(name, answers, judged=connections == 1)
        if connections == 1:
            rows.append(Row(f"{title}: candidates", _candidates(replica), "people", LEAST_CANDIDATES))
            rows += [
                Row(f"{title}, stage {stage}: {kind}", answers.p_ms(percent, stage), "ms")
                for stage in answers.stages_ms
                for kind, percent in (("p50", 50), ("p99", 99))
            ]
    answers = open_loop(replica.port, [next(paths) for _ in range(effort.requests)], effort.per_s)
    rows += _times(f"{title}, {effort.per_s:g} a second", answers, judged=False)
    return rows


def _times(name: str, answers: Answers, judged: bool) -> list[Row]:
    return [
        Row(f"{name}: p50", answers.p_ms(50), "ms", MOST_P50_MS if judged else None, at_most=True),
        Row(f"{name}: p99", answers.p_ms(99), "ms", MOST_P99_MS if judged else None, at_most=True),
        Row(f"{name}: failures", answers.failures, "requests", 0, at_most=True),
        Row(f"{name}: degraded or cached", answers.degraded + answers.cached, "requests", 0, at_most=True),
    ]


def _candidates(replica: Process) -> float:
    report = json.loads(replica.get("/api/v1/recommendations/performance?scope=replica&window_s=60"))
    found: float = report["avg_candidate_count"]
    return found


def _paths(viewers: NDArray[np.int64]) -> Iterator[str]:
    """Of different viewers; begins anew when all have asked."""
    for viewer in cycle(viewers.tolist()):
        yield f"/api/v1/recommendations/users/{viewer}/recommendations?use_cache=false"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in msgspec.structs.asdict(EFFORT).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--keep", type=Path, help="where the database and the bundle stay for the next run")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    keep = given.pop("keep")
    print(*lines(measure(Effort(**given), keep)), sep="\n")


if __name__ == "__main__":
    main()
