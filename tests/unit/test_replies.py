"""A reply's bytes are those of its slate, however it came about."""

from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import RecommendationRequest, Slate
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


def trial(design: Any, traffic: float = 1.0) -> Router:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    given = Experiment(name="trial", salt="s", design=design, traffic=traffic, arms=arms, created_at=NOW)
    return Router("v1", [start(given, (), NOW)])


def in_experiment(design: Any) -> World:
    world = crowd()
    world.rankers["v2"] = loaded("v2", FakeRanker())
    world.router = trial(design)
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


async def test_the_row_of_a_slate_says_of_each_position_what_the_reply_says_and_how_likely_it_was() -> None:
    world = crowd(60)
    world.exploration_share = 0.5
    reply = await world.build().reply(RecommendationRequest(viewer_id=1, limit=10))
    row, told = world.impressions.slates[0].people, reply.slate.recommendations
    said = zip(row.candidate_ids, row.scores, row.exploration, row.sources, strict=True)
    assert list(said) == [(one.id, one.match_score, one.slot == "exploration", one.sources) for one in told]
    assert row.propensities == (1.0,) * 5 + (5 / 49,) * 5  # 59 could be shown, of whom the first ten are not drawn


async def test_figures_are_rounded_in_a_reply_and_in_one_that_was_there() -> None:
    world = crowd()
    request = RecommendationRequest(viewer_id=1, limit=5)
    reply = await world.orchestrator.reply(request)
    ready = await world.orchestrator.ready(request)
    assert ready is not None
    for body in (reply.body, ready.body):
        slate = msgspec.json.decode(body, type=Slate)
        assert slate.generation_time_ms == round(slate.generation_time_ms, 3)
        assert [one.match_score for one in slate.recommendations] == [0.9756, 0.975, 0.9744, 0.9737, 0.973]


@pytest.mark.parametrize(("share_in_trial", "n_rows"), [(0.0, 0), (1.0, 1)])
async def test_an_empty_answer_leaves_a_row_for_an_arm_only(share_in_trial: float, n_rows: int) -> None:
    world = of_nobody_known()
    world.router = trial("ab", share_in_trial)
    assert (await world.orchestrator.reply(RecommendationRequest(viewer_id=1))).total_count == 0
    assert len(world.impressions.slates) == n_rows
