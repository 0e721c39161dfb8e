"""Rankers and sources of third parties that hang, raise, exit, lie or cannot be loaded, in a whole replica."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.misbehaving import install, plugins
from tests.replicas import Replica, amity, shown

SOON_S = 60.0
Start = Callable[[dict[str, str]], Replica]

BROKEN_ANSWERS = {
    "raises": "exception",
    "exits": "exception",
    "interrupts": "exception",
    "stops": "exception",
    "ragged": "exception",
    "nan": "nan",
    "short": "wrong_shape",
    "square": "wrong_shape",
    "nothing": "wrong_shape",
    "words": "wrong_dtype",
    "integers": "wrong_dtype",
    "negative": "out_of_range",
    "above": "out_of_range",
}
RANKERS = plugins(
    good="Good",
    hangs="Hangs",
    hangs_too="Hangs",
    hangs_as_well="Hangs",
    hangs_besides="Hangs",
    hangs_still="Hangs",
    spoils="Spoils",
    **{name: name.title() for name in BROKEN_ANSWERS},
)
UNUSABLE = {
    "absent": "no_such_module:Ranker",
    "absent_object": "misbehaving_plugins:NoSuchRanker",
    "exits_on_import": "misbehaving_exit:Ranker",
    "no_factory": "misbehaving_plugins:FOREVER",
    "bare": "misbehaving_plugins",
}
HUNG = ("hangs", "hangs_too", "hangs_as_well", "hangs_besides", "hangs_still")
"""Five that hold two threads each: more than the eight that a replica has."""


@pytest.fixture(scope="module")
def plugged(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a replica that has all the rankers installed."""
    path = install(tmp_path_factory.mktemp("plugins") / "site", RANKERS | UNUSABLE, {})
    return world.changed(DEADLINE_MS="2000") | path


@pytest.fixture(scope="module")
def replica(plugged: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with Replica(plugged, tmp_path_factory.mktemp("plugged") / "replica.log") as started:
        yield started
        assert started.process.poll() is None
        assert "Alice" not in started.said, "a plug-in's message may quote what people wrote"


def by_fallback(answer: dict[str, Any], reason: str) -> bool:
    expected = [{"stage": "ranking", "reason": reason, "fallback": "heuristic"}]
    return (answer["algorithm_version"], answer["degraded"], answer["total_count"]) == ("heuristic", expected, 20)


@pytest.mark.parametrize(("name", "reason"), BROKEN_ANSWERS.items())
def test_a_ranker_that_breaks_its_contract_is_replaced_by_the_heuristic(replica: Replica, name: str, reason: str) -> None:
    answer = replica.recommend(1, algorithm_version=name)
    assert by_fallback(answer, reason), answer
    assert answer["recommendations"][0]["match_score"] > 0
    assert replica.recommend(1, algorithm_version=name)["cached"] is False


@pytest.mark.parametrize("name", ["good", "spoils"])
def test_odd_scores_within_the_contract_are_taken(replica: Replica, name: str) -> None:
    answer = replica.recommend(2, algorithm_version=name)
    assert (answer["algorithm_version"], answer["degraded"], len(set(shown(answer)))) == (name, [], 20)


def test_hung_rankers_take_nobody_else_down(replica: Replica) -> None:
    requests = [(viewer, {"algorithm_version": name, "use_cache": False}) for viewer in range(1, 21) for name in (HUNG[0], "v1")]
    with ThreadPoolExecutor(len(requests)) as threads:
        answers = list(threads.map(lambda asked: replica.recommend(asked[0], **asked[1]), requests))
    hung, fine = answers[::2], answers[1::2]
    assert {answer["algorithm_version"] for answer in hung} == {"heuristic"}
    assert {answer["degraded"][0]["stage"] for answer in hung} == {"ranking"}
    assert {(answer["algorithm_version"], len(answer["degraded"])) for answer in fine} == {("v1", 0)}


def test_many_hung_rankers_leave_threads_for_the_others(replica: Replica) -> None:
    for name in HUNG * 2:
        answer = replica.recommend(3, algorithm_version=name)
        assert (answer["algorithm_version"], answer["total_count"]) == ("heuristic", 20)
    for viewer in range(30, 40):
        answer = replica.recommend(viewer, use_cache=False)
        assert (answer["algorithm_version"], answer["degraded"]) == ("v1", [])
    assert replica.recommend(40, algorithm_version="good", use_cache=False)["algorithm_version"] == "good"


def test_the_breaker_of_a_hung_ranker_is_seen_open(replica: Replica) -> None:
    def breakers() -> dict[str, str]:
        replica.recommend(4, algorithm_version="hangs", use_cache=False)
        listed = replica.client.get("/api/v1/algorithms").json()["algorithms"]
        return {ranker["name"]: ranker["breaker"] for ranker in listed}

    assert eventually(lambda: breakers()["hangs"] == "open", SOON_S)
    assert breakers()["v1"] == "closed"
    assert by_fallback(replica.recommend(5, algorithm_version="hangs", use_cache=False), "circuit_open")


def test_plugins_that_cannot_be_used_are_reported_and_the_service_starts(replica: Replica, plugged: dict[str, str]) -> None:
    assert replica.recommend(6)["degraded"] == []
    for name in UNUSABLE:
        assert f'"ranker": "{name}"' in replica.said or f'"ranker":"{name}"' in replica.said, name
    listed = json.loads(amity(plugged, "rankers", "list", "--json").stdout)
    assert {row["name"] for row in listed if row["problem"]} == set(UNUSABLE)
    refused = replica.client.get("/api/v1/recommendations/users/1/recommendations", params={"algorithm_version": "absent"})
    assert refused.status_code == 422


def test_a_default_ranker_that_cannot_be_used_keeps_the_service_from_starting(plugged: dict[str, str]) -> None:
    done = amity(plugged | {"AMITY_DEFAULT_RANKER": "exits_on_import"}, "serve")
    assert (done.returncode, done.stderr.strip().splitlines()[-1][:7]) == (1, "amity: ")
    assert "exits_on_import" in done.stderr
    assert "Traceback" not in done.stderr


def test_sources_that_misbehave_are_named_and_the_others_serve(world: World, start: Start, tmp_path: Path) -> None:
    sources = plugins(
        find_hangs="FindHangs",
        find_hangs_too="FindHangsToo",
        find_raises="FindRaises",
        find_exits="FindExits",
        find_words="FindWords",
        find_strangers="FindStrangers",
    )
    replica = start(world.changed(DEADLINE_MS="1000") | install(tmp_path / "site", {}, sources))
    for viewer in range(50, 56):
        answer = replica.recommend(viewer)
        named = {bent["stage"] for bent in answer["degraded"]}
        assert named == {f"source:{name}" for name in sources if name != "find_strangers"}, answer["degraded"]
        assert (answer["algorithm_version"], answer["total_count"]) == ("v1", 20)
        assert viewer not in shown(answer)
    assert "Alice" not in replica.said
    replica.terminate()
    assert replica.wait() == 0


def test_without_one_source_that_works_chance_serves(world: World, start: Start, tmp_path: Path) -> None:
    settings = world.changed(SOURCES="find_raises,find_exits") | install(
        tmp_path / "site", {}, plugins(find_raises="FindRaises", find_exits="FindExits")
    )
    answer = start(settings).recommend(57)
    assert answer["total_count"] == 20
    assert {"stage": "retrieval", "reason": "no_source", "fallback": "random"} in answer["degraded"]
    assert {source for person in answer["recommendations"] for source in person["sources"]} == {"random"}
