"""docs/upgrading.md, step by step: schema, code and bundle forward and back, by processes of this version and of the next, under
load. Commands are those of the page."""

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.artifacts.bundle import MANIFEST
from tests.embedded import ROOT, eventually
from tests.faults.conftest import World
from tests.faults.rotation import Rotation
from tests.next_version import NextVersion, next_version
from tests.pages import blocks
from tests.replicas import Replica, amity
from tests.servers import execute, fetch, run_now

PAGE = ROOT / "docs" / "upgrading.md"
SOON_S = 60.0
REFUSED = 'amity_bundle_loads_total{outcome="refused"}'
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@dataclass(slots=True)
class Operator:
    """Does what the page says. `words` of the page have others here: the names of revisions and bundles."""

    world: World
    folder: Path
    words: dict[str, str]
    rotation: Rotation
    stack: ExitStack
    fleet: list[Replica] = field(default_factory=list)

    def command(self, step: int) -> list[str]:
        """The words of a step's one command, without `amity`."""
        [block] = [block for block in blocks(PAGE) if block.heading.startswith(f"{step}. ")]
        program, *arguments = shlex.split(block.text)
        assert program == "amity"
        return [self.words.get(word, word) for word in arguments]

    def runs(self, step: int, root: Path = ROOT) -> dict[str, Any]:
        """What the step's command says with --json, under load, by the version in `root`."""
        ran = amity(self.world.settings, *self.command(step), "--json", root=root)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert self.rotation.has_answered_more()
        said: dict[str, Any] = json.loads(ran.stdout)
        return said

    def is_refused(self, step: int, root: Path = ROOT) -> str:
        """What the step's command complains of."""
        ran = amity(self.world.settings, *self.command(step), root=root)
        assert ran.returncode == 1, ran.stdout
        return ran.stderr

    def starts(self, step: int, root: Path) -> Replica:
        """One more replica of the version in `root`, in the rotation once it is ready."""
        assert self.command(step) == ["serve"]
        log = self.folder / f"replica-{len(list(self.folder.glob('*.log')))}.log"
        replica = self.stack.enter_context(Replica(self.world.settings, log, root))
        self.rotation.add(replica)
        self.fleet.append(replica)
        return replica

    def ends_the_oldest(self) -> None:
        """In good order; nothing unforeseen happened in it."""
        replica = self.fleet.pop(0)
        self.rotation.take_out(replica)
        replica.assert_unharmed()
        replica.terminate()
        assert replica.wait() == 0
        assert "Traceback" not in replica.said

    def everywhere(self, person: int) -> None:
        """What one replica is told of a person, all others tell."""
        for number, told in enumerate(self.fleet):
            told.patch(person, bio=f"told to {number}")
            for asked in self.fleet:
                path = f"/api/v1/users/{person}"
                assert eventually(lambda: asked.client.get(path).json()["bio"] == f"told to {number}", SOON_S)  # noqa: B023

    def serve(self, bundle: str) -> bool:
        return eventually(lambda: all(each.recommend(1)["bundle_version"] == bundle for each in self.fleet), SOON_S)


@pytest.fixture(scope="module")
def coming(tmp_path_factory: pytest.TempPathFactory) -> NextVersion:
    return next_version(tmp_path_factory.mktemp("next"))


@contextmanager
def operator(world: World, coming: NextVersion, folder: Path) -> Iterator[Operator]:
    """With a replica of this version, and callers until the end: none of their requests has failed or was degraded."""
    words = {"0007": coming.before, "0009": coming.values, "20261122T101500-5f3c": world.newer}
    rotation = Rotation()
    with ExitStack() as stack:
        acting = Operator(world, folder, words, rotation, stack)
        acting.starts(2, ROOT)
        with rotation.called():
            yield acting
            for replica in list(acting.fleet):
                replica.assert_unharmed()
        assert rotation.failures == []
        assert rotation.degraded == []


def names(world: World) -> set[str]:
    query = "select application_name from pg_stat_activity where datname = current_database() and application_name like 'amity%'"
    return {row[0] for row in run_now(fetch(world.database_url, query))}


def test_every_step_forward_and_back_loses_no_request(world: World, coming: NextVersion, tmp_path: Path) -> None:
    ours = f"amity {coming.before}..{coming.before}"
    theirs = f"amity {coming.values}..{coming.contract}"
    with operator(world, coming, tmp_path) as acting:
        expanded = acting.runs(1, coming.root)
        assert (expanded["applied"], expanded["waiting"]) == ([coming.column, coming.values], [coming.contract])

        acting.starts(2, coming.root)
        assert names(world) == {ours, theirs}
        acting.everywhere(7)
        assert f"{ours} (" in acting.is_refused(4, coming.root)
        publishes_and_takes_back(acting)

        acting.starts(2, coming.root)
        acting.ends_the_oldest()
        assert acting.runs(4, coming.root)["applied"] == [coming.contract]
        acting.everywhere(8)
        assert f"a version that knows revision {coming.values} can run on it" in does_not_start(world, ROOT)

        assert acting.runs(5, coming.root)["undone"] == [coming.contract]
        acting.starts(3, ROOT)
        acting.everywhere(9)
        acting.ends_the_oldest()
        acting.ends_the_oldest()
        assert acting.runs(6, coming.root)["undone"] == [coming.values, coming.column]
        acting.everywhere(10)


def publishes_and_takes_back(acting: Operator) -> None:
    """Another bundle, the one before it, and one of a layout that nobody knows."""
    world = acting.world
    acting.runs(7)
    assert acting.serve(world.newer)
    acting.runs(8)
    assert acting.serve(world.older)

    manifest = world.artifacts / world.newer / MANIFEST
    manifest.write_bytes(msgspec.json.encode(msgspec.json.decode(manifest.read_bytes()) | {"schema": 99}))
    assert f"bundle {world.newer}: {MANIFEST} has schema 99" in acting.is_refused(7)
    before = [replica.metric(REFUSED) for replica in acting.fleet]
    run_now(execute(world.database_url, [f"update live_bundle set version = '{world.newer}'"]))
    for replica, n_refused in zip(acting.fleet, before, strict=True):
        assert eventually(lambda: replica.metric(REFUSED) > n_refused, SOON_S)  # noqa: B023
    assert acting.serve(world.older)
    run_now(execute(world.database_url, [f"update live_bundle set version = '{world.older}'"]))


def does_not_start(world: World, root: Path) -> str:
    ran = amity(world.changed(PORT="0"), "serve", root=root)
    assert ran.returncode == 1, ran.stdout
    return ran.stderr
