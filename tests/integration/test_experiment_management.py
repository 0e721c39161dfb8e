"""Experiments changed by several at once, and those by clusters with the map they start with."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from service.domain_experiments import Arm, Experiment
from service.errors import BadInput, ExperimentConflict
from service.experiments import management as module
from service.experiments.freezing import freeze
from service.experiments.layers import size
from service.experiments.management import Changes, Management
from service.repositories.calls import write
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.threads import ThreadDoor
from tests.integration.repo_builders import NOON, person, stored_clusters

START = Changes(status="running")


def draft(name: str = "trial", **changes: Any) -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    return Experiment(**{"name": name, "salt": name, "traffic": 0.3, "arms": arms, "created_at": NOON, **changes})


@pytest.fixture
async def told() -> list[str]:
    return []


@pytest.fixture
async def management(database: Database, told: list[str]) -> AsyncIterator[Management]:
    async def tell() -> None:
        told.append("changed")

    await Users(database.sessions).put_many([person(one, location=f"City {one % 4}") for one in range(1, 41)])
    door = ThreadDoor(2)
    yield Management(
        store=Experiments(database.sessions),
        users=Users(database.sessions),
        interactions=Interactions(database.sessions),
        door=door,
        installed=lambda: ("v1", "v2"),
        tell=tell,
    )
    door.close()


async def test_of_many_that_start_at_once_in_one_layer_as_many_start_as_have_room(management: Management) -> None:
    names = [f"e{index}" for index in range(6)]
    for name in names:
        await management.create(draft(name, layer="ranking"))
    done = await asyncio.gather(*(management.change(name, START) for name in names), return_exceptions=True)
    started = [each for each in done if isinstance(each, Experiment)]
    assert [type(each) for each in done if not isinstance(each, Experiment)] == [ExperimentConflict] * 3
    held = {bucket for each in started for start, end in each.buckets for bucket in range(start, end)}
    assert len(held) == sum(size(each.buckets) for each in started) == 9000


async def test_every_change_is_told_and_a_refused_one_is_not(management: Management, told: list[str]) -> None:
    await management.create(draft())
    await management.change("trial", START)
    await management.change("trial", Changes(traffic=0.5))
    with pytest.raises(ExperimentConflict):
        await management.change("trial", Changes(salt="other"))
    assert told == ["changed"] * 2


async def test_fields_traffic_and_start_come_in_one_change(management: Management) -> None:
    await management.create(draft())
    started = await management.change("trial", Changes(status="running", traffic=0.7, salt="salt", layer="ranking"))
    assert (started.salt, started.layer, started.buckets, started.status) == ("salt", "ranking", ((0, 7000),), "running")


async def test_a_draft_whose_ranker_is_gone_does_not_start_and_a_running_one_goes_on(management: Management) -> None:
    await management.create(draft("a"))
    await management.create(draft("b"))
    await management.change("a", START)
    gone = replace(management, installed=lambda: ("v1",))
    with pytest.raises(BadInput):
        await gone.change("b", START)
    assert (await gone.change("a", Changes(traffic=0.5))).traffic == 0.5
    assert (await gone.get("b")).status == "draft"


async def test_one_by_clusters_starts_with_everybody_in_a_cluster(management: Management) -> None:
    await management.create(draft(unit="cluster", cluster_by="location"))
    assert (await management.change("trial", START)).status == "running"
    found = await stored_clusters(management.store)
    assert found is not None
    assert found.ids.tolist() == list(range(1, 41))
    assert all(len({int(found.clusters[one - 1]) for one in range(first, 41, 4)}) == 1 for first in range(1, 5))


async def test_a_map_is_for_the_experiment_that_it_was_made_for(management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    await management.create(draft(unit="cluster", cluster_by="location"))

    async def meanwhile(experiment: Experiment, *rest: Any) -> Any:
        await management.store.change("trial", lambda before, _: msgspec.structs.replace(before, cluster_by="community"))
        return await freeze(experiment, *rest)

    monkeypatch.setattr(module, "freeze", meanwhile)
    with pytest.raises(ExperimentConflict, match="by somebody else meanwhile"):
        await management.change("trial", START)
    assert (await management.get("trial")).status == "draft"
    assert await stored_clusters(management.store) is None


async def test_of_two_that_start_one_at_once_the_first_ones_map_holds(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    await management.create(draft(unit="cluster", cluster_by="location"))

    async def slowly(*given: Any) -> Any:
        monkeypatch.setattr(module, "freeze", freeze)
        await management.change("trial", START)
        await management.users.put_many([person(41, location="City 1")])
        return await freeze(*given)

    monkeypatch.setattr(module, "freeze", slowly)
    assert (await management.change("trial", START)).status == "running"
    found = await stored_clusters(management.store)
    assert found is not None
    assert found.ids.tolist() == list(range(1, 41)), "replicas have taken the map of the first start"


async def test_a_layer_in_which_a_later_version_runs_something_is_given_to_nobody(
    management: Management, database: Database
) -> None:
    for name, layer in (("later", "ranking"), ("here", "ranking"), ("there", "other"), ("alone", None)):
        await management.create(draft(name, layer=layer))
    await management.change("later", Changes(status="running"))
    await management.change("here", Changes(status="running"))
    unread = text("update experiments set definition = definition || '{\"design\": \"bandit\"}' where name = 'later'")
    await write(database.sessions, lambda session: session.execute(unread))
    await management.create(draft("fresh", layer="ranking"))
    for name, change in (("fresh", START), ("here", Changes(traffic=0.4))):
        with pytest.raises(ExperimentConflict, match="layer 'ranking' holds 'later', which a later version"):
            await management.change(name, change)
    assert (await management.change("here", Changes(traffic=0.2))).buckets == ((3000, 5000),)
    assert (await management.change("here", Changes(status="stopped"))).status == "stopped"
    assert [(await management.change(name, START)).status for name in ("there", "alone")] == ["running"] * 2
