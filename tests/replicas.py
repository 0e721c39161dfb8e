"""Replicas as they run in production: `amity serve` in processes of their own, which a test can stop, freeze and kill."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.embedded import ROOT, eventually

AMITY = [sys.executable, "-m", "service.cli"]
START_S = 90.0
_STRANGE = re.compile(r"Traceback|Task exception|Exception in|never awaited|unexpected error")
_SERVES = re.compile(r"Amity serves on (http://\S+)")

PATIENT = {
    "AMITY_DEADLINE_MS": "10000",
    "AMITY_DATABASE_TIMEOUT_MS": "5000",
    "AMITY_REDIS_TIMEOUT_MS": "3000",
    "AMITY_BUNDLE_POLL_MS": "200",
}
"""A busy machine must not degrade what is under test."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without its own AMITY_* variables, and with these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AMITY_")}
    return {**clean, **settings}


def amity(settings: Mapping[str, str], *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """One `amity` command, to its end, of the packages in `root`."""
    return subprocess.run(
        [*AMITY, *arguments], cwd=root, env=environment(settings), capture_output=True, text=True, timeout=170, check=False
    )


class Replica:
    """A serving process of the packages in `root`. It starts at once; `url` waits until it answers. What it says goes to the file
    `log`."""

    def __init__(self, settings: Mapping[str, str], log: Path, root: Path = ROOT) -> None:
        self.log = log
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [*AMITY, "serve"],
                cwd=root,
                env=environment({"AMITY_PORT": "0"} | dict(settings)),
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self.process.send_signal(signal.SIGCONT)
        self.kill()

    @property
    def url(self) -> str:
        assert eventually(lambda: self._announced() is not None or self.process.poll() is not None, START_S), self.said
        found = self._announced()
        assert found, self.said
        return found

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def client(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=60)
        return self._client

    def recommend(self, viewer_id: int, **query: Any) -> dict[str, Any]:
        """An answer, which is a 200 whatever happens."""
        answer = self.client.get(f"/api/v1/recommendations/users/{viewer_id}/recommendations", params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def act(self, *acts: tuple[int, int, str]) -> dict[str, Any]:
        """Record (actor, target, kind)s in one request."""
        rows = [{"actor_id": actor, "target_id": target, "kind": kind} for actor, target, kind in acts]
        answer = self.client.post("/api/v1/interactions", json={"interactions": rows})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def patch(self, person_id: int, **changes: Any) -> None:
        answer = self.client.patch(f"/api/v1/users/{person_id}", json=changes)
        assert answer.status_code == 200, answer.text

    def ready(self) -> dict[str, Any]:
        body: dict[str, Any] = self.client.get("/health/ready").json()
        return body

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over all its labels, or the one sample of a name with its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def assert_unharmed(self) -> None:
        """Nothing happened in it that nobody foresaw."""
        strange = [line for line in self.said.splitlines() if _STRANGE.search(line)]
        assert self.metric("amity_unexpected_errors_total") == 0, strange
        assert strange == []

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _announced(self) -> str | None:
        found = _SERVES.search(self.said)
        return found.group(1) if found else None


@contextlib.contextmanager
def replicas(settings: Mapping[str, str], folder: Path, count: int = 2) -> Iterator[list[Replica]]:
    """Some replicas side by side, all answering."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Replica(settings, folder / f"replica-{index}.log")) for index in range(count)]
        assert all(replica.url for replica in started)
        yield started


def shown(answer: Mapping[str, Any]) -> list[int]:
    return [person["id"] for person in answer["recommendations"]]
