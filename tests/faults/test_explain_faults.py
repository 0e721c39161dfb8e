"""Rankers that rank well and explain badly, and rankers that misbehave in the shadow, in a whole replica."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.misbehaving import install
from tests.replicas import Replica

Start = Callable[[dict[str, str]], Replica]

MODULE = """
import sys
import threading

import numpy as np
from misbehaving_plugins import Factory, throw

FOREVER = threading.Event()


class Explains(Factory):
    def scores(self, batch, n):
        return np.linspace(0, 1, n, dtype=np.float32)


def explainer(name, contributions):
    globals()[name] = type(name, (Explains,), {"contributions": lambda self, batch: contributions(batch)})


explainer("Well", lambda batch: np.full(batch.features.shape, 0.5, np.float32))
explainer("Raises", lambda batch: throw(ValueError("Alice is 28")))
explainer("Exits", lambda batch: sys.exit(3))
explainer("Hangs", lambda batch: FOREVER.wait())
explainer("Nan", lambda batch: np.full(batch.features.shape, np.nan, np.float32))
explainer("Flat", lambda batch: np.zeros(len(batch.features), np.float32))
explainer("Words", lambda batch: [["high"] * batch.features.shape[1]] * len(batch.features))
"""
BROKEN = {
    "raises": "exception",
    "exits": "exception",
    "hangs": "timeout",
    "nan": "nan",
    "flat": "wrong_shape",
    "words": "wrong_dtype",
}
RANKERS = {name: f"explaining_plugins:{name.title()}" for name in ("well", *BROKEN)} | {
    "silent": "misbehaving_plugins:Good",
    "shadow_raises": "misbehaving_plugins:Raises",
    "shadow_hangs": "misbehaving_plugins:Hangs",
}


@pytest.fixture(scope="module")
def plugged(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a replica that has all the rankers installed."""
    site = tmp_path_factory.mktemp("explainers") / "site"
    path = install(site, RANKERS, {})
    (site / "explaining_plugins.py").write_text(MODULE)
    return world.changed(DEADLINE_MS="2000") | path


@pytest.fixture(scope="module")
def replica(plugged: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with Replica(plugged, tmp_path_factory.mktemp("explained") / "replica.log") as started:
        yield started
        assert started.process.poll() is None
        assert "Alice" not in started.said, "a plug-in's message may quote what people wrote"


def explained(replica: Replica, viewer: int, name: str) -> dict[str, Any]:
    return replica.recommend(viewer, algorithm_version=name, explain=True)


@pytest.mark.parametrize("name", ["v1", "v2", "heuristic", "well"])
def test_every_reason_is_borne_out_by_the_two_profiles(replica: Replica, name: str) -> None:
    said = 0
    for viewer in range(1, 9):
        own = replica.client.get(f"/api/v1/users/{viewer}").json()
        answer = explained(replica, viewer, name)
        assert (answer["explained"], answer["degraded"], answer["algorithm_version"]) == (True, [], name)
        for person in answer["recommendations"]:
            assert len(set(person["reasons"])) == len(person["reasons"]) <= 3
            for reason in person["reasons"]:
                said += 1
                assert_true(reason, own, person)
    assert said > 20


def assert_true(reason: str, viewer: dict[str, Any], person: dict[str, Any]) -> None:
    if shared := re.fullmatch(r"shares (.+?)(?: and \d+ more interests?)?", reason):
        named = re.split(r", | and ", shared.group(1))
        assert set(named) <= set(viewer["interests"]) & set(person["interests"]), (reason, viewer, person)
    if reason == "is about your age":
        assert abs(viewer["age"] - person["age"]) <= 3
    if also := re.fullmatch(r"also in (.+)", reason):
        assert viewer["location"] == person["location"] == also.group(1)


def test_one_that_cannot_explain_says_so(replica: Replica) -> None:
    answer = explained(replica, 10, "silent")
    assert (answer["explained"], answer["degraded"], answer["total_count"]) == (False, [], 20)
    assert {tuple(person["reasons"]) for person in answer["recommendations"]} == {()}


@pytest.mark.parametrize(("name", "reason"), BROKEN.items())
def test_one_that_explains_badly_is_named_and_ranks_on(replica: Replica, name: str, reason: str) -> None:
    answer = explained(replica, 11, name)
    assert answer["degraded"] == [{"stage": "explain", "reason": reason, "fallback": None}]
    assert (answer["algorithm_version"], answer["total_count"], answer["explained"]) == (name, 20, False)
    again = replica.recommend(11, algorithm_version=name)
    assert (again["algorithm_version"], again["cached"], again["degraded"]) == (name, True, [])


def test_a_failed_ranker_is_explained_by_the_one_that_stepped_in(replica: Replica) -> None:
    answer = explained(replica, 12, "shadow_raises")
    assert (answer["algorithm_version"], answer["explained"]) == ("heuristic", True)
    assert [bent["stage"] for bent in answer["degraded"]] == ["ranking"]
    assert any(person["reasons"] for person in answer["recommendations"])


@pytest.mark.parametrize(("name", "reason"), [("shadow_raises", "exception"), ("shadow_hangs", "timeout")])
def test_the_callers_candidates_are_ranked_though_the_named_ranker_fails(replica: Replica, name: str, reason: str) -> None:
    given = {"candidate_ids": list(range(1, 101))}
    answer = replica.client.post("/api/v1/recommendations/users/13/rank", params={"algorithm_version": name}, json=given)
    body = answer.json()
    assert (answer.status_code, body["algorithm_version"], body["degraded"][0]["stage"]) == (200, "heuristic", "ranking")
    assert body["degraded"][0]["reason"] in (reason, "circuit_open")
    assert len(body["ranked"]) + len(body["ineligible"]) == 100


@pytest.mark.parametrize(("name", "reason"), [("shadow_raises", "exception"), ("shadow_hangs", "timeout"), ("gone", None)])
def test_what_misbehaves_in_the_shadow_touches_no_answer(
    plugged: dict[str, str], start: Start, name: str, reason: str | None
) -> None:
    replica = start(plugged | {"AMITY_SHADOW_RANKER": name, "AMITY_SHADOW_SHARE": "1"})
    for viewer in range(20, 26):
        answer = replica.recommend(viewer, use_cache=False)  # only new pools are scored in the shadow
        assert (answer["algorithm_version"], answer["degraded"], answer["total_count"]) == ("v1", [], 20)
    failed = f'amity_shadow_failures_total{{ranker="{name}",reason="{reason or "missing_bundle"}"}}'
    assert eventually(lambda: failed in replica.client.get("/metrics").text, 30)
    replica.terminate()
    assert replica.wait() == 0
    assert (f'"ranker":"{name}"' in replica.said or f'"ranker": "{name}"' in replica.said) is (reason is None)


def test_a_ranker_in_the_shadow_is_compared_with_the_one_that_serves(plugged: dict[str, str], start: Start) -> None:
    replica = start(plugged | {"AMITY_SHADOW_RANKER": "heuristic", "AMITY_SHADOW_SHARE": "1", "AMITY_RANKERS": "v1"})
    for viewer in range(30, 34):
        assert replica.recommend(viewer, use_cache=False)["algorithm_version"] == "v1"
    names = ("rank_correlation", "score_drift")
    counts = [f'amity_shadow_{name}_bucket{{against="v1",le="+Inf",ranker="heuristic"}} 4.0' for name in names]
    counts.append('amity_shadow_seconds_count{ranker="heuristic"} 4.0')
    assert eventually(lambda: all(count in replica.client.get("/metrics").text for count in counts), 30)
    replica.assert_unharmed()
