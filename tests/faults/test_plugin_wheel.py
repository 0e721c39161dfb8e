"""A ranker from `amity rankers new` to people: built as a wheel, installed where a deployment looks, checked, trained, served."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica, amity, environment
from tests.servers import fetch, run_now

NAME = "night-owl"
SOON_S = 60.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments, "--no-deps", "--no-index"]
    done = subprocess.run(command, env=environment({}), capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployment(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a deployment into whose environment the new ranker's wheel was installed; built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    made = amity(world.settings, "rankers", "new", NAME, "--folder", str(folder))
    assert made.returncode == 0, made.stderr
    pip("wheel", str(folder / NAME), "--no-build-isolation", "--wheel-dir", str(folder / "wheels"))
    (wheel,) = (folder / "wheels").iterdir()
    assert wheel.name == "night_owl_ranker-0.1.0-py3-none-any.whl"
    pip("install", str(wheel), "--target", str(folder / "site"))
    return world.settings | {"PYTHONPATH": str(folder / "site")}


@pytest.fixture(scope="module")
def trained(deployment: dict[str, str]) -> str:
    """The version of the bundle that it learnt for."""
    before = {row["name"]: row for row in json.loads(amity(deployment, "rankers", "list", "--json").stdout)}
    assert (before[NAME]["distribution"], before[NAME]["loaded"]) == ("night-owl-ranker", False)
    assert "holds no ranker 'night-owl'" in before[NAME]["problem"]
    done = amity(deployment, "train", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["left_out"] == {}
    assert report["metrics"][f"{NAME}_log_loss"] < report["metrics"]["constant_log_loss"]
    return str(report["version"])


@pytest.fixture(scope="module")
def replica(deployment: dict[str, str], trained: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with Replica(deployment, tmp_path_factory.mktemp("serving") / "replica.log") as started:
        yield started
        started.assert_unharmed()


def test_it_keeps_the_contract_where_it_is_installed(deployment: dict[str, str]) -> None:
    done = amity(deployment, "rankers", "check", NAME, "--json")
    assert done.returncode == 0, done.stdout
    laws = json.loads(done.stdout)["laws"]
    assert len(laws) > 15
    assert not [law for law in laws if law["reason"]], "a new ranker keeps every law, and each applies to it"


def test_it_learns_and_is_listed_with_the_bundle_that_it_is_loaded_from(deployment: dict[str, str], trained: str) -> None:
    rows = {row["name"]: row for row in json.loads(amity(deployment, "rankers", "list", "--json").stdout)}
    assert (rows[NAME]["loaded"], rows[NAME]["bundle_version"], rows[NAME]["problem"]) == (True, trained, None)
    table = amity(deployment | {"COLUMNS": "200"}, "rankers", "list").stdout
    assert f"loaded from {trained}" in table


def test_it_ranks_for_whoever_asks_for_it_and_its_impressions_name_it(replica: Replica, world: World, trained: str) -> None:
    answer = replica.recommend(1, algorithm_version=NAME, use_cache=False)
    assert (answer["algorithm_version"], answer["bundle_version"], answer["degraded"]) == (NAME, trained, [])
    scores = [person["match_score"] for person in answer["recommendations"] if person["slot"] == "ranked"]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1
    query = f"select algorithm_version, bundle_version from impressions where slate_id = '{answer['slate_id']}'"
    assert eventually(lambda: bool(run_now(fetch(world.database_url, query))), SOON_S)
    (row,) = run_now(fetch(world.database_url, query))
    assert (row["algorithm_version"], row["bundle_version"]) == (NAME, trained)


def test_it_gives_reasons(replica: Replica) -> None:
    answer = replica.recommend(2, algorithm_version=NAME, explain=True)
    assert any(person["reasons"] for person in answer["recommendations"])


def test_the_default_goes_on_beside_it(replica: Replica) -> None:
    answer = replica.recommend(3)
    assert (answer["algorithm_version"], answer["degraded"]) == ("v1", [])
