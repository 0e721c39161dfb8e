"""Where the time of a hit and of a miss goes, by the parts of a request.

    python -m benchmarks.profile [--people 2000] [--viewers 2000] [--seconds 8] [--home FOLDER] [--py-spy]

One replica on a core of its own with everything on, as `benchmarks.hits` has it, is kept busy: with hits of Zipf viewers over 16
connections, then with misses one at a time. It takes samples of itself (`benchmarks.sampled`), or py-spy does, where that is on
the PATH. A part's time is its share of the samples of the CPU time that a request took, system calls, worker threads and
background work included.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import hits, replicas, traffic
from benchmarks.load import Load, Pace, drive
from benchmarks.parts import hottest, parts
from benchmarks.replicas import Process, home_of, on_cores
from service.embedded.lease import EmbeddedServers

PY_SPY = "py-spy"
PY_SPY_HZ = 250
N_PARTS = 30
N_FUNCTIONS = 15
WRITE_LIMIT_S = 30.0


@dataclass(frozen=True)
class Profile:
    """What a replica did under one load."""

    load: Load
    cpu_s: float
    samples: list[str]

    def lines(self, name: str) -> Iterator[str]:
        """Two tables: by parts, and the functions in which most samples ended."""
        counts = parts(self.samples)
        total = max(1, counts.total())
        each_us = self.cpu_s * 1e6 / self.load.requests
        load = f"{self.load.per_s:,.0f} requests/s, p50 {self.load.p50_ms:g} ms"
        yield f"A {name}: {each_us:,.0f} µs of CPU, {load}; {total:,} samples"
        yield from (_line(part, count / total, each_us) for part, count in counts.most_common(N_PARTS))
        yield f"  most samples of a {name} ended in"
        yield from (_line(where, count / total, each_us) for where, count in hottest(self.samples, N_FUNCTIONS))


def _line(what: str, share: float, each_us: float) -> str:
    return f"  {what:<64} {share:6.1%} {share * each_us:9.1f} µs"


@dataclass(frozen=True)
class Watch:
    """A replica whose samples go to the file `out`."""

    replica: Process
    out: Path
    seconds: float
    py_spy: bool

    def under(self, paths: Sequence[str], connections: int) -> Profile:
        """Its profile while these are asked for. Raises RuntimeError when no samples came."""
        sampling = self._by_py_spy() if self.py_spy else self._by_itself()
        next(sampling)
        before_s = self.replica.cpu_s()
        load = drive(self.replica.port, paths, Pace(connections=connections, seconds=self.seconds))
        used_s = self.replica.cpu_s() - before_s
        next(sampling)
        samples = self.out.read_text().splitlines()
        self.out.unlink()
        return Profile(load, used_s, samples)

    def _by_itself(self) -> Iterator[None]:
        os.kill(self.replica.pid, signal.SIGUSR1)
        yield
        os.kill(self.replica.pid, signal.SIGUSR2)
        end_s = time.monotonic() + WRITE_LIMIT_S
        while not self.out.exists():
            if time.monotonic() > end_s:
                raise RuntimeError("the replica wrote no samples")
            time.sleep(0.05)
        yield

    def _by_py_spy(self) -> Iterator[None]:
        options = [
            "--format",
            "raw",
            "--rate",
            str(PY_SPY_HZ),
            "--duration",
            str(max(1, round(self.seconds))),
            "--full-filenames",
        ]
        command = [PY_SPY, "record", "--pid", str(self.replica.pid), *options, "--output", str(self.out)]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        yield
        _, said = spy.communicate(timeout=WRITE_LIMIT_S)
        if spy.returncode or not self.out.exists():
            raise RuntimeError(f"py-spy took no samples: {said.strip()}")
        yield


def run(home: Path, viewers: int, seconds: float, py_spy: bool) -> Iterator[str]:
    """The tables, line by line."""
    ours, others = replicas.split_cores()
    with on_cores(others), tempfile.TemporaryDirectory() as folder, EmbeddedServers(home) as servers, hits.trace_sink() as sink:
        out, port = Path(folder) / "samples", replicas.free_port()
        settings = replicas.settings_of(home, servers) | hits.observing(sink.port) | {"AMITY_PORT": str(port)}
        command = [sys.executable, "-m", "benchmarks.sampled", str(out)]
        with replicas.process(command, port, settings, "/health/ready", Path(folder) / "log", ours[:1]) as replica:
            everybody = traffic.paths(range(1, viewers + 1))
            for _ in range(2):
                drive(port, everybody, Pace(connections=hits.WARM_CONNECTIONS, requests=viewers))
            zipf = traffic.paths(traffic.viewers(viewers, hits.N_PATHS, seed=7))
            watch = Watch(replica, out, seconds, py_spy)
            yield from watch.under(zipf, hits.CONNECTIONS).lines("hit")
            yield from watch.under([f"{path}?use_cache=false" for path in zipf], 1).lines("miss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=hits.EFFORT.people)
    parser.add_argument("--viewers", type=int, default=hits.EFFORT.viewers)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--home", type=Path, help="where the population is kept; a new one, thrown away, if not given")
    parser.add_argument("--py-spy", action="store_true", help="let py-spy take the samples")
    options = parser.parse_args()
    if options.py_spy and shutil.which(PY_SPY) is None:
        parser.error("py-spy is not on the PATH: pip install py-spy")
    with home_of(options.home) as home:
        replicas.prepare(home, options.people)
        for line in run(home, options.viewers, options.seconds, options.py_spy):
            print(line, flush=True)


if __name__ == "__main__":
    main()
