"""`amity train` with rankers that fail in every way there is, and the replica that serves the bundle which comes of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.conftest import World
from tests.faults.misbehaving import install, plugins
from tests.replicas import Replica, amity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FAILING = {
    "train_raises": ("TrainRaises", "cannot be trained: MemoryError: too many pairs"),
    "train_exits": ("TrainExits", "cannot be trained: SystemExit: 3"),
    "dumps_objects": ("DumpsObjects", "dumps 'ranker' of dtype object: not a plain array"),
    "cannot_load": ("CannotLoad", "cannot be loaded: ValueError: three knots too few"),
    "integers": ("LearnsIntegers", "cannot score: scores of dtype int64"),
    "short": ("LearnsShort", "cannot score: scores of shape "),
    "negative": ("LearnsNegative", "cannot score: scores that are no probabilities"),
    "nan": ("LearnsNan", "cannot score: scores that are no numbers"),
}


@pytest.fixture(scope="module")
def plugged(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of the world with the learners installed."""
    learners = {name: value for name, (value, _) in FAILING.items()}
    learners |= {"learns": "Learns", "forgets": "Forgets", "long_lists": "LongLists"}
    return world.settings | install(tmp_path_factory.mktemp("learners") / "site", plugins(**learners), {})


@pytest.fixture(scope="module")
def trained(plugged: dict[str, str]) -> dict[str, Any]:
    """What the training said of itself."""
    done = amity(plugged, "train", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def replica(plugged: dict[str, str], trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with Replica(plugged, tmp_path_factory.mktemp("trained") / "replica.log") as started:
        yield started
        assert started.process.poll() is None


def test_rankers_that_fail_are_left_out_by_name_and_the_others_are_published(trained: dict[str, Any]) -> None:
    left_out = trained["left_out"]
    assert set(left_out) == set(FAILING)
    for name, (_, said) in FAILING.items():
        assert said in left_out[name]
    assert (trained["published"], trained["stand_in"]) == (True, None)
    assert {"auc", "learns_auc"} <= set(trained["metrics"])


def test_what_learnt_serves_and_what_was_left_out_is_replaced(replica: Replica, trained: dict[str, Any]) -> None:
    served = replica.recommend(1, algorithm_version="learns")
    assert (served["algorithm_version"], served["degraded"]) == ("learns", [])
    for name in FAILING:
        answer = replica.recommend(2, algorithm_version=name)
        assert answer["algorithm_version"] == "heuristic"
        assert answer["degraded"] == [{"stage": "ranking", "reason": "missing_bundle", "fallback": "heuristic"}]
    assert replica.recommend(3)["algorithm_version"] == "v1"


def test_one_that_trained_and_cannot_load_in_a_replica_is_replaced_and_says_so(replica: Replica, plugged: dict[str, str]) -> None:
    answer = replica.recommend(4, algorithm_version="forgets")
    assert (answer["algorithm_version"], answer["degraded"][0]["reason"]) == ("heuristic", "missing_bundle")
    listed = {ranker["name"]: ranker for ranker in replica.client.get("/api/v1/algorithms").json()["algorithms"]}
    assert (listed["forgets"]["loaded"], listed["learns"]["loaded"]) == (False, True)
    assert listed["forgets"]["problem"] == "cannot be loaded: ValueError: never trained here"
    rows = {row["name"]: row for row in json.loads(amity(plugged, "rankers", "list", "--json").stdout)}
    assert rows["forgets"]["problem"] == listed["forgets"]["problem"]
    assert rows["learns"]["bundle_version"] == answer["bundle_version"]


def test_the_default_that_fails_while_lists_are_judged_leaves_the_live_bundle_be(
    plugged: dict[str, str], trained: dict[str, Any]
) -> None:
    """It was good enough for the bundle in which it was not the default; whole lists are its undoing."""
    done = amity(plugged | {"AMITY_DEFAULT_RANKER": "long_lists"}, "train")
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("amity: bundle ")
    assert "the default ranker 'long_lists' is left out of it (cannot score: IndexError: out of room)" in said
    live = [record["version"] for record in json.loads(amity(plugged, "bundles", "list", "--json").stdout) if record["live"]]
    assert live == [trained["version"]]
