"""Experiments over three replicas: started, ramped and stopped everywhere at once, with Redis and without, the same for all."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
import pytest

from service.domain_experiments import Experiment
from tests.assignment import arm_index, takes_part
from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.misbehaving import install, plugins
from tests.replicas import Replica, amity, replicas
from tests.servers import PrivateValkey, run_now

HEARD_S = 10.0
"""The bound is a second; the rest is for a machine that is busy with other tests."""
VIEWERS = range(1, 31)
ARMS = [{"name": "control", "algorithm_version": "v1"}, {"name": "treatment", "algorithm_version": "heuristic"}]


@pytest.fixture(scope="module")
def valkey() -> Iterator[PrivateValkey]:
    with PrivateValkey() as own:
        yield own


@pytest.fixture(scope="module")
def settings(world: World, valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of replicas that have a ranker besides which always fails."""
    plugged = install(tmp_path_factory.mktemp("plugins") / "site", plugins(raises="Raises"), {})
    return world.changed(REDIS_URL=valkey.url, REDIS_TIMEOUT_MS="250", IMPRESSIONS_FLUSH_MS="50") | plugged


@pytest.fixture(scope="module")
def fleet(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    with replicas(settings, tmp_path_factory.mktemp("fleet"), 3) as three:
        yield three


@pytest.fixture(params=["with Redis", "without Redis"])
def redis_or_not(request: pytest.FixtureRequest, fleet: list[Replica], valkey: PrivateValkey) -> Iterator[str]:
    if request.param == "without Redis":
        valkey.kill()
    yield request.param
    if request.param == "without Redis":
        valkey.start()


def create(replica: Replica, name: str, **changes: Any) -> None:
    given = {"name": name, "traffic": 1.0, "arms": ARMS, **changes}
    answer = replica.client.post("/api/v1/experiments", json=given)
    assert answer.status_code == 201, answer.text


def change(replica: Replica, name: str, **changes: Any) -> Experiment:
    answer = replica.client.patch(f"/api/v1/experiments/{name}", json=changes)
    assert answer.status_code == 200, answer.text
    return msgspec.convert(answer.json(), Experiment)


def seen(replica: Replica, viewers: range = VIEWERS) -> dict[int, Any]:
    """Each viewer's experiment and what ranked."""
    answers = {viewer: replica.recommend(viewer, limit=3) for viewer in viewers}
    return {viewer: (answer["experiment"], answer["algorithm_version"]) for viewer, answer in answers.items()}


def expected(trial: Experiment, viewers: range = VIEWERS) -> dict[int, Any]:
    def of(viewer: int) -> Any:
        if trial.status != "running" or not takes_part(trial, str(viewer)):
            return None, "v1"
        arm = trial.arms[arm_index(trial, str(viewer))]
        return {"name": trial.name, "arm": arm.name}, arm.algorithm_version

    return {viewer: of(viewer) for viewer in viewers}


def assert_everywhere(fleet: list[Replica], trial: Experiment) -> None:
    wanted = expected(trial)
    probe = range(VIEWERS[0], VIEWERS[0] + 5)
    for replica in fleet:  # a few viewers tell when it has come; then all of them must agree, with no exception
        assert eventually(lambda replica=replica: seen(replica, probe) == expected(trial, probe), HEARD_S)  # type: ignore[misc]
        assert seen(replica) == wanted


def rows(world: World, query: str) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(world.database_url)
        found = [dict(row) for row in await connection.fetch(query)]
        await connection.close()
        return found

    return run_now(fetch())


def test_what_one_replica_is_told_all_heed(fleet: list[Replica], redis_or_not: str) -> None:
    name = redis_or_not.replace(" ", "-")
    create(fleet[0], name, traffic=0.4)
    assert seen(fleet[1], range(1, 4)) == dict.fromkeys(range(1, 4), (None, "v1"))
    steps: list[dict[str, Any]] = [{"status": "running"}, {"traffic": 1.0}, {"status": "stopped"}]
    for index, changes in enumerate(steps):
        assert_everywhere(fleet, change(fleet[index], name, **changes))


def test_a_command_is_heeded_though_nobody_tells_of_it(fleet: list[Replica], settings: dict[str, str]) -> None:
    create(fleet[0], "by-command")
    done = amity(settings, "experiments", "start", "by-command")
    assert done.returncode == 0, done.stderr
    trial = msgspec.convert(fleet[0].client.get("/api/v1/experiments/by-command").json(), Experiment)
    assert_everywhere(fleet, trial)
    assert_everywhere(fleet, change(fleet[0], "by-command", status="stopped"))


async def test_a_long_transaction_holds_no_stop_up(fleet: list[Replica], world: World, valkey: PrivateValkey) -> None:
    """It holds the feed of changes up, and with Redis away nothing else tells."""
    create(fleet[0], "held-up")
    assert_everywhere(fleet, change(fleet[0], "held-up", status="running"))
    connection = await asyncpg.connect(world.database_url)
    await connection.execute("begin")
    await connection.execute("insert into facts (name, value) values ('long', '1')")
    valkey.kill()
    try:
        assert_everywhere(fleet, change(fleet[1], "held-up", status="stopped"))
    finally:
        valkey.start()
        await connection.close()


def test_a_named_algorithm_is_not_counted_and_a_failing_arm_tells_what_ranked(fleet: list[Replica], world: World) -> None:
    arms = [ARMS[0], ARMS[1] | {"algorithm_version": "raises"}]
    create(fleet[0], "failing", arms=arms)
    trial = change(fleet[0], "failing", status="running")
    treated = next(viewer for viewer in range(100, 200) if arm_index(trial, str(viewer)) == 1)
    assert eventually(lambda: fleet[1].recommend(treated, limit=3)["experiment"] is not None, HEARD_S)
    counted = fleet[1].recommend(treated, limit=3)
    named = fleet[1].recommend(treated, limit=3, algorithm_version="v1")
    change(fleet[0], "failing", status="stopped")
    assert (counted["experiment"], counted["algorithm_version"]) == ({"name": "failing", "arm": "treatment"}, "heuristic")
    assert [bent["stage"] for bent in counted["degraded"]] == ["ranking"]
    assert (named["experiment"], named["algorithm_version"]) == (None, "v1")
    slates = f"slate_id in ('{counted['slate_id']}', '{named['slate_id']}')"
    query = f"select experiment, arm, algorithm_version, degraded from impressions where {slates} order by served_at"
    assert eventually(lambda: len(rows(world, query)) == 2, 30.0)
    assert [tuple(row.values()) for row in rows(world, query)] == [
        ("failing", "treatment", "heuristic", True),
        (None, None, "v1", False),
    ]


def test_a_replica_that_starts_later_knows_what_runs(fleet: list[Replica], settings: dict[str, str], tmp_path: Any) -> None:
    create(fleet[0], "before")
    trial = change(fleet[0], "before", status="running", traffic=0.5)
    with Replica(settings, tmp_path / "late.log") as late:
        assert seen(late) == expected(trial)
    change(fleet[0], "before", status="stopped")


def test_nothing_unforeseen_happened(fleet: list[Replica]) -> None:
    for replica in fleet:
        assert "Traceback" not in replica.said
        assert "Task exception" not in replica.said
