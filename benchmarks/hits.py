"""Recommendations out of pools that are there already, with everything on that production has, beside a bare callable.

    python -m benchmarks.hits [--people 2000] [--viewers 2000] [--seconds 3] [--per-s 1500] [--home FOLDER]

One replica has a core of its own; the load generator, PostgreSQL and Valkey share the other. Viewers are popular by Zipf's law;
each has asked twice before anything is measured. The bare callable (the same uvicorn, nothing but the bytes of a reply) runs on
the replica's core, in turns with it, so that what else the machine does strikes both: the ratio is the median of the rounds.
Impressions, log lines to a file, metrics, request ids and a hundredth of the traces are all on, and counted afterwards.
`--home` keeps the population for the next time.
"""

import argparse
import asyncio
import contextlib
import http.server
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import replicas, traffic
from benchmarks.load import Load, Pace, drive
from benchmarks.replicas import Process, home_of, on_cores
from benchmarks.rows import Row, lines
from service.embedded.lease import EmbeddedServers
from service.repositories.connections import connect

CONNECTIONS = 64
"""Fewer than may wait in a replica, so that none is refused for want of capacity."""
OPEN_CONNECTIONS = 128
WARM_CONNECTIONS = 4
LEAST_RATIO = 0.25
MOST_P99_MS = 3.0
LEAST_HIT_SHARE = 0.999
N_PATHS = 50_000


class Effort(msgspec.Struct, frozen=True):
    """How much is asked; `seconds` is one round of the closed loop, of the bare callable, and a third of the open loop."""

    people: int = 2000
    viewers: int = 2000
    seconds: float = 3.0
    per_s: float = 1500.0
    rounds: int = 3


EFFORT = Effort()
FULL_EFFORT = Effort(people=10_000, viewers=10_000, seconds=6.0, rounds=5)


@dataclass
class Seen:
    """The loads of a run, and what was left behind of its replies."""

    warm: list[Load] = field(default_factory=list)
    hits: list[Load] = field(default_factory=list)
    bare: list[Load] = field(default_factory=list)
    hits_cpu_us: list[float] = field(default_factory=list)
    """CPU time of the replica a request, in each round; the bare callable's likewise."""
    bare_cpu_us: list[float] = field(default_factory=list)
    open: Load | None = None
    open_cpu_us: float = 0.0
    bare_open: Load | None = None
    """The bare callable at the same times: what the machine, its host and the load generator make anybody wait."""
    bare_open_cpu_us: float = 0.0
    misses: Load | None = None
    others: int = 0
    """Replies besides those of the loads."""
    counted: int = 0
    logged: int = 0
    written: int = 0
    exports: int = 0

    @property
    def replies(self) -> int:
        loads = [*self.warm, *self.hits, *filter(None, (self.open, self.misses))]
        return self.others + sum(load.requests - load.failures for load in loads)


def measure(home: Path, effort: Effort) -> list[Row]:
    """Rows on the population of this home, which is made when nobody is there."""
    replicas.prepare(home, effort.people)
    seen = run(home, effort)
    assert seen.open is not None
    assert seen.bare_open is not None
    assert seen.misses is not None
    ratios = [hit.per_s / bare.per_s for hit, bare in zip(seen.hits, seen.bare, strict=True)]
    timed = [*seen.hits, seen.open]
    answers = sum(load.requests - load.failures for load in timed)
    cached_share = sum(load.cached for load in timed) / max(1, answers)
    return [
        Row("hits: requests", statistics.median(load.per_s for load in seen.hits), "1/s"),
        Row("hits: bare callable, same bytes and core", statistics.median(load.per_s for load in seen.bare), "1/s"),
        Row("hits: requests / bare callable", round(statistics.median(ratios), 3), "ratio", LEAST_RATIO),
        Row("hits: CPU a request", round(statistics.median(seen.hits_cpu_us), 1), "µs"),
        Row("hits: CPU a request of the bare callable", round(statistics.median(seen.bare_cpu_us), 1), "µs"),
        Row(f"hits: p50 at {effort.per_s:g}/s, open loop", seen.open.p50_ms, "ms"),
        Row(f"hits: p99 at {effort.per_s:g}/s, open loop", seen.open.p99_ms, "ms", MOST_P99_MS, at_most=True),
        Row(f"hits: p50 at {effort.per_s:g}/s, open loop, of the bare callable", seen.bare_open.p50_ms, "ms"),
        Row(f"hits: p99 at {effort.per_s:g}/s, open loop, of the bare callable", seen.bare_open.p99_ms, "ms"),
        Row(f"hits: CPU a request at {effort.per_s:g}/s, open loop", round(seen.open_cpu_us, 1), "µs"),
        Row(f"hits: CPU a request at {effort.per_s:g}/s, open loop, of the bare callable", round(seen.bare_open_cpu_us, 1), "µs"),
        Row("hits: failures", sum(load.failures for load in timed), "requests", 0, at_most=True),
        Row("hits: share of the replies that say cached", round(cached_share, 5), "share", LEAST_HIT_SHARE),
        *_left_behind(seen),
        Row("computed afresh, one at a time: p50", seen.misses.p50_ms, "ms"),
        Row("computed afresh, one at a time: p99", seen.misses.p99_ms, "ms"),
    ]


def _left_behind(seen: Seen) -> list[Row]:
    unit = f"of {seen.replies:,}"
    return [
        Row("hits: replies without an impression row", seen.replies - seen.written, unit, 0, at_most=True),
        Row("hits: replies without a log line", seen.replies - seen.logged, unit, 0, at_most=True),
        Row("hits: replies without a count in /metrics", seen.replies - seen.counted, unit, 0, at_most=True),
        Row("hits: posts of traces that came to the sink", seen.exports, "posts", 1),
    ]


def run(home: Path, effort: Effort) -> Seen:
    seen = Seen()
    ours, others = replicas.split_cores()
    with on_cores(others), tempfile.TemporaryDirectory() as folder, EmbeddedServers(home) as servers, trace_sink() as sink:
        settings = replicas.settings_of(home, servers) | observing(sink.port)
        log = Path(folder) / "log"
        before = asyncio.run(impressions(servers.database_url))
        with replicas.replica(settings, log, ours[:1]) as replica:
            _load(replica, effort, seen, Path(folder) / "body", ours[:1])
        seen.written = asyncio.run(impressions(servers.database_url)) - before
        seen.logged = log.read_bytes().count(b'"event":"recommendations generated"')
        seen.exports = sink.posts
    return seen


def observing(sink_port: int) -> dict[str, str]:
    """Everything on that production has."""
    return {
        "AMITY_LOG_FORMAT": "json",
        "AMITY_LOG_LEVEL": "info",
        "AMITY_OTLP_ENDPOINT": f"http://127.0.0.1:{sink_port}",
        "AMITY_TRACE_RATIO": "0.01",
    }


def _load(replica: Process, effort: Effort, seen: Seen, body: Path, cores: Sequence[int]) -> None:
    everybody = traffic.paths(range(1, effort.viewers + 1))
    zipf = traffic.paths(traffic.viewers(effort.viewers, N_PATHS, seed=7))
    once = Pace(connections=WARM_CONNECTIONS, requests=effort.viewers)
    seen.warm = [drive(replica.port, everybody, once) for _ in range(2)]
    body.write_bytes(replica.get(zipf[0]))
    seen.others += 1
    closed = Pace(connections=CONNECTIONS, seconds=effort.seconds)
    with replicas.bare(body, cores) as bare:
        for _ in range(effort.rounds):
            for server, loads, cpu_us in ((replica, seen.hits, seen.hits_cpu_us), (bare, seen.bare, seen.bare_cpu_us)):
                load, cpu = _timed(server, zipf, closed)
                loads.append(load)
                cpu_us.append(cpu)
        opened = Pace(connections=OPEN_CONNECTIONS, seconds=3 * effort.seconds, per_s=effort.per_s)
        seen.bare_open, seen.bare_open_cpu_us = _timed(bare, zipf, opened)
    seen.open, seen.open_cpu_us = _timed(replica, zipf, opened)
    afresh = [f"{path}?use_cache=false" for path in zipf]
    seen.misses = drive(replica.port, afresh, Pace(connections=1, seconds=effort.seconds))
    seen.counted = counted(replica.get("/metrics").decode())


def _timed(server: Process, paths: Sequence[str], pace: Pace) -> tuple[Load, float]:
    """The load, and the CPU time that a request took of the server, in µs."""
    before_s = server.cpu_s()
    load = drive(server.port, paths, pace)
    return load, (server.cpu_s() - before_s) * 1e6 / load.requests


def counted(metrics: str) -> int:
    """How many answers a replica's metrics say that it gave."""
    found = [line.rpartition(" ")[2] for line in metrics.splitlines() if line.startswith("amity_recommendations_total{")]
    return int(sum(map(float, found)))


async def impressions(database_url: str) -> int:
    connection = await connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM impressions"))
    finally:
        await connection.close()


@dataclass
class Sink:
    """A collector of traces that takes everything and keeps nothing."""

    port: int
    posts: int = 0


@contextlib.contextmanager
def trace_sink() -> Iterator[Sink]:
    sink = Sink(0)

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            sink.posts += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Not a word."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        sink.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield sink
        server.shutdown()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in msgspec.structs.asdict(EFFORT).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--home", type=Path, help="where the population is kept; a new one, thrown away, if not given")
    given = vars(parser.parse_args())
    with home_of(given.pop("home")) as home:
        print(*lines(measure(home, Effort(**given))), sep="\n")


if __name__ == "__main__":
    main()
