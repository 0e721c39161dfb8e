"""How much slower recommendations are while everyone changes: 10,000 interactions a second, then 1,000 changed people besides.

    python -m benchmarks.churn [--people 50000] [--rounds 2] [--seconds 10]

One replica has a core of its own. PostgreSQL, Valkey, the load generator and the writers share the other, so that writes slow
down what a request reads of the database, which a database on a machine of its own would not. Therefore a part of each round
writes the very same to another database of the same server, which the replica does not serve: what the interactions cost beyond
that is what it costs to take them in. Requests are computed afresh and come at a steady rate, a part of what four connections
got without a pause; their times count from when they were due. Between two parts the feed runs dry.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import numpy as np
import polars as pl

from benchmarks import churn_work, import_rate, replicas
from benchmarks.churn_work import Asked, Written
from benchmarks.rows import Row, lines
from service.embedded.lease import EmbeddedServers
from service.repositories import migrate
from service.repositories.connections import connect

INTERACTIONS_PER_S = 10_000
PEOPLE_PER_S = 1_000
MOST_SLOWER = 1.5
_HISTORY = 10
"""Interactions a person before the start."""
_LOAD = 0.25
_SETTLED_S = 60.0


class Effort(msgspec.Struct, frozen=True):
    people: int = 50_000
    rounds: int = 2
    seconds: float = 10.0


EFFORT = Effort()
FULL_EFFORT = Effort(people=200_000, rounds=5, seconds=20.0)


class Part(msgspec.Struct):
    """What was seen in all rounds of one kind of part. `lags_ms`: at each sample, how long ago the oldest was committed of what
    was not applied yet."""

    times_ms: list[float] = []
    lags_ms: list[float] = []
    failures: int = 0
    rows: int = 0
    seconds: float = 0.0
    busy: list[tuple[float, float]] = []


CALM, ELSEWHERE, CHANGING, PEOPLE_TOO = "calm", "interactions elsewhere", "interactions", "interactions and people"
PARTS = (CALM, ELSEWHERE, CHANGING, PEOPLE_TOO)


def measure(effort: Effort) -> list[Row]:
    """On private servers and people of its own."""
    ours, others = replicas.split_cores()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        with replicas.on_cores(others):
            servers = stack.enter_context(EmbeddedServers(Path(home)))
        settings = {"AMITY_DATABASE_URL": servers.database_url, "AMITY_REDIS_URL": servers.redis_url, "AMITY_HOME": home}
        settle(settings, effort.people, Path(home))
        asyncio.run(make_elsewhere(servers.database_url))
        port = stack.enter_context(replicas.replica(settings, cores=ours[:1])).port
        with replicas.on_cores(others):
            workers = stack.enter_context(ProcessPoolExecutor(3, multiprocessing.get_context("spawn")))
            for started in [workers.submit(churn_work.ready) for _ in range(3)]:
                started.result()
            return _Churn(effort, port, servers.database_url, workers, (ours[0], others[0])).run()


def settle(settings: dict[str, str], n_people: int, folder: Path) -> None:
    """People with a history, imported and trained on."""
    rng = np.random.default_rng(n_people)
    files = {name: folder / f"{name}.csv" for name in ("people", "interactions")}
    import_rate.write([import_rate.people(1, n_people, rng)], files["people"])
    import_rate.write([interactions(n_people, _HISTORY * n_people, rng)], files["interactions"])
    arguments = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    for command in (["migrate"], ["import", *arguments], ["train"]):
        run = [sys.executable, "-m", "service.cli", *command, "--json"]
        subprocess.run(run, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)


def interactions(n_people: int, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """As `import_rate` makes them, between people whose ids are an even number apart: what is written later is an odd one."""
    drawn = import_rate.interactions(n_people, n, rng)
    apart = (pl.col("target_id") - pl.col("actor_id")).mod(n_people)
    target = (pl.col("actor_id") - 1 + apart + apart % 2) % n_people + 1
    return drawn.with_columns(target.alias("target_id")).filter(pl.col("target_id") != pl.col("actor_id"))


class _Churn:
    def __init__(self, effort: Effort, port: int, url: str, workers: ProcessPoolExecutor, cores: tuple[int, int]) -> None:
        self._effort = effort
        self._port = port
        self._url = url
        self._workers = workers
        self._cores = cores
        self._parts = {name: Part() for name in PARTS}
        self._written = 0

    def run(self) -> list[Row]:
        people = self._effort.people
        self._workers.submit(churn_work.capacity, self._port, people, 200).result()
        most = self._workers.submit(churn_work.capacity, self._port, people, 600).result()
        for turn in range(self._effort.rounds):
            for name in PARTS:
                self._part(name, most * _LOAD, turn)
        return [*self._rows(most)]

    def _part(self, name: str, per_s: float, turn: int) -> None:
        effort, part = self._effort, self._parts[name]
        before, worked = self._settled(), _worked_s(self._cores)
        asking = self._workers.submit(churn_work.ask, self._port, per_s, effort.seconds, effort.people, 100 + turn)
        writing: list[Future[Written]] = []
        if name != CALM:
            url = elsewhere(self._url) if name == ELSEWHERE else self._url
            how = (url, INTERACTIONS_PER_S, effort.seconds, effort.people, self._written)
            writing.append(self._workers.submit(churn_work.interact, *how))
        if name == PEOPLE_TOO:
            writing.append(self._workers.submit(churn_work.change, self._url, PEOPLE_PER_S, effort.seconds, effort.people, turn))
        asked, written = asking.result(), [each.result() for each in writing]
        now = _worked_s(self._cores)
        part.busy.append(((now[0] - worked[0]) / effort.seconds, (now[1] - worked[1]) / effort.seconds))
        part.times_ms += asked.times_ms
        part.failures += asked.failures
        for place, each in enumerate(written if name != ELSEWHERE else []):
            part.lags_ms += _lags_ms(asked, place, before[place], each)
        if written:
            self._written += written[0].rows
            part.rows += written[0].rows
            part.seconds += written[0].seconds

    def _settled(self) -> tuple[float, float]:
        """Changes of interactions and of people applied so far, once there come no more."""
        end_s, seen = time.monotonic() + _SETTLED_S, (-1.0, -1.0)
        while (now := self._applied()) != seen:
            if time.monotonic() > end_s:
                raise RuntimeError(f"the feed has not run dry {_SETTLED_S:.0f} s after the last write")
            seen = now
            time.sleep(1.0)
        return now

    def _applied(self) -> tuple[float, float]:
        return churn_work.applied(urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics").read().decode())

    def _rows(self, most: float) -> Iterator[Row]:
        title = f"churn ({self._effort.people:,} people)"
        yield Row(f"{title}: requests", round(most * _LOAD, 1), "1/s")
        p99s = {name: float(np.percentile(part.times_ms, 99)) for name, part in self._parts.items()}
        for name, part in self._parts.items():
            yield Row(f"{title}, {name}: p50", round(float(np.median(part.times_ms)), 2), "ms")
            yield Row(f"{title}, {name}: p99", round(p99s[name], 2), "ms")
            yield Row(f"{title}, {name}: failures", part.failures, "requests", target=0, at_most=True)
            for place, core in enumerate(("replica's core", "other core")):
                busy = sum(each[place] for each in part.busy) / len(part.busy)
                yield Row(f"{title}, {name}: {core} busy", round(busy, 2), "of the time")
            if name != CALM:
                yield Row(f"{title}, {name}: written", round(part.rows / part.seconds), "interactions/s")
            if part.lags_ms:
                yield Row(f"{title}, {name}: lag p50", round(float(np.median(part.lags_ms))), "ms")
                yield Row(f"{title}, {name}: lag, most", round(max(part.lags_ms)), "ms")
        yield Row(f"{title}: p99, interactions / calm", round(p99s[CHANGING] / p99s[CALM], 2), "ratio")
        slower = round(p99s[CHANGING] / p99s[ELSEWHERE], 2)
        yield Row(f"{title}: p99, interactions / the same elsewhere", slower, "ratio", MOST_SLOWER, at_most=True)
        yield Row(f"{title}: p99, people too / interactions", round(p99s[PEOPLE_TOO] / p99s[CHANGING], 2), "ratio")


def elsewhere(url: str) -> str:
    """Another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path="/elsewhere"))


async def make_elsewhere(url: str) -> None:
    connection = await connect(url)
    await connection.execute("create database elsewhere")
    await connection.close()
    await migrate.upgrade(elsewhere(url))


def _worked_s(cores: tuple[int, int]) -> tuple[float, float]:
    """Seconds since the start of the machine in which each of the cores worked, for whomever."""
    lines = {line.split()[0]: line.split()[1:] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")}
    user, nice, system, irq, softirq = 0, 1, 2, 5, 6
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    first, second = (sum(int(lines[f"cpu{core}"][at]) for at in (user, nice, system, irq, softirq)) * tick_s for core in cores)
    return first, second


def _lags_ms(asked: Asked, place: int, before: float, written: Written) -> list[float]:
    """At each sample: the age of the oldest commit that was not applied yet; 0 where there was none."""
    lags = []
    for when_s, *applied in asked.heard:
        waiting = written.commits_s[round(applied[place] - before) :]
        lags.append(max(0.0, (when_s - waiting[0]) * 1000) if waiting else 0.0)
    return lags


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in msgspec.structs.asdict(EFFORT).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    print(*lines(measure(Effort(**given))), sep="\n")


if __name__ == "__main__":
    main()
