"""Requests inside an experiment: what ranks them, what is remembered of them, and that empty answers count."""

from typing import Any
from uuid import UUID

import pytest

from service.domain import ExperimentArm, Filters, RecommendationRequest, Relations
from service.domain_experiments import Arm, Experiment
from service.experiments.routing import Router
from service.metrics import REGISTRY
from tests.assignment import arm_index
from tests.fakes import NOW, FakeRanker, World, loaded, person


def ask(viewer_id: int = 1, **changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**{"viewer_id": viewer_id, "limit": 5, "request_id": "r", **changes})


def trial(treatment: str = "v2") -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version=treatment))
    return Experiment(
        name="trial", salt="trial", traffic=1.0, arms=arms, created_at=NOW, status="running", buckets=((0, 10_000),)
    )


def treated() -> int:
    return next(viewer for viewer in range(1, 40) if arm_index(trial(), str(viewer)) == 1)


TREATED = treated()
TREATMENT = ExperimentArm("trial", "treatment")


@pytest.fixture
def world() -> World:
    made = World((person(one) for one in range(1, 41)), Relations(liked=frozenset({2})))
    made.rankers["v2"] = loaded("v2", FakeRanker())
    made.router = Router("v1", [trial()])
    return made


async def test_the_arm_ranks_and_each_viewer_keeps_to_it(world: World) -> None:
    for viewer in range(1, 41):
        slate = await world.orchestrator.recommend(ask(viewer))
        arm = arm_index(trial(), str(viewer))
        assert (slate.algorithm_version, slate.experiment) == (
            ("v1", "v2")[arm],
            ExperimentArm("trial", ("control", "treatment")[arm]),
        )
    assert {one.experiment for one in world.impressions.slates} == {ExperimentArm("trial", "control"), TREATMENT}


async def test_a_named_algorithm_is_remembered_outside_of_it(world: World) -> None:
    slate = await world.orchestrator.recommend(ask(TREATED, algorithm_version="v2"))
    assert (slate.algorithm_version, slate.experiment) == ("v2", None)
    assert world.impressions.slates[-1].experiment is None


@pytest.mark.parametrize("ranker", [loaded("v2", FakeRanker(lambda batch: 1 / 0)), loaded("v2", None), None])
async def test_an_arm_whose_ranker_fails_is_remembered_with_what_really_ranked(world: World, ranker: Any) -> None:
    world.rankers = {name: one for name, one in (world.rankers | {"v2": ranker}).items() if one is not None}
    slate = await world.orchestrator.recommend(ask(TREATED))
    [seen] = world.impressions.slates
    assert (slate.algorithm_version, slate.experiment, len(slate.degraded)) == ("heuristic", TREATMENT, 1)
    assert (seen.algorithm_version, seen.experiment, seen.degraded) == ("heuristic", TREATMENT, True)


async def test_an_empty_answer_counts_inside_an_experiment_alone(world: World) -> None:
    nowhere = Filters(locations=("nowhere",))
    await world.orchestrator.recommend(ask(TREATED, filters=nowhere))
    [seen] = world.impressions.slates
    assert (seen.candidate_ids, seen.experiment, seen.pool_id == UUID(int=0)) == ((), TREATMENT, False)
    await world.orchestrator.recommend(ask(TREATED, filters=nowhere, algorithm_version="v2"))
    await world.orchestrator.recommend(ask(TREATED, filters=nowhere, recorded=False))
    assert len(world.impressions.slates) == 1


async def test_an_answer_without_a_pool_counts_too(world: World) -> None:
    del world.memory.people[TREATED]
    world.database.down = True
    assert (await world.orchestrator.recommend(ask(TREATED))).experiment == TREATMENT
    [seen] = world.impressions.slates
    assert (seen.candidate_ids, seen.experiment, seen.pool_id, seen.degraded) == ((), TREATMENT, UUID(int=0), True)


async def test_what_nobody_foresaw_counts_against_its_arm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(type(world.viewers), "state", fail)
    slate = await world.orchestrator.recommend(ask(TREATED))
    [seen] = world.impressions.slates
    assert (slate.experiment, seen.experiment, seen.candidate_ids, seen.degraded) == (TREATMENT, TREATMENT, (), True)


async def test_impressions_tell_how_long_it_took(world: World) -> None:
    for _ in range(2):
        await world.orchestrator.recommend(ask(TREATED))
    assert await world.orchestrator.ready(ask(TREATED))
    assert [one.generation_ms > 0 for one in world.impressions.slates] == [True, True, True]


async def test_arms_of_two_rankers_share_no_pool_and_those_of_one_do(world: World) -> None:
    await world.orchestrator.recommend(ask(TREATED))
    assert not (await world.orchestrator.recommend(ask(TREATED, algorithm_version="v1"))).cached
    assert (await world.orchestrator.recommend(ask(TREATED, algorithm_version="v2"))).cached


async def test_a_look_that_nobody_is_shown_counts_for_no_arm_and_in_no_figure(world: World) -> None:
    labels = {"experiment": "trial", "arm": "treatment", "degraded": "false"}
    before = REGISTRY.get_sample_value("amity_experiment_answers_total", labels) or 0
    slate = await world.orchestrator.recommend(ask(TREATED, recorded=False))
    assert (slate.experiment, slate.total_count, world.performance.report(60).requests) == (TREATMENT, 5, 0)
    assert (REGISTRY.get_sample_value("amity_experiment_answers_total", labels) or 0) == before
    await world.orchestrator.recommend(ask(TREATED))
    assert REGISTRY.get_sample_value("amity_experiment_answers_total", labels) == before + 1
