"""Replicas behind haproxy: what they share and what one more costs.

    python -m benchmarks.fleet [--people 2000] [--viewers 2000] [--requests 4000] [--warm 8000] [--home FOLDER]

For 1, 2 and 3 replicas, with requests going round and with requests going by the hash of their path (so that a viewer stays
with a replica), each beginning with an empty Valkey and replicas that have already answered: Zipf traffic of many viewers
(`mixed`: hits, and as many misses as there are new viewers), then the same requests again (`warm`: hits alone). CPU time is the
replicas' own, from /proc, all their threads, less what they use with nothing to do, which is told by itself. Each replica has
as many connections as a single one. Replicas have all cores but one, in turns; haproxy, load, PostgreSQL and Valkey have
the last: on two cores the replicas share one, so that their requests a second cannot grow there, and the CPU time of a request
tells what another replica costs. haproxy must be on the PATH.
"""

import argparse
import contextlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import redis

from benchmarks import replicas, traffic
from benchmarks.load import Load, Pace, drive
from benchmarks.replicas import Process, home_of, on_cores
from benchmarks.rows import Row, lines
from service.embedded.lease import EmbeddedServers

Balance = Literal["round", "path"]

COUNTS = (1, 2, 3)
CONNECTIONS = 4
"""Of each replica."""
PATIENT = {
    "AMITY_DEADLINE_MS": "2000",
    "AMITY_DATABASE_TIMEOUT_MS": "1000",
    "AMITY_REDIS_TIMEOUT_MS": "1000",
    "AMITY_LOG_FORMAT": "json",
}
"""Three replicas on one core take three times as long. A degraded pool would not be stored, and another thing be compared."""
MOST_GROWTH = 1.1
"""The same traffic twice differs by up to a tenth on a shared machine."""
N_FIRST = 200
"""Requests to a replica before anything is measured: its first ones open connections and read pages of the bundle."""
SETTLE_S = 1.0
IDLE_S = 2.0
_BALANCE = {"round": ["balance roundrobin"], "path": ["balance uri path-only", "hash-type consistent"]}


class Effort(msgspec.Struct, frozen=True):
    people: int = 2000
    viewers: int = 2000
    requests: int = 4000
    warm: int = 8000


EFFORT = Effort()
FULL_EFFORT = Effort(people=100_000, viewers=100_000, requests=40_000, warm=40_000)


class Part(msgspec.Struct, frozen=True):
    """One kind of traffic on one fleet."""

    load: Load
    cpu_ms: float

    @property
    def hit_share(self) -> float:
        return self.load.cached / max(1, self.load.requests - self.load.failures)


class Fleet(msgspec.Struct, frozen=True):
    count: int
    balance: Balance
    mixed: Part
    warm: Part
    idle_share: float
    """Of a core, each replica, with nothing to do."""

    @property
    def title(self) -> str:
        return f"fleet, {self.count} replica{'s' if self.count > 1 else ''}" + (f" by {self.balance}" if self.count > 1 else "")


def missing() -> str | None:
    """Why this cannot run here, if so."""
    if shutil.which("haproxy") is None:
        return "haproxy is not on the PATH; Debian and Ubuntu have it as the package haproxy, Homebrew as the formula haproxy"
    return None


def haproxy_config(port: int, replica_ports: Sequence[int], balance: Balance) -> str:
    """haproxy's configuration: connections kept on both sides, a request at a time to any replica that is ready."""
    sections = {
        "global": ["maxconn 4096", "nbthread 1"],
        "defaults": [
            "mode http",
            "timeout connect 1s",
            "timeout client 60s",
            "timeout server 20s",
            "option http-keep-alive",
            "http-reuse always",
        ],
        "frontend viewers": [f"bind 127.0.0.1:{port}", "default_backend replicas"],
        "backend replicas": [
            *_BALANCE[balance],
            "option httpchk GET /health/ready",
            *(f"server replica{i} 127.0.0.1:{each} check inter 1s" for i, each in enumerate(replica_ports, 1)),
        ],
    }
    return "".join(f"{name}\n" + "".join(f"    {line}\n" for line in inside) + "\n" for name, inside in sections.items())


def measure(home: Path, effort: Effort) -> list[Row]:
    """Rows on the population of this home, which is made when nobody is there. Raises RuntimeError without haproxy."""
    if (reason := missing()) is not None:
        raise RuntimeError(reason)
    replicas.prepare(home, effort.people)
    kinds: list[tuple[int, Balance]] = [(1, "round"), *((n, balance) for balance in ("round", "path") for n in COUNTS[1:])]
    fleets = [run(home, effort, count, balance) for count, balance in kinds]
    return [row for fleet in fleets for row in rows_of(fleet)] + [row for fleet in fleets[1:] for row in growth(fleets[0], fleet)]


def rows_of(fleet: Fleet) -> list[Row]:
    rows = [Row(f"{fleet.title}: CPU of an idle replica", round(fleet.idle_share, 4), "of a core")]
    for name, part in (("mixed", fleet.mixed), ("warm", fleet.warm)):
        title = f"{fleet.title}, {name}:"
        rows += [
            Row(f"{title} hit rate", round(part.hit_share, 4), "share"),
            Row(f"{title} requests", part.load.per_s, "1/s"),
            Row(f"{title} p99", part.load.p99_ms, "ms"),
            Row(f"{title} CPU a request", round(part.cpu_ms, 4), "ms"),
            Row(f"{title} failures", part.load.failures, "requests", 0, at_most=True),
        ]
    return rows


def growth(one: Fleet, fleet: Fleet) -> list[Row]:
    """What a request costs the CPU, more replicas against one."""
    pairs = (("mixed", one.mixed, fleet.mixed), ("warm", one.warm, fleet.warm))
    return [
        Row(f"{fleet.title}, {name}: CPU a request / of one", round(many.cpu_ms / single.cpu_ms, 3), "ratio", MOST_GROWTH, True)
        for name, single, many in pairs
    ]


def run(home: Path, effort: Effort, count: int, balance: Balance) -> Fleet:
    ours, others = replicas.split_cores()
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_cores(others))
        servers = stack.enter_context(EmbeddedServers(home))
        settings = replicas.settings_of(home, servers) | PATIENT
        cores = [ours[i % len(ours)] for i in range(count)]
        started = [stack.enter_context(replicas.replica(settings, cores=[core])) for core in cores]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(balancer(folder, [each.port for each in started], balance)).port
        zipf = traffic.paths(traffic.viewers(effort.viewers, effort.requests, seed=7))
        for each in started:
            drive(each.port, zipf, Pace(connections=CONNECTIONS, requests=N_FIRST))
        with redis.Redis.from_url(servers.redis_url) as valkey:
            valkey.flushall()
        loads = [_used(started, port, zipf, n_requests) for n_requests in (effort.requests, effort.warm)]
        idle_share = _idle(started)
        mixed, warm = (Part(load, request_cpu_ms(load, used_s, idle_share * count)) for load, used_s in loads)
        return Fleet(count, balance, mixed, warm, idle_share)


def balancer(folder: Path, replica_ports: Sequence[int], balance: Balance) -> contextlib.AbstractContextManager[Process]:
    """haproxy in front of these replicas."""
    port = replicas.free_port()
    config = folder / "haproxy.cfg"
    config.write_text(haproxy_config(port, replica_ports, balance))
    return replicas.process(["haproxy", "-db", "-f", str(config)], port, {}, "/health/ready")


def request_cpu_ms(load: Load, used_s: float, idle_share: float) -> float:
    """CPU time that a request took, less what the replicas would have used meanwhile with nothing to do (`idle_share` of a core):
    three that share a core have that three times, and each a third of the requests to spread it over."""
    return (used_s - idle_share * load.requests / load.per_s) * 1000 / load.requests


def _used(started: Sequence[Process], port: int, paths: Sequence[str], n_requests: int) -> tuple[Load, float]:
    before_s = _cpu_s(started)
    load = drive(port, paths, Pace(connections=CONNECTIONS * len(started), requests=n_requests))
    return load, _cpu_s(started) - before_s


def _idle(started: Sequence[Process]) -> float:
    """Of a core, each: once what the last requests left behind is written."""
    time.sleep(SETTLE_S)
    before_s = _cpu_s(started)
    time.sleep(IDLE_S)
    return (_cpu_s(started) - before_s) / IDLE_S / len(started)


def _cpu_s(started: Sequence[Process]) -> float:
    return sum(each.cpu_s() for each in started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in msgspec.structs.asdict(EFFORT).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--home", type=Path, help="where the population is kept; a new one, thrown away, if not given")
    given = vars(parser.parse_args())
    if (reason := missing()) is not None:
        parser.error(reason)
    with home_of(given.pop("home")) as home:
        print(*lines(measure(home, Effort(**given))), sep="\n")


if __name__ == "__main__":
    main()
