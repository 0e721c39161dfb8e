"""The map of clusters out of a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import Interaction, Kind
from service.domain_experiments import Arm, ClusterMap, Experiment
from service.errors import ExperimentConflict
from service.experiments.freezing import freeze
from service.experiments.registry import Registry
from service.repositories.clusters import pack
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.threads import ThreadDoor
from tests.integration.repo_builders import NOON, did, person


@pytest.fixture
async def door() -> AsyncIterator[ThreadDoor]:
    opened = ThreadDoor(2)
    yield opened
    opened.close()


def experiment(**changes: Any) -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    given: dict[str, Any] = {"name": "e", "salt": "s", "unit": "cluster", "traffic": 1.0, "arms": arms, "created_at": NOON}
    return Experiment(**given | changes)


def circle(low: int, n: int, kind: Kind) -> list[Interaction]:
    """Everybody of n people does it to everybody else."""
    ids = range(low, low + n)
    return [did(one, kind, other) for one in ids for other in ids if one != other]


async def frozen(database: Database, door: ThreadDoor, **changes: Any) -> ClusterMap:
    return await freeze(experiment(**changes), Users(database.sessions), Interactions(database.sessions), door)


async def test_by_location_holds_everybody_who_has_one(database: Database, door: ThreadDoor) -> None:
    places = {1: "Oslo", 2: "oslo", 3: None, 4: "Bergen"}
    await Users(database.sessions).put_many([person(who, location=place) for who, place in places.items()])
    found = await frozen(database, door, cluster_by="location")
    assert found.ids.tolist() == [1, 2, 4]
    assert found.clusters.tolist() == [1, 1, 0]


async def test_by_community_holds_everybody_and_goes_by_likes_and_messages(database: Database, door: ThreadDoor) -> None:
    await Users(database.sessions).put_many([person(who) for who in range(1, 101)])
    joined = [*circle(1, 2, Kind.LIKE), *circle(11, 2, Kind.MESSAGE), *circle(21, 2, Kind.PASS), *circle(31, 2, Kind.VIEW)]
    await Interactions(database.sessions).record(joined)
    found = await frozen(database, door, cluster_by="community")
    of = dict(zip(found.ids.tolist(), found.clusters.tolist(), strict=True))
    assert len(of) == 100
    assert (of[1] == of[2], of[11] == of[12], of[21] == of[22], of[31] == of[32]) == (True, True, False, False)


async def test_a_map_is_that_of_its_salt(database: Database, door: ThreadDoor) -> None:
    await Users(database.sessions).put_many([person(who) for who in range(1, 401)])
    rng = np.random.default_rng(1)
    pairs = {(int(one), int(other)) for one, other in rng.integers(1, 401, (2000, 2)) if one != other}
    await Interactions(database.sessions).record([did(one, Kind.LIKE, other) for one, other in sorted(pairs)][:1000])
    one, again, other = [await frozen(database, door, cluster_by="community", salt=salt) for salt in ("a", "a", "b")]
    np.testing.assert_array_equal(one.clusters, again.clusters)
    assert not np.array_equal(one.clusters, other.clusters)


async def test_fewer_clusters_than_arms_are_refused_in_words(database: Database, door: ThreadDoor) -> None:
    await Users(database.sessions).put_many([person(1, location="Oslo"), person(2, location="Oslo")])
    with pytest.raises(ExperimentConflict, match="2 arms need as many clusters at least; by location there are 1"):
        await frozen(database, door, cluster_by="location")


async def test_places_come_in_batches_and_each_once(database: Database) -> None:
    await Users(database.sessions).put_many([person(who, location=f"Town {who}") for who in range(1, 8)])
    batches = [batch async for batch in Users(database.sessions).places(batch_size=3)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [place for batch in batches for place in batch] == [(who, f"Town {who}") for who in range(1, 8)]


async def test_who_comes_under_the_id_of_an_erased_person_is_in_no_cluster(database: Database, door: ThreadDoor) -> None:
    users, experiments = Users(database.sessions), Experiments(database.sessions)
    await users.put_many([person(who, location=f"Town {who % 2}") for who in range(1, 5)])
    clusters = await frozen(database, door, cluster_by="location")
    await experiments.create(experiment(cluster_by="location"))
    started = {"status": "running", "started_at": datetime.now(UTC), "buckets": ((0, 10_000),)}
    await experiments.change("e", lambda before, _: msgspec.structs.replace(before, **started), pack(clusters))
    registry = Registry(experiments, door, "v1")
    await registry.load()
    assert registry.router.of_viewer(2).arm is not None
    await users.erase(2)
    await users.put(person(2, location="Town 0"))
    for replica in (registry, Registry(experiments, door, "v1")):
        await replica.load()
        assert [replica.router.of_viewer(who).arm is None for who in (1, 2, 3, 4)] == [False, True, False, False]
