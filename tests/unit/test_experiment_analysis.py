"""Arms compared: agreement with tea-tasting, invariance, adjustment, clusters, and outcomes that say little or nothing."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.experiments_looks import looked_at, ordinary_half_width
from benchmarks.experiments_viewers import Simulated
from service.domain_experiments import Arm
from service.experiments.analysis import METRICS, Plan, compare
from service.experiments.covariates import adjust, before
from service.experiments.outcomes import BadOutcomes, Outcomes
from service.experiments.ratios import Counted, Terms, lift

ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
PLAIN = Plan(adjust=False)
COLUMNS = ("unit", "arm", "slates", "shown", "likes", "matches", "pre_shown", "pre_likes", "pre_opinions", "first_day")


def simulated(viewers: int = 800, lift: float = 0.1, seed: int = 3, n_clusters: int = 0) -> Simulated:
    return Simulated(np.random.default_rng(seed), viewers, lift, n_clusters)


def changed(outcomes: Outcomes, rows: Any = slice(None), **columns: Any) -> Outcomes:
    return Outcomes.of({name: getattr(outcomes, name)[rows] for name in COLUMNS} | columns, days=outcomes.days)


@pytest.mark.parametrize("metric", METRICS)
def test_fixed_horizon_agrees_with_tea_tasting(metric: str) -> None:
    outcomes = simulated().at(28)
    numerator, denominator = METRICS[metric]
    columns = {"variant": outcomes.arm, "likes": outcomes.likes, "matches": outcomes.matches, "shown": outcomes.shown}
    table = pa.table(columns | {"viewers": np.ones(len(outcomes))})
    theirs = tea_tasting.Experiment(it=tea_tasting.RatioOfMeans(numerator, denominator)).analyze(table)["it"]
    ours = compare([outcomes], ARMS, PLAIN).against[0].lifts[metric]
    assert ours.value == pytest.approx(theirs.rel_effect_size)
    assert ours.log_ratio is not None
    assert ours.se is not None
    assert ours.freedoms is not None
    half = ordinary_half_width(ours.se, 0.05, ours.freedoms)
    bounds = np.expm1([ours.log_ratio - half, ours.log_ratio + half])
    assert bounds == pytest.approx([theirs.rel_effect_size_ci_lower, theirs.rel_effect_size_ci_upper])


def test_adjustment_agrees_with_tea_tasting() -> None:
    """They take the coefficient from all viewers together, we from within the arms: alike to a hundredth of the interval."""
    outcomes = simulated(viewers=4_000).at(28)
    table = pa.table({"variant": outcomes.arm, "likes": outcomes.likes, "before": outcomes.pre_likes})
    theirs = tea_tasting.Experiment(it=tea_tasting.Mean("likes", "before")).analyze(table)["it"]
    sides = [
        Counted(
            numerator=outcomes.likes[rows],
            denominator=np.ones(rows.sum()),
            before=(outcomes.pre_likes - outcomes.pre_likes.mean())[rows, None],
        )
        for rows in (outcomes.arm == 0, outcomes.arm == 1)
    ]
    ours = lift(sides[0], sides[1], Terms())
    assert ours.se is not None
    assert ours.value is not None
    assert ours.freedoms is not None
    width = np.log1p(theirs.rel_effect_size_ci_upper) - np.log1p(theirs.rel_effect_size_ci_lower)
    assert 2 * ordinary_half_width(ours.se, 0.05, ours.freedoms) == pytest.approx(width, rel=0.02)
    assert np.log1p(ours.value) == pytest.approx(np.log1p(theirs.rel_effect_size), abs=0.02 * width)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.integers(2, 9))
def test_neither_order_nor_names_nor_scale_of_units_matter(seed: int, factor: int) -> None:
    outcomes = simulated(viewers=200).at(20)
    order = np.random.default_rng(seed).permutation(len(outcomes))
    other = changed(outcomes, order, unit=outcomes.unit[order] * factor + 1)
    first, second = (compare([each], ARMS).against[0].lifts["like_rate"] for each in (outcomes, other))
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))


def test_arms_exchanged_turn_the_lift_around() -> None:
    outcomes = simulated().at(28)
    lifts = [compare([each], ARMS).against[0].lifts["like_rate"] for each in (outcomes, changed(outcomes, arm=1 - outcomes.arm))]
    assert lifts[0].log_ratio == pytest.approx(-(lifts[1].log_ratio or 0))
    assert 1 + (lifts[0].high or 0) == pytest.approx(1 / (1 + (lifts[1].low or 0)))


def test_experiments_without_a_difference_find_one_in_few() -> None:
    looks = looked_at(40, viewers=300)
    assert looks.found()[:, -1].mean(axis=0).max() <= 0.05
    assert looks.found_ordinarily()[:, -1].any(axis=1).mean() > 0.3


def test_true_lift_is_within_at_all_looks() -> None:
    looks = looked_at(25, viewers=500, lift=0.2)
    assert looks.missed()[:, -1].mean(axis=0).max() <= 0.05


def test_behaviour_from_before_narrows_and_does_not_shift_on_average() -> None:
    plain, adjusted = (looked_at(12, viewers=500, lift=0.2, adjust=adjust) for adjust in (False, True))
    like_rate = list(METRICS).index("like_rate")
    widths = [np.log((1 + each.high) / (1 + each.low))[:, -1, like_rate].mean() for each in (plain, adjusted)]
    assert widths[1] < 0.8 * widths[0]
    assert adjusted.value[:, -1, like_rate].mean() == pytest.approx(0.2, abs=0.05)


def test_viewers_of_a_cluster_count_as_one() -> None:
    """Everything that is of one town hangs together: taken one by one, viewers make the interval look too narrow."""
    outcomes = simulated(viewers=3_000, n_clusters=30).at(28)
    towns = compare([outcomes], ARMS, Plan(unit="cluster", adjust=False))
    alone = compare([changed(outcomes, unit=np.arange(len(outcomes)))], ARMS, PLAIN)
    assert [arm.units for arm in towns.arms] == [15, 15]
    assert [arm.viewers for arm in towns.arms] == [arm.viewers for arm in alone.arms]
    first, second = (each.against[0].lifts["like_rate"] for each in (towns, alone))
    assert first.value == pytest.approx(second.value)
    assert (first.se or 0) > (second.se or 0)
    assert (first.freedoms or 0) < 30 < (second.freedoms or 0)


def test_several_treatments_share_out_alpha() -> None:
    outcomes = simulated(viewers=900).at(28)
    arms = (*ARMS, Arm(name="third", algorithm_version="v3"))
    three = changed(outcomes, arm=np.arange(len(outcomes)) % 3)
    comparison = compare([three], arms)
    assert comparison.terms.alpha == 0.025
    assert [each.name for each in comparison.against] == ["treatment", "third"]


def test_an_arm_that_has_stopped_keeps_its_part_of_alpha() -> None:
    """It has been looked at: with all of alpha left to the other, one of them would be found wrongly in up to 7.5 % of tests."""
    outcomes = simulated(viewers=900).at(28)
    arms = (*ARMS, Arm(name="third", algorithm_version="v3", stopped=True))
    assert compare([changed(outcomes, arm=np.arange(len(outcomes)) % 3)], arms).terms.alpha == 0.025


def test_stopped_arm_keeps_its_figures_and_has_no_lift() -> None:
    stopped = (ARMS[0], Arm(name="treatment", algorithm_version="v2", stopped=True))
    comparison = compare([simulated().at(28)], stopped)
    assert comparison.against[0].lifts == {}
    assert comparison.mismatch is None
    assert comparison.arms[1].likes > 0
    assert comparison.arms[1].rates["like_rate"].low is not None


def test_pace_is_taken_between_two_looks() -> None:
    experiment = simulated()
    since_start = compare([experiment.at(28)], ARMS).against[0].information_per_day
    lately = compare([experiment.at(21), experiment.at(28)], ARMS).against[0].information_per_day
    early, late = (compare([experiment.at(day)], ARMS).against[0].lifts["matches_per_viewer"].se for day in (21, 28))
    assert since_start == pytest.approx((late or 0) ** -2 / 28)
    assert lately == pytest.approx(((late or 0) ** -2 - (early or 0) ** -2) / 7)


def test_nobody_exposed_gives_figures_of_nothing() -> None:
    comparison = compare([Outcomes.of({name: [] for name in COLUMNS}, days=0)], ARMS)
    assert [arm.viewers for arm in comparison.arms] == [0, 0]
    assert comparison.arms[0].rates["like_rate"].value is None
    assert comparison.against[0].lifts["like_rate"].value is None
    assert comparison.mismatch is not None


def test_empty_arm_leaves_the_other_its_rates() -> None:
    outcomes = simulated().at(28)
    comparison = compare([changed(outcomes, outcomes.arm == 0)], ARMS)
    assert comparison.against[0].lifts["like_rate"].low is None
    assert comparison.arms[0].rates["like_rate"].low is not None
    assert comparison.arms[1].rates["like_rate"].value is None


def test_units_that_do_not_vary_have_a_lift_without_an_interval() -> None:
    outcomes = simulated().at(28)
    flat = changed(outcomes, likes=2 + outcomes.arm, shown=np.full(len(outcomes), 20))
    found = compare([flat], ARMS, PLAIN).against[0].lifts["like_rate"]
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high, found.p_value) == (None, None, None)


def test_no_matches_at_all_is_no_rate_to_compare() -> None:
    outcomes = simulated().at(28)
    comparison = compare([changed(outcomes, matches=0 * outcomes.matches)], ARMS)
    assert comparison.arms[0].rates["matches_per_viewer"].value == 0
    assert comparison.against[0].lifts["matches_per_viewer"].value is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arm": np.full(10, 2)}, "there are 2"),
        ({"unit": np.zeros(10)}, "two arms"),
        ({"likes": np.full(10, np.nan)}, "likes"),
        ({"shown": np.full(10, -1.0)}, "shown"),
        ({"matches": np.zeros(9)}, "matches"),
    ],
)
def test_outcomes_that_cannot_be_are_refused_by_name(columns: dict[str, Any], message: str) -> None:
    whole = {name: np.ones(10) for name in COLUMNS} | {"unit": np.arange(10), "arm": np.arange(10) % 2}
    with pytest.raises(BadOutcomes, match=message):
        compare([Outcomes.of(whole | columns, days=3)], ARMS)


def test_no_look_at_all_is_refused() -> None:
    with pytest.raises(BadOutcomes, match="one look"):
        compare([], ARMS)


def test_few_in_one_arm_are_not_fitted_by_many_covariates() -> None:
    """Ten viewers against many: nothing is taken off, for there is nothing to learn of ten."""
    outcomes = simulated(viewers=800).at(28)
    few = np.flatnonzero(outcomes.arm == 1)[:10]
    rows = np.concatenate([np.flatnonzero(outcomes.arm == 0), few])
    assert compare([changed(outcomes, rows)], ARMS).against[0].lifts["like_rate"].explained == 0


def test_the_few_who_did_far_more_before_than_others_are_cut_to_the_next() -> None:
    outcomes = simulated(viewers=800).at(28)
    most = np.where(np.arange(len(outcomes)) == 3, 1e9, outcomes.pre_opinions)
    own, other = before(outcomes), before(changed(outcomes, pre_opinions=most))
    assert other.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-6)
    assert np.ptp(other[:, 3]) == pytest.approx(np.ptp(own[:, 3]), rel=0.1)


def test_residuals_are_those_of_units_left_out() -> None:
    """A viewer who was very active before pulls the coefficients, so that its own residual would look small."""
    rng = np.random.default_rng(12)
    before, likes = rng.pareto(1.2, (2, 30, 2)), rng.normal(size=(2, 30))
    likes -= likes.mean(axis=1, keepdims=True)
    left_out = adjust((likes[0], likes[1]), (before[0], before[1])).effects[0][7]
    arms = np.repeat([[1.0, 0.0], [0.0, 1.0]], 30, axis=0)
    design, effect = np.hstack([arms, before.reshape(60, 2)]), likes.reshape(60)
    others = np.arange(60) != 7
    coefficients = np.linalg.lstsq(design[others], effect[others])[0]
    assert left_out == pytest.approx(effect[7] - design[7] @ coefficients)
