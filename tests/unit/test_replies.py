"""A reply's bytes are those of its slate, however it came about."""

from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import RecommendationRequest
from service.domain_experiments import Arm, Experiment
from service.experiments.lifecycle import start
from service.experiments.routing import Router
from tests.fakes import NOW, FakeRanker, World, loaded, person


def crowd(n: int = 40) -> World:
    return World(person(one, bio=f'"{one}" \u2028 é\n') for one in range(1, n + 1))


def bent() -> World:
    world = crowd()
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan)))
    return world


def in_experiment(design: Any) -> World:
    world = crowd()
    world.rankers["v2"] = loaded("v2", FakeRanker())
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    given = Experiment(name="trial", salt="s", design=design, traffic=1.0, arms=arms, created_at=NOW)
    world.router = Router("v1", [start(given, (), NOW)])
    return world


def of_nobody_known() -> World:
    world = crowd(0)
    world.database.down = True
    return world


@pytest.mark.parametrize(
    ("world", "changes"),
    [
        (crowd(), {}),
        (crowd(), {"explain": True}),
        (crowd(), {"exclude_ids": frozenset({40})}),
        (crowd(3), {}),
        (bent(), {}),
        (in_experiment("ab"), {}),
        (in_experiment("interleaving"), {}),
        (of_nobody_known(), {}),
    ],
    ids=["whole", "explained", "for once", "short", "bent", "of an arm", "interleaved", "empty"],
)
async def test_the_bytes_of_a_reply_are_those_of_its_slate_made_or_from_the_cache(world: World, changes: dict[str, Any]) -> None:
    request = RecommendationRequest(**{"viewer_id": 1, "request_id": "r1", "limit": 5, **changes})
    for _ in range(2):
        reply = await world.orchestrator.reply(request)
        assert reply.body == msgspec.json.encode(reply.slate)
        assert reply.total_count == len(reply.slate.recommendations)


async def test_the_row_of_a_slate_that_is_held_is_the_one_object_of_all_its_impressions() -> None:
    world = crowd()
    request = RecommendationRequest(viewer_id=1, limit=5)
    await world.orchestrator.reply(request)
    assert await world.orchestrator.ready(request) is not None
    first, second = world.impressions.slates
    assert first.people is second.people
