"""deploy/haproxy.cfg in front of two servers that are no replicas: what people get when one of them hangs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.embedded import ROOT, eventually
from tests.programs import program
from tests.reader import free_port

SERVER = """
import http.server, sys

class Named(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

    def log_message(self, *_):
        return

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Named).serve_forever()
"""
PATIENCE_S = 30.0
"""Half of haproxy's `timeout server`."""


@pytest.fixture
def servers() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two, by their ports."""
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        started = {port: stack.enter_context(subprocess.Popen([sys.executable, "-c", SERVER, port])) for port in ports}
        yield started
        for process in started.values():
            process.kill()


@pytest.fixture
def people(servers: dict[str, subprocess.Popen[bytes]], tmp_path: Path) -> Iterator[httpx.Client]:
    """Through haproxy, once it has found both."""
    port = free_port()
    addresses = {f"REPLICA_{number}": f"127.0.0.1:{name}" for number, name in enumerate(servers, 1)}
    settings = {"PATH": os.environ["PATH"], "LISTEN": f"127.0.0.1:{port}", "OPERATIONS": f"127.0.0.1:{free_port()}", **addresses}
    command = [program("haproxy", brought_by="Debian's package haproxy"), "-db", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=settings, stdout=log, stderr=log) as balancer:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            assert eventually(lambda: {answer(client, viewer) for viewer in range(20)} == set(servers))
            yield client
        balancer.kill()


def answer(client: httpx.Client, viewer: int) -> str:
    """The port of whoever answered, or what went wrong."""
    try:
        return client.get(f"/api/v1/recommendations/users/{viewer}/recommendations").text
    except httpx.HTTPError as exc:
        return type(exc).__name__


def test_whoever_asked_a_replica_that_hangs_is_answered_by_another_one(
    servers: dict[str, subprocess.Popen[bytes]], people: httpx.Client
) -> None:
    hanging, other = servers
    viewer = next(viewer for viewer in range(20) if answer(people, viewer) == hanging)
    servers[hanging].send_signal(signal.SIGSTOP)
    assert answer(people, viewer) == other
    servers[hanging].send_signal(signal.SIGCONT)
