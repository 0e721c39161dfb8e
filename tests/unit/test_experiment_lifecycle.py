"""What may become of an experiment: layers have room or say who holds it, what runs is fixed, and bad values are named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain_experiments import N_BUCKETS, Arm, Experiment, Guardrails
from service.errors import BadInput, ExperimentConflict
from service.experiments import lifecycle
from service.experiments.layers import size

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
INSTALLED = ("heuristic", "v1", "v2")


def arm(name: str, version: str = "v1", weight: float = 1.0) -> Arm:
    return Arm(name=name, algorithm_version=version, weight=weight)


def experiment(name: str = "trial", **changes: Any) -> Experiment:
    arms = (arm("control"), arm("treatment", "v2"))
    return Experiment(**{"name": name, "salt": name, "traffic": 0.2, "arms": arms, "created_at": NOW, **changes})


def started(name: str = "trial", *running: Experiment, **changes: Any) -> Experiment:
    return lifecycle.start(experiment(name, **changes), running, NOW)


def buckets(found: Experiment) -> set[int]:
    return {bucket for start, end in found.buckets for bucket in range(start, end)}


def wrong(**changes: Any) -> dict[str, str]:
    with pytest.raises(BadInput) as refused:
        lifecycle.require_sound(experiment(**changes), INSTALLED)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_a_sound_experiment_is_let_be() -> None:
    lifecycle.require_sound(experiment(), INSTALLED)
    lifecycle.require_sound(experiment(design="interleaving"), INSTALLED)
    lifecycle.require_sound(experiment(unit="cluster", cluster_by="community", traffic=1.0), INSTALLED)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e7])
def test_weights_that_are_no_shares_are_named(weight: float) -> None:
    assert wrong(arms=(arm("control"), arm("treatment", weight=weight))) == {
        "arms[1].weight": "must be more than 0 and at most 1,000,000"
    }


def test_a_weight_that_leaves_an_arm_nobody_is_named() -> None:
    assert wrong(arms=(arm("control", weight=1e6), arm("treatment", weight=1e-300))) == {
        "arms[1].weight": "leaves this arm less than one of 10,000 parts"
    }


def test_an_arm_that_names_no_ranker_is_named_with_those_there_are() -> None:
    assert wrong(arms=(arm("control"), arm("treatment", "v9"))) == {
        "arms[1].algorithm_version": "no ranker named 'v9'; installed: heuristic, v1, v2"
    }


def test_two_arms_of_one_name_are_named() -> None:
    assert wrong(arms=(arm("a"), arm("b"), arm("a"))) == {"arms[2].name": "is the name of another arm, 'a'"}


@pytest.mark.parametrize("n", [0, 1, 21])
def test_too_few_or_too_many_arms_are_named(n: int) -> None:
    assert wrong(arms=tuple(arm(f"a{i}") for i in range(n))) == {"arms": "must be at least 2 and at most 20"}


def test_interleaving_takes_two_arms_and_single_viewers() -> None:
    assert set(wrong(design="interleaving", arms=tuple(arm(f"a{i}") for i in range(3)))) == {"arms"}
    assert set(wrong(design="interleaving", unit="cluster", cluster_by="location")) == {"unit"}


@pytest.mark.parametrize("traffic", [0.0, -0.1, 1.0001, 0.00001, float("nan"), float("inf")])
def test_traffic_that_is_no_share_is_named(traffic: float) -> None:
    assert set(wrong(traffic=traffic)) == {"traffic"}
    with pytest.raises(BadInput):
        lifecycle.ramp(started(), traffic, [])


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", ".hidden", "x" * 101, "a\n"])
def test_names_that_do_not_fit_a_path_are_named(name: str) -> None:
    assert set(wrong(name=name, salt="s")) == {"name"}
    assert set(wrong(layer=name)) == {"layer"}
    assert set(wrong(arms=(arm("control"), arm(name)))) == {"arms[1].name"}


def test_what_clusters_are_made_of_goes_with_the_unit() -> None:
    assert set(wrong(unit="cluster")) == {"cluster_by"}
    assert set(wrong(cluster_by="location")) == {"cluster_by"}


def test_guardrails_that_cannot_be_are_named() -> None:
    rails = Guardrails(max_p95_ms=-1, max_empty_share=1.5, max_degraded_share=float("nan"), min_newcomer_ratio=float("inf"))
    assert set(wrong(guardrails=rails)) == {
        "guardrails.max_p95_ms",
        "guardrails.max_empty_share",
        "guardrails.max_degraded_share",
        "guardrails.min_newcomer_ratio",
    }


def test_starting_gives_buckets_and_a_time() -> None:
    found = started(traffic=0.25)
    assert (found.status, found.started_at, found.buckets) == ("running", NOW, ((0, 2500),))


def test_without_a_layer_nobody_stands_in_the_way() -> None:
    assert started("second", started("first", traffic=1.0), traffic=1.0).buckets == ((0, N_BUCKETS),)


def test_a_layer_without_room_says_what_is_free_and_who_holds_it() -> None:
    first = started("first", layer="ranking", traffic=0.7)
    with pytest.raises(ExperimentConflict, match=r"'ranking' has 30\.00% .* 'second' asks for 50\.00%.* first \(70\.00%\)"):
        started("second", first, layer="ranking", traffic=0.5)
    assert started("second", first, layer="other", traffic=0.5).buckets == ((0, 5000),)


def test_a_ramp_beyond_the_layer_is_refused() -> None:
    first = started("first", layer="ranking", traffic=0.7)
    second = started("second", first, layer="ranking", traffic=0.2)
    with pytest.raises(ExperimentConflict, match=r"has 30\.00% of its traffic free"):
        lifecycle.ramp(second, 0.31, [first, second])
    assert buckets(lifecycle.ramp(second, 0.3, [first, second])) == set(range(7000, 10_000))


def test_what_has_stopped_makes_room() -> None:
    first = started("first", layer="ranking", traffic=0.7)
    assert started("second", layer="ranking", traffic=0.5).buckets == ((0, 5000),)
    assert lifecycle.stop(first, LATER).buckets == first.buckets


Step = tuple[int, str, float]
steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["start", "ramp", "stop"]), st.floats(0.0001, 1)), max_size=20)


@given(steps)
@settings(max_examples=200, deadline=None)
def test_experiments_of_one_layer_never_share_a_bucket(given_steps: list[Step]) -> None:
    all_of = {f"e{i}": experiment(f"e{i}", layer="ranking", traffic=0.3) for i in range(4)}
    for index, verb, traffic in given_steps:
        one = all_of[f"e{index}"]
        running = [each for each in all_of.values() if each.status == "running"]
        try:
            after = _step(one, verb, traffic, running)
        except ExperimentConflict:
            continue
        if after.status == "running" and after is not one:
            expected = max(int(after.traffic * N_BUCKETS + 0.5), 1)
            assert size(after.buckets) == expected == len(buckets(after))
        if verb == "ramp" and one.status == "running" and after.traffic >= one.traffic:
            assert buckets(one) <= buckets(after)
        all_of[one.name] = after
        held = [buckets(each) for each in all_of.values() if each.status == "running"]
        assert sum(map(len, held)) == len(set().union(*held))


def _step(one: Experiment, verb: str, traffic: float, running: list[Experiment]) -> Experiment:
    if verb == "start":
        return lifecycle.start(replace(one, traffic=one.traffic), running, NOW)
    return lifecycle.ramp(one, traffic, running) if verb == "ramp" else lifecycle.stop(one, LATER)


def test_less_traffic_takes_away_those_who_came_last() -> None:
    first = started("first", layer="ranking", traffic=0.1)
    second = started("second", first, layer="ranking", traffic=0.1)
    ramped = lifecycle.ramp(first, 0.2, [first, second])
    assert ramped.buckets == ((0, 1000), (2000, 3000))
    assert lifecycle.ramp(ramped, 0.15, [ramped, second]).buckets == ((0, 1000), (2000, 2500))
    assert lifecycle.ramp(ramped, 0.05, [ramped, second]).buckets == ((0, 500),)


def test_experiments_by_cluster_share_no_layer() -> None:
    by_viewer = started("first", layer="ranking", traffic=0.1)
    with pytest.raises(ExperimentConflict, match="holds 'first' by viewer, and 'second' goes by cluster"):
        started("second", by_viewer, layer="ranking", unit="cluster", cluster_by="location", traffic=0.1)


def test_what_has_stopped_does_not_start_again() -> None:
    over = lifecycle.stop(started(), LATER)
    assert (over.status, over.stopped_at) == ("stopped", LATER)
    with pytest.raises(ExperimentConflict, match="cannot start again"):
        lifecycle.start(over, [], LATER)
    with pytest.raises(ExperimentConflict, match="was stopped"):
        lifecycle.ramp(over, 0.5, [])
    with pytest.raises(ExperimentConflict, match="was stopped"):
        lifecycle.edit(over, {"guardrails": Guardrails(stop=True)})


def test_a_draft_cannot_be_stopped() -> None:
    with pytest.raises(ExperimentConflict, match="has not started"):
        lifecycle.stop(experiment(), NOW)


def test_asking_twice_for_the_same_does_no_harm() -> None:
    found = started()
    assert lifecycle.start(found, [found], LATER) == found
    assert lifecycle.ramp(found, found.traffic, [found]) == found
    assert lifecycle.edit(found, {"salt": found.salt, "arms": found.arms, "unit": found.unit}) == found
    over = lifecycle.stop(found, LATER)
    assert lifecycle.stop(over, LATER + timedelta(hours=1)) == over


@pytest.mark.parametrize(
    "changes",
    [{"salt": "x"}, {"unit": "cluster"}, {"arms": (arm("control"), arm("other"))}, {"layer": "x"}, {"design": "interleaving"}],
)
def test_what_decides_who_is_in_which_arm_is_fixed_once_it_runs(changes: dict[str, Any]) -> None:
    with pytest.raises(ExperimentConflict, match=f"is running; its {next(iter(changes))} cannot change"):
        lifecycle.edit(started(), changes)
    assert lifecycle.edit(experiment(), changes) == experiment(**changes)


def test_guardrails_may_change_while_it_runs() -> None:
    rails = Guardrails(max_p95_ms=50)
    assert lifecycle.edit(started(), {"guardrails": rails}).guardrails == rails


def test_stopping_an_arm_leaves_its_share_and_the_others() -> None:
    before = started(arms=(arm("control"), arm("b"), arm("c")))
    after = lifecycle.stop_arm(before, "b")
    assert [each.stopped for each in after.arms] == [False, True, False]
    assert (after.buckets, after.status) == (before.buckets, "running")
    assert lifecycle.stop_arm(after, "b") == after


def test_neither_the_control_nor_an_unknown_arm_nor_a_drafts_is_stopped() -> None:
    with pytest.raises(ExperimentConflict, match="is the control"):
        lifecycle.stop_arm(started(), "control")
    with pytest.raises(BadInput, match="Validation failed"):
        lifecycle.stop_arm(started(), "nobody")
    with pytest.raises(ExperimentConflict, match="does not run"):
        lifecycle.stop_arm(experiment(), "treatment")
