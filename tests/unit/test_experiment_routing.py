"""Routing is assignment made fast: the same answers, one experiment a request, and nobody counted who was not assigned."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import ExperimentArm, RecommendationRequest
from service.domain_experiments import Arm, ClusterMap, Experiment
from service.errors import ExperimentConflict, UnknownAlgorithm
from service.experiments import lifecycle, routing
from service.experiments.routing import Routed, Router
from tests import assignment

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
INSTALLED = ("heuristic", "v1", "v2", "v3")
VIEWERS = range(1, 1500)
DEFAULT = Routed("v0")


def experiment(name: str = "trial", **changes: Any) -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    return Experiment(**{"name": name, "salt": name, "traffic": 0.5, "arms": arms, "created_at": NOW, **changes})


def running(name: str = "trial", others: tuple[Experiment, ...] = (), minute: int = 0, **changes: Any) -> Experiment:
    return lifecycle.start(experiment(name, **changes), others, NOW + timedelta(minutes=minute))


def ask(viewer_id: int, algorithm_version: str | None = None) -> RecommendationRequest:
    return RecommendationRequest(viewer_id=viewer_id, algorithm_version=algorithm_version)


def plainly(experiments: list[Experiment], viewer_id: int, units: dict[str, str | None]) -> Routed:
    """What the words of the documentation come to, without any of the router's shortcuts."""
    for each in experiments:
        unit = units.get(each.name, str(viewer_id))
        if unit is not None and assignment.takes_part(each, unit):
            arm = each.arms[assignment.arm_index(each, unit)]
            return DEFAULT if arm.stopped else Routed(arm.algorithm_version, ExperimentArm(each.name, arm.name))
    return DEFAULT


def test_without_experiments_the_default_ranks() -> None:
    assert Router("v1").route(ask(1), INSTALLED) == Routed("v1", None, None)


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.floats(0.05, 0.5), st.booleans()), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_router_does_what_assignment_says(shapes: list[tuple[str | None, float, bool]]) -> None:
    experiments: list[Experiment] = []
    for minute, (layer, traffic, ended) in enumerate(shapes):
        try:
            one = running(f"e{minute}", tuple(experiments), minute, layer=layer, traffic=traffic)
        except ExperimentConflict:
            continue
        experiments.append(lifecycle.stop_arm(one, "treatment") if ended else one)
    router = Router("v0", experiments)
    for viewer in range(1, 300):
        assert router.route(ask(viewer), INSTALLED) == plainly(experiments, viewer, {}) == router.of_viewer(viewer)


def test_a_named_algorithm_ranks_and_is_not_counted() -> None:
    router = Router("v0", [running(traffic=1.0)])
    assert router.route(ask(1, "v2"), INSTALLED) == Routed("v2", None, None)
    with pytest.raises(UnknownAlgorithm):
        router.route(ask(1, "v9"), INSTALLED)


def test_an_arm_whose_ranker_is_not_installed_here_is_routed_to_all_the_same() -> None:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="gone"))
    router = Router("v0", [running(traffic=1.0, arms=arms)])
    assert {router.route(ask(viewer), INSTALLED).algorithm for viewer in range(1, 50)} == {"v1", "gone"}


def test_viewers_of_a_stopped_arm_get_the_default_and_count_no_longer() -> None:
    before = running(traffic=1.0)
    router, after = Router("v0", [before]), Router("v0", [lifecycle.stop_arm(before, "treatment")])
    for viewer in VIEWERS:
        arm = router.of_viewer(viewer).arm
        assert arm is not None
        assert after.of_viewer(viewer) == (DEFAULT if arm.arm == "treatment" else router.of_viewer(viewer))


def test_of_two_that_hold_a_viewer_the_one_that_started_first_counts() -> None:
    first, second = running("z", minute=0, traffic=0.5), running("a", minute=1, traffic=1.0)
    router = Router("v0", [first, second])
    for viewer in VIEWERS:
        arm = router.of_viewer(viewer).arm
        assert arm is not None
        assert arm.name == ("z" if assignment.takes_part(first, str(viewer)) else "a")


def test_experiments_of_one_layer_part_viewers_and_those_of_two_do_not() -> None:
    first = running("first", layer="ranking", traffic=0.5)
    second = running("second", (first,), 1, layer="ranking", traffic=0.5)
    other = running("other", minute=2, layer="words", traffic=1.0)
    named = [Router("v0", [first, second]).of_viewer(viewer).arm for viewer in VIEWERS]
    assert {arm.name for arm in named if arm} == {"first", "second"}
    assert None not in named
    assert all(Router("v0", [one, other]).of_viewer(7).arm is not None for one in (first, second))


def test_interleaving_names_both_rankers() -> None:
    trial = running(design="interleaving", traffic=1.0)
    assert Router("v0", [trial]).of_viewer(5) == Routed("v1", ExperimentArm("trial", "interleaved"), "v2")
    assert Router("v0", [lifecycle.stop_arm(trial, "treatment")]).of_viewer(5) == DEFAULT


def test_a_cluster_goes_to_one_arm_and_who_is_in_none_is_left_out() -> None:
    trial = running(unit="cluster", cluster_by="location", traffic=0.5)
    ids = np.arange(10, 1010, dtype=np.int64)
    clusters = (ids % 40).astype(np.int32)
    router = Router("v0", [trial], {"trial": ClusterMap(ids, clusters)})
    for viewer, cluster in zip(ids.tolist(), clusters.tolist(), strict=True):
        assert router.of_viewer(viewer) == plainly([trial], viewer, {"trial": f"c{cluster}"})
    assert router.of_viewer(9) == router.of_viewer(1010) == DEFAULT
    assert len({router.of_viewer(viewer) for viewer in ids.tolist()}) == 3


def test_without_its_map_an_experiment_by_cluster_holds_nobody() -> None:
    router = Router("v0", [running(unit="cluster", cluster_by="location", traffic=1.0)])
    assert all(router.of_viewer(viewer) == DEFAULT for viewer in VIEWERS)


def test_viewers_without_end_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_REMEMBERED", 100)
    router = Router("v0", [running()])
    ways = [router.of_viewer(viewer) for viewer in VIEWERS]
    assert len(router._known) <= 100
    assert [router.of_viewer(viewer) for viewer in VIEWERS] == ways
