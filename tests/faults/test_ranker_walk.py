"""The walk that teams come for, as docs/ranker-walk.md tells it: a ranker made elsewhere is put before real people, compared,
given to everybody and taken back, by commands, while three replicas go on answering."""

import json
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.embedded import ROOT, eventually
from tests.faults.conftest import N_PEOPLE, World
from tests.replicas import Replica, amity, environment, replicas
from tests.servers import fetch, run_now

NAME, EXPERIMENT = "early-bird", "walk"
SOON_S = 60.0
ASKED = 60
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@dataclass(slots=True)
class Load:
    """People who ask, and like whom they are shown, on every replica, without a pause."""

    failures: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    degraded: list[Any] = field(default_factory=list)


@contextmanager
def load_on(fleet: list[Replica]) -> Iterator[Load]:
    load, over = Load(), threading.Event()

    def ask(url: str, viewers: Iterator[int]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not over.is_set():
                viewer = next(viewers)
                answer = client.get(f"/api/v1/recommendations/users/{viewer}/recommendations", params={"limit": 5})
                if answer.status_code != 200:
                    load.failures.append(answer.text)
                    continue
                body = answer.json()
                load.answers[body["algorithm_version"]] += 1
                load.degraded += body["degraded"]
                likes = [
                    {"actor_id": viewer, "target_id": person["id"], "kind": "like", "slate_id": body["slate_id"]}
                    for person in body["recommendations"][:1]
                ]
                if likes and viewer % 4 == 0:
                    told = client.post("/api/v1/interactions", json={"interactions": likes})
                    if told.status_code != 201:
                        load.failures.append(told.text)
                over.wait(0.1)

    threads = [
        threading.Thread(target=ask, args=(replica.url, iter(_round(number, len(fleet))))) for number, replica in enumerate(fleet)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def _round(first: int, step: int) -> Iterator[int]:
    while True:
        yield from range(1 + first, N_PEOPLE + 1, step)


def page() -> dict[int, list[str]]:
    """By step, the words of its command."""
    text = (ROOT / "docs" / "ranker-walk.md").read_text()
    found = re.findall(r"^## (\d+)\..*?^```sh\n(.*?)\n```", text, re.MULTILINE | re.DOTALL)
    return {int(step): shlex.split(command) for step, command in found}


@dataclass(frozen=True, slots=True)
class Reader:
    """Does what the page says, in a folder of its own; what is to be installed goes where the replicas look."""

    settings: dict[str, str]
    folder: Path
    commands: dict[int, list[str]]

    def does(self, step: int) -> Any:
        """What an `amity` command says with --json, once it has succeeded."""
        program, *arguments = self.commands[step]
        if program == "pip":
            return self._pip(*arguments)
        if arguments[:2] == ["rankers", "new"]:
            arguments += ["--folder", str(self.folder)]
        ran = amity(self.settings, *arguments, *([] if step == 1 else ["--json"]))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return None if step == 1 else json.loads(ran.stdout)

    def _pip(self, verb: str, *arguments: str) -> None:
        """Without a network, which a build in isolation would need."""
        how = ["--no-build-isolation"] if verb == "wheel" else ["--no-deps", "--target", str(self.folder / "site")]
        command = [sys.executable, "-m", "pip", "--no-input", verb, *arguments, *how, "--no-index"]
        ran = subprocess.run(
            command, cwd=self.folder, env=environment({}), capture_output=True, text=True, timeout=150, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def serving(replica: Replica) -> dict[str, bool]:
    listed = replica.client.get("/api/v1/algorithms").json()["algorithms"]
    return {one["name"]: one["loaded"] for one in listed}


def shown_by(replica: Replica) -> Counter[str]:
    """For how many people each ranker ranks."""
    return Counter(replica.recommend(viewer, limit=3)["algorithm_version"] for viewer in range(1, ASKED + 1))


def counted(world: World, arm: str) -> int:
    query = f"select count(*) from impressions where experiment = '{EXPERIMENT}' and arm = '{arm}'"
    (row,) = run_now(fetch(world.database_url, query))
    return int(row["count"])


def test_a_ranker_made_elsewhere_is_tried_on_people_and_taken_back_with_no_request_lost(world: World, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    settings = world.settings | {"PYTHONPATH": str(tmp_path / "site")}
    reader = Reader(settings, tmp_path, page())
    assert len(reader.commands) == 9
    with replicas(settings, tmp_path, count=3) as fleet, load_on(fleet) as load:
        assert all(NAME not in serving(replica) for replica in fleet)
        for step in (1, 2, 3):
            reader.does(step)
        assert not [law for law in reader.does(4)["laws"] if law["reason"]]
        trained = reader.does(5)
        assert (trained["published"], trained["left_out"]) == (True, {})
        assert eventually(lambda: all(serving(replica).get(NAME) for replica in fleet), SOON_S), "found without a restart"

        reader.does(6)
        assert eventually(lambda: all(shown_by(replica)[NAME] > 0 for replica in fleet), SOON_S)
        few = [shown_by(replica) for replica in fleet]
        assert few[0] == few[1] == few[2]
        assert 0 < few[0][NAME] < ASKED // 4, "half of a tenth of the people"
        assert eventually(lambda: min(counted(world, "control"), counted(world, "treatment")) > 0, SOON_S)
        report = reader.does(7)
        assert {arm["name"] for arm in report["arms"]} == {"control", "treatment"}
        assert report["verdicts"]

        reader.does(8)
        assert eventually(lambda: all(ASKED // 4 < shown_by(replica)[NAME] < ASKED * 3 // 4 for replica in fleet), SOON_S)

        reader.does(9)
        assert eventually(lambda: all(shown_by(replica) == {"v1": ASKED} for replica in fleet), SOON_S)

    assert load.failures == []
    assert load.degraded == []
    assert set(load.answers) == {"v1", NAME}
