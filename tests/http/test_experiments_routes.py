"""Experiments over HTTP: made, started, ramped, stopped, and refused by name."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from service.domain import Profile
from service.domain_experiments import Experiment
from service.settings import Settings
from tests.assignment import arm_index, takes_part
from tests.http.conftest import serving
from tests.http.test_hot_path import ask, the_long_way, warmed

EXPERIMENTS = "/api/v1/experiments"
ARMS = [{"name": "control", "algorithm_version": "heuristic"}, {"name": "treatment", "algorithm_version": "heuristic"}]


def body(**changes: Any) -> dict[str, Any]:
    return {"name": "trial", "traffic": 1.0, "arms": ARMS, **changes}


@pytest.fixture
async def heuristic(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    """Nothing is degraded, and whoever asks twice gets the same people twice."""
    async with serving(msgspec.structs.replace(settings, exploration_share=0.0, default_ranker="heuristic")) as opened:
        yield opened


async def created(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post(EXPERIMENTS, json=body(**changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def patched(client: httpx.AsyncClient, name: str = "trial", **changes: Any) -> dict[str, Any]:
    answer = await client.patch(f"{EXPERIMENTS}/{name}", json=changes)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def arm_of(client: httpx.AsyncClient, viewer_id: int, query: str = "") -> dict[str, str] | None:
    answer = (await client.get(f"/api/v1/recommendations/users/{viewer_id}/recommendations{query}")).json()
    found: dict[str, str] | None = answer["experiment"]
    return found


async def refused(
    client: httpx.AsyncClient, given: dict[str, Any] | bytes, method: str = "POST", name: str = ""
) -> tuple[int, Any]:
    content = given if isinstance(given, bytes) else msgspec.json.encode(given)
    path = f"{EXPERIMENTS}/{name}" if name else EXPERIMENTS
    answer = await client.request(method, path, content=content, headers={"content-type": "application/json"})
    detail = answer.json()["detail"]
    return answer.status_code, {one["field"]: one["message"] for one in detail} if isinstance(detail, list) else detail


async def test_a_draft_is_made_as_asked_and_holds_nobody(heuristic: httpx.AsyncClient) -> None:
    made = await created(heuristic, guardrails={"max_p95_ms": 80, "stop": True})
    assert (made["status"], made["design"], made["unit"], made["salt"], made["buckets"]) == ("draft", "ab", "viewer", "trial", [])
    assert [arm["weight"] for arm in made["arms"]] == [1.0, 1.0]
    assert (await heuristic.get(f"{EXPERIMENTS}/trial")).json() == made
    assert (await heuristic.get(EXPERIMENTS)).json()["experiments"] == [made]
    assert await arm_of(heuristic, 1) is None


async def test_starting_ramping_and_stopping_count_in_the_next_answer(heuristic: httpx.AsyncClient) -> None:
    await created(heuristic, traffic=0.5)
    started = await patched(heuristic, status="running")
    assert (started["status"], started["buckets"]) == ("running", [[0, 5000]])
    trial = msgspec.convert(started, Experiment)
    before = {viewer: await arm_of(heuristic, viewer) for viewer in range(1, 31)}
    for viewer, arm in before.items():
        assigned = {"name": "trial", "arm": ARMS[arm_index(trial, str(viewer))]["name"]}
        assert arm == (assigned if takes_part(trial, str(viewer)) else None)
    await patched(heuristic, traffic=1.0)
    after = {viewer: await arm_of(heuristic, viewer) for viewer in range(1, 31)}
    assert None not in after.values()
    assert all(after[viewer] == arm for viewer, arm in before.items() if arm)
    await patched(heuristic, status="stopped")
    assert {viewer: await arm_of(heuristic, viewer) for viewer in range(1, 31)} == dict.fromkeys(range(1, 31))


async def test_a_named_algorithm_and_a_stopped_arm_are_outside_of_it(heuristic: httpx.AsyncClient) -> None:
    await created(heuristic)
    await patched(heuristic, status="running")
    treated = [viewer for viewer in range(1, 31) if (await arm_of(heuristic, viewer) or {}).get("arm") == "treatment"]
    assert await arm_of(heuristic, treated[0], "?algorithm_version=heuristic") is None
    await patched(heuristic, stop_arm="treatment")
    arms = {viewer: await arm_of(heuristic, viewer) for viewer in range(1, 31)}
    assert [viewer for viewer, arm in arms.items() if arm is None] == treated


async def test_the_short_way_answers_as_the_controller_while_experiments_come_and_go(heuristic: httpx.AsyncClient) -> None:
    await warmed(heuristic, 1, "?limit=5")
    await created(heuristic)
    for changes in ({"status": "running"}, {"traffic": 0.3}, {"stop_arm": "treatment"}, {"status": "stopped"}):
        await patched(heuristic, **changes)
        for viewer in map(str, range(1, 9)):
            for _ in range(3):  # made, kept, and served from what is kept
                await ask(heuristic, viewer, "?limit=5")
            short = await ask(heuristic, viewer, "?limit=5")
            with the_long_way(heuristic):
                assert short == await ask(heuristic, viewer, "?limit=5")


async def test_impressions_bear_the_arm_and_the_time_empty_ones_too(heuristic: httpx.AsyncClient, database_url: str) -> None:
    await created(heuristic)
    await patched(heuristic, status="running")
    assert (await heuristic.get("/api/v1/recommendations/users/1/recommendations?limit=5")).json()["total_count"] == 5
    assert (await heuristic.get("/api/v1/recommendations/users/1/recommendations?location=Nowhere")).json()["total_count"] == 0
    connection = await asyncpg.connect(database_url)
    for _ in range(200):
        rows = await connection.fetch("select * from impressions order by served_at")
        if len(rows) == 2:
            break
        await asyncio.sleep(0.05)
    await connection.close()
    assert [len(row["candidate_ids"]) for row in rows] == [5, 0]
    assert {row["experiment"] for row in rows} == {"trial"}
    assert rows[0]["arm"] == rows[1]["arm"]
    assert all(row["generation_ms"] > 0 for row in rows)


WRONG = [
    ({"arms": [ARMS[0], ARMS[1] | {"weight": 0}]}, "arms[1].weight", "must be more than 0"),
    ({"arms": [ARMS[0], ARMS[1] | {"weight": -1}]}, "arms[1].weight", "must be more than 0"),
    ({"arms": [ARMS[0], ARMS[1] | {"weight": "1"}]}, "arms[1].weight", "must be a number"),
    ({"arms": [ARMS[0], ARMS[1] | {"algorithm_version": "v99"}]}, "arms[1].algorithm_version", "no ranker named 'v99'"),
    ({"arms": [ARMS[0], ARMS[0]]}, "arms[1].name", "is the name of another arm"),
    ({"arms": [ARMS[0]]}, "arms", "must have at least 2 entries"),
    ({"design": "interleaving", "arms": [*ARMS, ARMS[0] | {"name": "third"}]}, "arms", "must be two for interleaving"),
    ({"design": "bandit"}, "design", "must be one of ab, interleaving"),
    ({"traffic": 0}, "traffic", "must be more than 0"),
    ({"traffic": 1.1}, "traffic", "must be at most 1"),
    ({"traffic": None}, "traffic", "must be a number"),
    ({"name": "a b"}, "name", "must be 1 to 100 letters"),
    ({"name": ""}, "name", "must have at least 1 character"),
    ({"layer": "a/b"}, "layer", "must be 1 to 100 letters"),
    ({"unit": "cluster"}, "cluster_by", "must be given with the unit cluster"),
    ({"guardrails": {"max_p95_ms": -1}}, "guardrails.max_p95_ms", "must be at least 0"),
    ({"guardrails": {"max_p99_ms": 1}}, "guardrails.max_p99_ms", "is not a known field"),
    ({"trafic": 1}, "trafic", "is not a known field"),
    ({"salt": "a\0b"}, "salt", "must not contain the character NUL"),
]


@pytest.mark.parametrize(("changes", "field", "message"), WRONG, ids=[f"{field}-{i}" for i, (_, field, _) in enumerate(WRONG)])
async def test_what_is_wrong_is_refused_by_name(
    heuristic: httpx.AsyncClient, changes: dict[str, Any], field: str, message: str
) -> None:
    status, found = await refused(heuristic, body(**changes))
    assert (status, list(found)) == (422, [field])
    assert found[field].startswith(message)
    assert (await heuristic.get(EXPERIMENTS)).json()["experiments"] == []


async def test_weights_that_no_number_holds_are_refused(heuristic: httpx.AsyncClient) -> None:
    for weight in (b"1e999", b"NaN", b"-Infinity"):
        given = msgspec.json.encode(body()).replace(b'"algorithm_version"', b'"weight":' + weight + b',"algorithm_version"')
        status, _ = await refused(heuristic, given)
        assert status in (400, 422), weight


async def test_conflicts_say_with_what(heuristic: httpx.AsyncClient) -> None:
    await created(heuristic, layer="ranking", traffic=0.6)
    await created(heuristic, name="second", layer="ranking", traffic=0.5)
    await patched(heuristic, status="running")
    assert await refused(heuristic, body()) == (409, "there is an experiment named 'trial' already")
    status, found = await refused(heuristic, {"status": "running"}, "PATCH", "second")
    assert (status, found) == (
        409,
        "layer 'ranking' has 40.00% of its traffic free, and 'second' asks for 50.00%; the rest is held by trial (60.00%)",
    )
    changes: dict[str, Any] = {"salt": "x", "unit": "cluster", "arms": [ARMS[0], ARMS[1] | {"name": "other"}]}
    for field, value in changes.items():
        status, found = await refused(heuristic, {field: value}, "PATCH", "trial")
        assert (status, found) == (409, f"'trial' is running; its {field} cannot change")
    assert (await refused(heuristic, {"status": "stopped"}, "PATCH", "second"))[0] == 409
    assert await refused(heuristic, {"status": "running"}, "PATCH", "third") == (404, "no experiment named 'third'")


async def test_an_experiment_by_cluster_starts_with_its_map(heuristic: httpx.AsyncClient) -> None:
    await created(heuristic, unit="cluster", cluster_by="location")
    await patched(heuristic, status="running")
    arms: dict[int, set[str]] = {}
    for viewer in range(1, 31):  # cities go round
        arms.setdefault(viewer % 3, set()).add((await arm_of(heuristic, viewer) or {})["arm"])
    assert [len(found) for found in arms.values()] == [1, 1, 1]


async def test_only_an_admin_may(settings: Settings, people: list[Profile]) -> None:
    keys = ",".join(
        f"{name}:{scope}:{hashlib.sha256(name.encode()).hexdigest()}"
        for name, scope in (("reader", "read+write"), ("boss", "admin"))
    )
    async with serving(msgspec.structs.replace(settings, api_keys=keys)) as client:
        for name, expected in (("reader", [403, 403, 403, 403]), ("boss", [200, 404, 201, 200])):
            headers = {"Authorization": f"Bearer {name}"}
            answers = [
                await client.get(EXPERIMENTS, headers=headers),
                await client.get(f"{EXPERIMENTS}/trial", headers=headers),
                await client.post(EXPERIMENTS, json=body(), headers=headers),
                await client.patch(f"{EXPERIMENTS}/trial", json={"status": "running"}, headers=headers),
            ]
            assert [answer.status_code for answer in answers] == expected
