"""An interleaving on real replicas: one draft for all, by the rules of every answer, credited through the slate."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.domain_experiments import Window
from service.repositories.database import Database
from service.repositories.outcomes import Asked, ExperimentOutcomes, Liked
from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica, replicas, shown

EXPERIMENTS = "/api/v1/experiments"
TRIAL = {
    "name": "drafts",
    "design": "interleaving",
    "traffic": 1.0,
    "arms": [{"name": "control", "algorithm_version": "v1"}, {"name": "treatment", "algorithm_version": "heuristic"}],
}
SOON_S = 30.0


@pytest.fixture(scope="module")
def fleet(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Two replicas on which the experiment runs."""
    with replicas(world.settings, tmp_path_factory.mktemp("drafting")) as both:
        assert both[0].client.post(EXPERIMENTS, json=TRIAL).status_code == 201
        assert both[0].client.patch(f"{EXPERIMENTS}/drafts", json={"status": "running"}).status_code == 200
        for replica in both:
            assert eventually(partial(drafts, replica), SOON_S)
        yield both
        for replica in both:
            replica.assert_unharmed()


def drafts(replica: Replica) -> bool:
    return bool(replica.recommend(299)["ordering"] == "interleaved")


def remembered(world: World, slate_id: str) -> Any:
    """The row of a slate, once it is written."""

    async def look() -> Any:
        connection = await asyncpg.connect(world.database_url)
        try:
            return await connection.fetchrow("select * from impressions where slate_id = $1", UUID(slate_id))
        finally:
            await connection.close()

    ends_s = time.monotonic() + SOON_S
    while (row := asyncio.run(look())) is None:
        assert time.monotonic() < ends_s, "the slate was not written"
        time.sleep(0.05)
    return row


def liked(world: World) -> Liked:
    """The likes that belong to slates of the experiment."""

    async def look() -> Liked:
        database = Database(world.database_url)
        now = datetime.now(UTC)
        asked = Asked("drafts", ("interleaved",), Window(now - timedelta(hours=1), now + timedelta(hours=1)), with_teams=True)
        try:
            return (await ExperimentOutcomes(database.sessions).observed(asked)).liked
        finally:
            await database.close()

    return asyncio.run(look())


@pytest.mark.parametrize("viewer", [21, 22, 23])
def test_two_replicas_draft_the_same_slate_of_the_same_pools(world: World, fleet: list[Replica], viewer: int) -> None:
    first, second = (replica.recommend(viewer) for replica in fleet)
    assert (first["ordering"], first["algorithm_version"]) == ("interleaved", "v1+heuristic")
    assert (second["cached"], shown(second)) == (True, shown(first))
    assert first["degraded"] == second["degraded"] == []
    rows = [remembered(world, answer["slate_id"]) for answer in (first, second)]
    assert rows[0]["teams"] == rows[1]["teams"]
    assert set(rows[0]["teams"]) == {0, 1}
    assert abs(rows[0]["teams"].count(0) - rows[0]["teams"].count(1)) <= 1


def test_each_position_is_the_best_left_of_the_ranker_that_brought_the_person(world: World, fleet: list[Replica]) -> None:
    answer = fleet[0].recommend(31)
    teams = remembered(world, answer["slate_id"])["teams"]
    alone = [shown(fleet[1].recommend(31, algorithm_version=name, limit=100)) for name in ("v1", "heuristic")]
    for place, (who, team) in enumerate(zip(shown(answer), teams, strict=True)):
        assert who == next(one for one in alone[team] if one not in shown(answer)[:place])


def test_a_like_is_credited_to_the_ranker_that_brought_the_person(world: World, fleet: list[Replica]) -> None:
    answer = fleet[0].recommend(41)
    teams = remembered(world, answer["slate_id"])["teams"]
    for position in (teams.index(0), teams.index(1)):
        row = {"actor_id": 41, "target_id": shown(answer)[position], "kind": "like", "slate_id": answer["slate_id"]}
        assert fleet[1].client.post("/api/v1/interactions", json={"interactions": [row]}).status_code == 201
    found = liked(world)
    of_viewer = found.viewer == 41
    credited = dict(zip(found.target[of_viewer].tolist(), found.team[of_viewer].tolist(), strict=True))
    assert credited == {shown(answer)[teams.index(0)]: 0, shown(answer)[teams.index(1)]: 1}


def test_a_block_is_heeded_by_both_pools_on_every_replica_at_once(fleet: list[Replica]) -> None:
    before = shown(fleet[0].recommend(51, limit=10))
    fleet[0].act(*((51, who, "block") for who in before))
    for replica in fleet:
        assert not set(before) & set(shown(replica.recommend(51, limit=100)))


def test_a_named_ranker_is_outside_of_the_experiment(fleet: list[Replica]) -> None:
    answer = fleet[0].recommend(61, algorithm_version="v1")
    assert (answer["experiment"], answer["ordering"]) == (None, "score")
