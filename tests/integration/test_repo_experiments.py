"""Experiments are stored as they are, changed one at a time, and carry their map of clusters."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET
from sqlalchemy import text

from service.domain_experiments import Arm, ClusterMap, Experiment, Guardrails, Others, Unread
from service.errors import ExperimentConflict, UnknownExperiment
from service.repositories.calls import read, write
from service.repositories.clusters import pack
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from tests.integration.repo_builders import stored_clusters

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def experiment(name: str = "trial", **changes: Any) -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2", weight=0.5))
    return Experiment(**{"name": name, "salt": "s", "traffic": 0.2, "arms": arms, "created_at": NOW, **changes})


def running(name: str = "trial", started_at: datetime = NOW, **changes: Any) -> Experiment:
    return experiment(name, status="running", started_at=started_at, **changes)


def replaced(**changes: Any) -> Any:
    return lambda before, _: msgspec.structs.replace(before, **changes)


@pytest.fixture
def experiments(database: Database) -> Experiments:
    return Experiments(database.sessions)


async def test_an_experiment_is_read_as_it_was_stored(experiments: Experiments) -> None:
    given = running(
        unit="cluster",
        cluster_by="location",
        layer="ranking",
        guardrails=Guardrails(max_p95_ms=80, stop=True),
        buckets=((0, 1000), (4000, 5000)),
    )
    await experiments.create(given)
    assert await experiments.get("trial") == given


async def test_a_name_is_given_once(experiments: Experiments) -> None:
    await experiments.create(experiment())
    with pytest.raises(ExperimentConflict, match="'trial' already"):
        await experiments.create(experiment(salt="other"))
    assert (await experiments.get("trial")).salt == "s"


async def test_the_unknown_are_unknown(experiments: Experiments) -> None:
    with pytest.raises(UnknownExperiment, match="no experiment named 'trial'"):
        await experiments.get("trial")
    for name in ("tri\0al", "tri\udcffal"):  # from a URL, from a command line
        with pytest.raises(UnknownExperiment):
            await experiments.get(name)
    with pytest.raises(UnknownExperiment):
        await experiments.change("trial", replaced())


async def test_those_that_run_come_in_the_order_in_which_they_started(experiments: Experiments) -> None:
    for given in (
        running("b"),
        running("a"),
        running("first", NOW - timedelta(days=1)),
        experiment("draft"),
        experiment("over", status="stopped"),
    ):
        await experiments.create(given)
    assert [each.name for each in await experiments.running()] == ["first", "a", "b"]
    assert {each.name for each in await experiments.list()} == {"a", "b", "draft", "first", "over"}


async def store(database: Database, name: str, more: str) -> None:
    """Something in the definition that this version would not write."""
    later = text(f"update experiments set definition = definition || '{more}' where name = '{name}'")
    await write(database.sessions, lambda session: session.execute(later))


async def test_one_of_a_later_version_is_left_out(experiments: Experiments, database: Database) -> None:
    await experiments.create(running("later"))
    await experiments.create(running("known"))
    await store(database, "later", '{"design": "bandit"}')
    assert [each.name for each in await experiments.running()] == ["known"]
    assert [each.name for each in await experiments.list()] == ["known"]
    with pytest.raises(ExperimentConflict, match="'later' was made by a later version"):
        await experiments.get("later")


@pytest.mark.parametrize(("more", "layer"), [("{}", "ranking"), ('{"layer": null}', None), ('{"layer": ["a", "b"]}', UNSET)])
async def test_who_changes_one_is_told_of_those_that_cannot_be_read(
    experiments: Experiments, database: Database, more: str, layer: object
) -> None:
    await experiments.create(running("later", layer="ranking"))
    await store(database, "later", '{"design": "bandit"}')
    await store(database, "later", more)
    await experiments.create(experiment())
    told: list[Others] = []

    def look(before: Experiment, others: Others) -> Experiment:
        told.append(others)
        return before

    await experiments.change("trial", look)
    assert told[0].unread == [Unread("later", layer)]  # type: ignore[arg-type]


async def test_what_a_later_version_has_added_outlives_a_change(experiments: Experiments, database: Database) -> None:
    await experiments.create(running())
    arms = '[{"name": "control", "algorithm_version": "v1", "weight": 1.0, "stopped": false, "note": "old"}]'
    await store(database, "trial", f'{{"pace": "slow", "arms": {arms}}}')
    stopped = (Arm(name="control", algorithm_version="v1", stopped=True),)
    await experiments.change("trial", replaced(traffic=0.5, arms=stopped))
    query = text("select definition from experiments")
    found = await read(database.sessions, lambda session: session.scalar(query))
    assert (found["pace"], found["traffic"], found["arms"][0]["note"]) == ("slow", 0.5, "old")
    assert (await experiments.get("trial")).arms == stopped


async def test_a_change_that_is_refused_changes_nothing(experiments: Experiments) -> None:
    await experiments.create(experiment())

    def refuse(before: Experiment, _: Others) -> Experiment:
        raise ExperimentConflict("no")

    with pytest.raises(ExperimentConflict, match="no"):
        await experiments.change("trial", refuse, pack(ClusterMap(np.array([1]), np.array([1], np.int32))))
    assert await experiments.get("trial") == experiment()
    assert await stored_clusters(experiments) is None


async def test_changes_at_the_same_time_see_one_another(experiments: Experiments) -> None:
    names = [f"e{index}" for index in range(8)]
    for name in names:
        await experiments.create(experiment(name))

    def start(before: Experiment, others: Others) -> Experiment:
        n_running = len(others.running)
        return msgspec.structs.replace(before, status="running", buckets=((n_running, n_running + 1),), started_at=NOW)

    started = await asyncio.gather(*(experiments.change(name, start) for name in names))
    assert sorted(each.buckets[0][0] for each in started) == list(range(8))


async def test_each_change_is_told_by_the_feed_and_what_changes_nothing_is_not(
    experiments: Experiments, database: Database
) -> None:
    await experiments.create(experiment())
    await experiments.change("trial", replaced(traffic=0.5))
    await experiments.change("trial", replaced())
    counted = text("select count(*) from changes where entity = 'experiment'")
    assert await read(database.sessions, lambda session: session.scalar(counted)) == 2


async def test_the_map_of_clusters_comes_with_the_start(experiments: Experiments) -> None:
    given = ClusterMap(np.array([3, 2**62, 2**63 - 1], np.int64), np.array([0, 7, 2**31 - 1], np.int32))
    await experiments.create(experiment())
    await experiments.change("trial", replaced(status="running"), pack(given))
    found = await stored_clusters(experiments)
    assert found is not None
    assert [found.ids.dtype.name, found.clusters.dtype.name] == ["int64", "int32"]
    assert (found.ids.tolist(), found.clusters.tolist()) == (given.ids.tolist(), given.clusters.tolist())
