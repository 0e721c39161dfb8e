"""Recommendations over HTTP on the demo population: pools in Redis (hits), computed afresh (misses), and a bare callable.

One replica, the load generator and both servers share the machine, so read the ratios; all three are of one run.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import Load, run
from benchmarks.rows import Row

CONNECTIONS = 4
START_LIMIT_S = 60


def measure(environment: dict[str, str], n_viewers: int, n_requests: int) -> list[Row]:
    """Rows for a database and a bundle that are there already; the settings name them in `environment`."""
    viewers = [1 + i % n_viewers for i in range(n_requests)]
    hits = [f"/api/v1/recommendations/users/{viewer}/recommendations" for viewer in viewers]
    misses = [f"{path}?use_cache=false" for path in hits[: max(200, n_requests // 4)]]
    with process([sys.executable, "-m", "service.cli", "serve"], environment, "/health/ready") as port:
        sample = urllib.request.urlopen(f"http://127.0.0.1:{port}{hits[0]}").read()
        asyncio.run(run(port, hits[:n_viewers], CONNECTIONS))
        hit = asyncio.run(run(port, hits, CONNECTIONS))
        miss = asyncio.run(run(port, misses, CONNECTIONS))
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(sample)
        with process([sys.executable, "-m", "benchmarks.bare", body.name], environment, "/") as port:
            bare = asyncio.run(run(port, hits, CONNECTIONS))
    return [*_rows("hit", hit), *_rows("miss", miss), *_rows("bare callable", bare), _ratio(hit, bare)]


def _rows(name: str, load: Load) -> list[Row]:
    return [
        Row(f"{name}: requests", load.per_s, "1/s"),
        Row(f"{name}: p50", load.p50_ms, "ms"),
        Row(f"{name}: p99", load.p99_ms, "ms"),
        Row(f"{name}: failures", load.failures, "requests", target=0, at_most=True),
    ]


def _ratio(hit: Load, bare: Load) -> Row:
    return Row("hit / bare callable", round(hit.per_s / bare.per_s, 3), "ratio of requests/s")


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str], path: str) -> Iterator[int]:
    """A server process on a free port, which is its last argument or its AMITY_PORT; stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    arguments = command if "serve" in command else [*command, str(port)]
    variables = os.environ | environment | {"AMITY_PORT": str(port)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(arguments, env=variables, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}{path}", process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url):  # refused until it listens, 503 until it is ready
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}")
