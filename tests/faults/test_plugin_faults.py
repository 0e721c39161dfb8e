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
from tests.servers import fetch, run_now

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
    moody="Moody",
    **{name: name.title() for name in BROKEN_ANSWERS},
)
UNUSABLE = {
    "absent": "no_such_module:Ranker",
    "absent_object": "misbehaving_plugins:NoSuchRanker",
    "exits_on_import": "misbehaving_exit:Ranker",
    "imports_nothing": "misbehaving_import:Ranker",
    "no_python": "misbehaving_syntax:Ranker",
    "no_factory": "misbehaving_plugins:FOREVER",
    "bare": "misbehaving_plugins",
}
HUNG = ("hangs", "hangs_too", "hangs_as_well", "hangs_besides", "hangs_still")
"""Five that hold two threads each: more than the eight that a replica has."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-ins are installed."""
    return tmp_path_factory.mktemp("plugins") / "site"


@pytest.fixture(scope="module")
def plugged(world: World, site: Path) -> dict[str, str]:
    """Settings of a replica that has all the rankers installed."""
    return world.changed(DEADLINE_MS="2000") | install(site, RANKERS | UNUSABLE, {})


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


def test_impressions_name_the_ranker_that_really_ranked(replica: Replica, world: World) -> None:
    asked = [replica.recommend(viewer, algorithm_version=name) for viewer, name in ((7, "good"), (8, "raises"), (9, "nan"))]

    def recorded() -> dict[str, tuple[str, bool]]:
        rows = run_now(fetch(world.database_url, "select slate_id, algorithm_version, degraded from impressions"))
        return {str(row["slate_id"]): (row["algorithm_version"], row["degraded"]) for row in rows}

    slates = [answer["slate_id"] for answer in asked]
    assert eventually(lambda: set(slates) <= set(recorded()), SOON_S)
    assert [recorded()[slate] for slate in slates] == [("good", False), ("heuristic", True), ("heuristic", True)]


def test_the_breaker_lets_one_probe_through_and_closes_when_it_is_answered(replica: Replica, site: Path) -> None:
    def ask(viewer: int) -> dict[str, Any]:
        return replica.recommend(viewer, algorithm_version="moody", use_cache=False)

    def breaker() -> str:
        listed = replica.client.get("/api/v1/algorithms").json()["algorithms"]
        return str(next(ranker["breaker"] for ranker in listed if ranker["name"] == "moody"))

    (site / "moody.broken").touch()
    reasons = [ask(viewer)["degraded"][0]["reason"] for viewer in range(60, 65)]
    assert reasons == ["exception"] * 3 + ["circuit_open"] * 2
    assert eventually(lambda: breaker() == "half_open", SOON_S)
    asked_before = len((site / "moody.asked").read_text())
    with ThreadPoolExecutor(8) as threads:
        crowd = list(threads.map(ask, range(65, 73)))
    assert {answer["algorithm_version"] for answer in crowd} == {"heuristic"}
    assert len((site / "moody.asked").read_text()) == asked_before + 1
    (site / "moody.broken").unlink()
    assert eventually(lambda: ask(73)["algorithm_version"] == "moody", SOON_S)
    assert breaker() == "closed"


def test_plugins_that_cannot_be_used_are_reported_and_the_service_starts(replica: Replica, plugged: dict[str, str]) -> None:
    assert replica.recommend(6)["degraded"] == []
    for name in UNUSABLE:
        assert f'"ranker": "{name}"' in replica.said or f'"ranker":"{name}"' in replica.said, name
    listed = json.loads(amity(plugged, "rankers", "list", "--json").stdout)
    assert {row["name"] for row in listed if row["version"] is None} == set(UNUSABLE)
    assert all(row["problem"] and not row["loaded"] for row in listed if row["version"] is None)
    left_out = {row["name"]: row["problem"] for row in replica.client.get("/api/v1/algorithms").json()["left_out"]}
    assert set(left_out) == set(UNUSABLE)
    assert "a_library_that_nobody_has_installed" in left_out["imports_nothing"]
    refused = replica.client.get("/api/v1/recommendations/users/1/recommendations", params={"algorithm_version": "absent"})
    assert refused.status_code == 422


def test_a_default_ranker_that_cannot_be_used_keeps_the_service_from_starting(plugged: dict[str, str]) -> None:
    done = amity(plugged | {"AMITY_DEFAULT_RANKER": "exits_on_import", "AMITY_PORT": "0"}, "serve")
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
