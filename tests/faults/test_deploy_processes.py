"""docs/deploying.md, read and typed from top to bottom: three replicas behind haproxy with an experiment and dashboards, which
give way to others one at a time, and are killed, while people go on asking."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.embedded.lease import Lease
from service.embedded.places import socket_folder
from tests.embedded import ROOT, eventually, everything_stopped
from tests.pages import Block, Shell, blocks
from tests.programs import program
from tests.reader import Reader, free_port, reader_settings
from tests.replicas import PATIENT
from tests.servers import fresh_name, run_home

PAGE = "docs/deploying.md"
PORTS = ("8000", "8001", "8002", "8003", "8404", "9090")
N_PEOPLE = 300
UP_TO_DASHBOARDS = (
    "1. Install",
    "2. Where its state is",
    "3. Schema, people, a first bundle",
    "4. Three replicas",
    "5. The balancer",
    "6. An experiment",
    "7. Dashboards",
)
ANOTHER_VERSION = "8. Another version, one replica at a time"
TO_THE_END = ("9. For others to reach", "10. Stop")
FOLDER = "amity-three"
WAYS_TO_METRICS = ("/metrics", "/metrics/", "//metrics", "/%6Detrics")
SCRAPED_S = 40.0
INSTEAD = {"make install": "true", "amity demo": f"amity demo --people {N_PEOPLE}"}
SOONER = {"promtool check config": 'sed -i s/15s/3s/ "$AMITY_HOME/prometheus/prometheus.yml"; promtool check config'}
"""Prometheus asks every 15 s, which is long to wait for."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(slots=True)
class Traffic:
    """What people got; `failures` by the method that they used."""

    n_answers: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def note(self, client: httpx.Client, method: str, path: str, **body: Any) -> None:
        try:
            answer = client.request(method, path, **body)
        except httpx.TransportError as exc:
            self.failures.append((method, repr(exc)))
            return
        self.n_answers += 1
        if answer.status_code not in (200, 201):
            self.failures.append((method, f"{answer.status_code} {answer.text}"))


@contextmanager
def traffic(url: str) -> Iterator[Traffic]:
    """People who ask without a pause, over connections that are kept, and record what they do."""
    seen, over = Traffic(), threading.Event()

    def ask(first: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            viewer = first
            while not over.wait(0.15):
                viewer = viewer % N_PEOPLE + 1
                act = {"actor_id": viewer, "target_id": viewer % N_PEOPLE + 1, "kind": "view"}
                seen.note(client, "GET", f"/api/v1/recommendations/users/{viewer}/recommendations")
                seen.note(client, "POST", "/api/v1/interactions", json={"interactions": [act]})

    threads = [threading.Thread(target=ask, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@pytest.fixture
def home(servers: Lease) -> Iterator[Path]:
    """A reader's home folder, whose private servers are gone in the end. It lies where the keeper of `servers` tidies up."""
    path = run_home() / fresh_name("reader")
    path.mkdir()
    yield path
    for log in sorted((path / FOLDER).glob("*.log")):  # shown when the test has failed
        print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-20:], sep="\n")  # noqa: T201
    assert eventually(lambda: everything_stopped(path / FOLDER))
    for folder in (path, socket_folder(path / FOLDER)):
        shutil.rmtree(folder, ignore_errors=True)


def crash(home: Path, shell: Shell, asked: Traffic, port: str) -> None:
    """Kill the replica of the page's port while people ask, see that the others go on, and start it again."""
    pid = int((home / FOLDER / f"replica-{shell.changed(port)}.pid").read_text())
    before = asked.n_answers
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: asked.n_answers > before + 30), "the others go on"
    shell.types(Block(PAGE, "after a crash", "sh", f"replica {port}\nready replica-{port} {port}\n", line=0))


def asked_for(prometheus: str, query: str) -> list[float]:
    found = httpx.get(f"http://127.0.0.1:{prometheus}/api/v1/query", params={"query": query}).json()
    return [float(one["value"][1]) for one in found["data"]["result"]]


def test_a_reader_gets_from_a_checkout_to_three_replicas_with_dashboards_and_an_experiment(home: Path, tmp_path: Path) -> None:
    program("haproxy", brought_by="Debian's package haproxy")
    ports = {port: free_port() for port in PORTS}
    url = f"http://127.0.0.1:{ports['8000']}"
    with Shell(tmp_path, reader_settings(home, **PATIENT), ports) as shell:
        reader = Reader(shell, ports["8000"], INSTEAD | (SOONER if shutil.which("prometheus") else {}))
        reader.command_s = 300  # on a machine where ten others are at work: a replica that starts there takes half a minute
        reader.reads(PAGE, *UP_TO_DASHBOARDS)
        reader.reads(PAGE, "On Kubernetes")
        reader.reads("docs/sizing.md")
        assert {httpx.get(f"{url}{path}").status_code for path in WAYS_TO_METRICS} == {404}
        with traffic(url) as asked:
            reader.reads(PAGE, ANOTHER_VERSION)
            assert asked.n_answers > 50
            assert asked.failures == [], "replicas give way without a failure"
            crash(home, shell, asked, "8002")
        assert [failure for failure in asked.failures if failure[0] == "GET"] == [], "nobody's question is lost with a replica"
        if shutil.which("prometheus"):
            assert eventually(lambda: asked_for(ports["9090"], 'up{job="amity"}') == [1, 1, 1], SCRAPED_S)
            assert sum(asked_for(ports["9090"], "amity_recommendations_total")) > 0
        reader.reads(PAGE, *TO_THE_END)
    assert reader.unused == set()


def test_the_test_reads_all_of_the_part_on_processes() -> None:
    numbered = [block.heading for block in blocks(ROOT / PAGE) if block.can_run and block.heading[:1].isdigit()]
    assert set(numbered) == {*UP_TO_DASHBOARDS, ANOTHER_VERSION, *TO_THE_END}
