"""Guardrails: what is surely broken, what may be chance, and which arm has to go for it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from service.domain_experiments import Arm, Experiment, Guardrails
from service.experiments.guardrails import ALPHA, examine, p_above, p_below, to_stop, watched_arms
from service.repositories.arm_figures import ArmServed
from tests.experiment_evidence import sums

ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))


def experiment(rails: Guardrails, **changes: Any) -> Experiment:
    given: dict[str, Any] = {"name": "trial", "salt": "s", "traffic": 1.0, "arms": ARMS, "guardrails": rails, "status": "running"}
    return Experiment(**given | {"created_at": datetime(2026, 11, 1, tzinfo=UTC)} | changes)


def states(rails: Guardrails, **served: ArmServed) -> list[tuple[str, str, str]]:
    return [(kept.arm, kept.guardrail, kept.state) for kept in examine(experiment(rails), served)]


@pytest.mark.parametrize(("n_viewers", "state"), [(2, "unsure"), (8, "unsure"), (20, "broken")])
def test_some_viewers_of_whom_all_slates_fail_are_proof_and_few_are_not(n_viewers: int, state: str) -> None:
    failing = ArmServed(arm="treatment", degraded=sums(np.ones(n_viewers), 1))
    assert states(Guardrails(max_degraded_share=0.05), treatment=failing) == [("treatment", "max_degraded_share", state)]


def test_one_viewer_with_a_thousand_failed_slates_is_no_proof() -> None:
    alone = sums([1_000] + [0] * 20, [1_000] + [1] * 20)
    assert alone.share == pytest.approx(0.98, abs=0.01)
    assert p_above(alone, 0.05) > ALPHA


def test_an_arm_that_keeps_its_bound_is_seldom_taken_for_one_that_does_not_however_often_one_looks() -> None:
    rng, alarms, n_runs = np.random.default_rng(7), 0, 1_000
    for _ in range(n_runs):
        n = rng.geometric(0.3, 2_000)
        y = rng.binomial(n, rng.beta(0.5, 9.5, 2_000))  # 5 % on average; viewers differ a great deal
        looks = [sums(y[:seen], n[:seen]) for seen in (10, 20, 40, 80, 160, 320, 640, 1_280, 2_000)]
        alarms += any(p_above(look, 0.05) < ALPHA for look in looks)
    assert alarms / n_runs <= ALPHA


def test_a_high_bound_that_is_kept_is_not_found_broken_before_those_who_keep_it_were_seen() -> None:
    rng, alarms, n_runs = np.random.default_rng(5), 0, 200
    for _ in range(n_runs):
        n = rng.geometric(0.05, 200)
        y = n * (rng.random(200) < 0.9)  # all slates of a viewer fail, or none
        alarms += any(p_above(sums(y[:seen], n[:seen]), 0.9) < ALPHA for seen in range(5, 200, 5))
    assert alarms / n_runs <= ALPHA


def test_newcomers_shown_to_few_viewers_are_not_missed_in_a_smaller_arm_that_had_less_of_those() -> None:
    rng, alarms, n_runs = np.random.default_rng(5), 0, 200

    def positions(n_viewers: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
        n = 20 * rng.geometric(0.05, n_viewers)
        return rng.binomial(n, 0.5 * ratio * (rng.random(n_viewers) < 0.1)), n

    for _ in range(n_runs):
        (y, n), (usual_y, usual_n) = positions(400, 0.5), positions(2_000, 1.0)
        looks = range(10, 400, 10)
        alarms += any(p_below(sums(y[:k], n[:k]), sums(usual_y[: 5 * k], usual_n[: 5 * k]), 0.5) < ALPHA for k in looks)
    assert alarms / n_runs <= ALPHA


def test_a_share_of_twice_the_bound_is_found_among_a_thousand_viewers() -> None:
    y = np.random.default_rng(7).binomial(3, 0.1, 1_000)
    assert p_above(sums(y, 3), 0.05) < ALPHA


def test_a_bound_of_zero_allows_nothing_and_can_be_kept() -> None:
    assert p_above(sums(np.zeros(50), 3), 0.0) == 1.0
    assert p_above(sums(np.ones(50), 3), 0.0) < ALPHA


def test_a_95th_percentile_is_too_long_when_more_than_one_in_twenty_takes_longer() -> None:
    fast, slow = ArmServed(arm="control", slow=sums(np.zeros(500), 1)), ArmServed(arm="treatment", slow=sums(np.ones(500), 5))
    rails = Guardrails(max_p95_ms=50)
    assert states(rails, control=fast, treatment=slow) == [
        ("control", "max_p95_ms", "kept"),
        ("treatment", "max_p95_ms", "broken"),
    ]


def test_newcomers_are_compared_with_those_of_the_control() -> None:
    rng = np.random.default_rng(3)
    usual, fewer = sums(rng.binomial(20, 0.2, 800), 20), sums(rng.binomial(20, 0.1, 800), 20)
    assert p_below(fewer, usual, 0.8) < ALPHA
    assert p_below(fewer, usual, 0.45) == 1.0
    assert p_below(usual, usual, 1.05) > ALPHA


def test_an_arm_that_shows_no_newcomer_at_all_is_found() -> None:
    usual, none = sums(np.random.default_rng(3).binomial(20, 0.2, 300), 20), sums(np.zeros(300), 20)
    assert p_below(none, usual, 0.5) < ALPHA


def test_the_control_has_no_ratio_to_itself_and_what_is_not_set_is_not_watched() -> None:
    served = {name: ArmServed(arm=name, newcomers=sums(np.ones(50), 10)) for name in ("control", "treatment")}
    assert states(Guardrails(min_newcomer_ratio=0.5), **served) == [("treatment", "min_newcomer_ratio", "kept")]
    assert states(Guardrails(), **served) == []


def test_nothing_seen_yet_breaks_nothing() -> None:
    rails = Guardrails(max_p95_ms=1, max_degraded_share=0, max_empty_share=0, min_newcomer_ratio=1, stop=True)
    served = {name: ArmServed(arm=name) for name in ("control", "treatment")}
    examined = examine(experiment(rails), served)
    assert {kept.state for kept in examined} == {"kept"}
    assert to_stop(experiment(rails), examined) == {}


FAILING = ArmServed(arm="treatment", degraded=sums(np.ones(50), 1))
FINE = ArmServed(arm="control", degraded=sums(np.zeros(50), 1))


def test_an_arm_ends_only_where_the_guardrails_say_so() -> None:
    for stop, ending in ((True, ["treatment"]), (False, [])):
        trial = experiment(Guardrails(max_degraded_share=0.05, stop=stop))
        assert list(to_stop(trial, examine(trial, {"control": FINE, "treatment": FAILING}))) == ending


def test_the_control_never_ends_and_an_arm_stays_that_fails_no_worse() -> None:
    trial = experiment(Guardrails(max_degraded_share=0.05, stop=True))
    everybody = {name: ArmServed(arm=name, degraded=FAILING.degraded) for name in ("control", "treatment")}
    assert to_stop(trial, examine(trial, everybody)) == {}


def test_an_arm_that_has_ended_does_not_end_again() -> None:
    stopped = (ARMS[0], Arm(name="treatment", algorithm_version="v2", stopped=True))
    trial = experiment(Guardrails(max_degraded_share=0.05, stop=True), arms=stopped)
    assert to_stop(trial, examine(trial, {"control": FINE, "treatment": FAILING})) == {}


def test_of_two_rankers_that_share_their_slates_the_new_one_ends() -> None:
    trial = experiment(Guardrails(max_degraded_share=0.05, stop=True), design="interleaving")
    assert watched_arms(trial) == ("interleaved",)
    shared = {"interleaved": ArmServed(arm="interleaved", degraded=FAILING.degraded)}
    assert list(to_stop(trial, examine(trial, shared))) == ["treatment"]


def test_an_arm_of_an_ab_experiment_may_be_called_interleaved() -> None:
    named = tuple(Arm(name=name, algorithm_version="v1") for name in ("control", "treatment", "interleaved"))
    trial = experiment(Guardrails(max_degraded_share=0.05, stop=True), arms=named)
    served = {name: ArmServed(arm=name, degraded=FINE.degraded) for name in ("control", "treatment")}
    assert list(to_stop(trial, examine(trial, served | {"interleaved": FAILING}))) == ["interleaved"]
