"""Servers for a benchmark: a trained population, replicas and others as processes on cores of their own, and their CPU time."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.embedded.lease import EmbeddedServers, Lease

START_LIMIT_S = 120
STOP_LIMIT_S = 60
SERVE = [sys.executable, "-m", "service.cli", "serve"]
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Process:
    """A server that answers at `port`; all that it says goes to `log`."""

    port: int
    pid: int
    log: Path

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            body: bytes = answer.read()
        return body

    def cpu_s(self) -> float:
        """The CPU time that it has used since it began, user's and system's, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def split_cores() -> tuple[list[int], list[int]]:
    """Cores for replicas, and the last one for everything else: load, PostgreSQL, Valkey, a balancer."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("replicas and their load need a core each")
    return cores[:-1], cores[-1:]


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """This thread, and every process that it starts meanwhile, keeps to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def replica(settings: dict[str, str], log: Path | None = None, cores: Sequence[int] = ()) -> AbstractContextManager[Process]:
    """`amity serve`, once it is ready."""
    port = free_port()
    return process(SERVE, port, settings | {"AMITY_PORT": str(port)}, "/health/ready", log, cores)


def bare(body: Path, cores: Sequence[int]) -> AbstractContextManager[Process]:
    """The bare callable that answers with the bytes of this file."""
    port = free_port()
    return process([sys.executable, "-m", "benchmarks.bare", str(body), str(port)], port, {}, "/", None, cores)


@contextlib.contextmanager
def process(
    command: Sequence[str],
    port: int,
    environment: dict[str, str],
    path: str,
    log: Path | None = None,
    cores: Sequence[int] = (),
) -> Iterator[Process]:
    """A server process that is to listen on this port; yielded once it answers `path`, stopped in good order at the end."""
    with tempfile.TemporaryDirectory() as folder:
        said = log or Path(folder) / "log"
        with said.open("wb") as file, on_cores(cores or sorted(os.sched_getaffinity(0))):
            child = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=file, stderr=file)
        try:
            _wait(f"http://127.0.0.1:{port}{path}", child, said)
            yield Process(port, child.pid, said)
        finally:
            child.terminate()
            child.wait(STOP_LIMIT_S)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s and child.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url):  # refused until it listens, 503 until it is ready
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}:\n{log.read_text(errors='replace')[-2000:]}")


def prepare(home: Path, n_people: int) -> None:
    """A demo population of this size and a live bundle of it, kept in the home; what is there already stays as it is."""
    with EmbeddedServers(home) as servers:
        settings = settings_of(home, servers)
        amity(settings, "migrate")
        if not amity(settings, "bundles", "list"):
            amity(settings, "demo", "--people", str(n_people))
            amity(settings, "train")


@contextlib.contextmanager
def home_of(given: Path | None) -> Iterator[Path]:
    """The folder given, or one for this run alone."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def settings_of(home: Path, servers: Lease) -> dict[str, str]:
    """Environment of whatever belongs to this home."""
    return {"AMITY_DATABASE_URL": servers.database_url, "AMITY_REDIS_URL": servers.redis_url, "AMITY_HOME": str(home)}


def amity(settings: dict[str, str], *arguments: str) -> Any:
    """What a command of ours answers."""
    command = [sys.executable, "-m", "service.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)
