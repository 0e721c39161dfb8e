"""Verdicts in words, sample-ratio mismatch, and the credit of interleaving."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments_viewers import Simulated
from service.domain_experiments import Arm
from service.experiments import mismatch
from service.experiments.analysis import DEFAULT_PLAN, Comparison, Plan, compare
from service.experiments.credit import prefer
from service.experiments.mismatch import of_shares
from service.experiments.outcomes import BadOutcomes, Credits, Outcomes
from service.experiments.ratios import Terms
from service.experiments.verdict import judge, judge_preference

ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))


def compared(viewers: int = 3_000, lift: float = 0.0, n_clusters: int = 0, plan: Plan = DEFAULT_PLAN) -> Comparison:
    return compare([Simulated(np.random.default_rng(4), viewers, lift, n_clusters).at(28)], ARMS, plan)


def credits_of(first: list[int] | np.ndarray, second: list[int] | np.ndarray, days: int = 7) -> Credits:
    names = ("slates", "first_shown", "second_shown", "first_matches", "second_matches")
    columns = {name: np.ones(len(first)) for name in names}
    return Credits.of(columns | {"unit": np.arange(len(first)), "first_likes": first, "second_likes": second}, days=days)


@pytest.mark.parametrize(("lift", "kind"), [(0.6, "better"), (-0.5, "worse")])
def test_sure_difference_is_said_with_its_bounds(lift: float, kind: str) -> None:
    verdict = judge(compared(lift=lift))[0]
    assert verdict.kind == kind
    assert verdict.arm == "treatment"
    assert f"treatment is {kind} than control: matches per viewer are" in verdict.text
    assert "between" in verdict.text


def test_small_difference_at_most_is_said_as_such() -> None:
    verdict = judge(compared(plan=Plan(smallest_lift=0.5)))[0]
    assert verdict.kind == "no_difference"
    assert verdict.text.startswith("There is no difference larger than")


def test_too_little_is_said_with_the_days_it_takes_yet() -> None:
    verdict = judge(compared(viewers=1_500, plan=Plan(smallest_lift=0.2)))[0]
    assert verdict.kind == "not_enough_data"
    assert verdict.more_days is not None
    assert f"About {verdict.more_days} more days" in verdict.text


def test_days_foretold_are_about_those_it_takes() -> None:
    """A steady stream of viewers seen once: with as many days more as foretold, a lift of that size is found by four in five."""
    rng = np.random.default_rng(9)

    def outcomes(days: int, lift: float) -> Outcomes:
        n = days * 200
        arm = rng.integers(0, 2, n)
        likes = rng.poisson(2 * (1 + lift * arm))
        columns = dict.fromkeys(("slates", "pre_shown", "pre_likes", "pre_opinions", "first_day"), np.zeros(n))
        return Outcomes.of(
            columns | {"unit": np.arange(n), "arm": arm, "shown": np.full(n, 20), "likes": likes, "matches": likes}, days
        )

    plan = Plan(smallest_lift=0.1)
    foretold = [judge(compare([outcomes(3, 0.0)], ARMS, plan))[0].more_days or 0 for _ in range(40)]
    wanted = 3 + round(float(np.median(foretold)))
    found = [judge(compare([outcomes(wanted, 0.1)], ARMS, plan))[0].kind == "better" for _ in range(100)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.12)


def test_more_than_a_year_is_not_counted_in_days() -> None:
    verdict = judge(compared(plan=Plan(smallest_lift=0.001)))[0]
    assert "more than a year" in verdict.text


def test_nobody_exposed_is_not_enough_data() -> None:
    verdict = judge(compare([Simulated(np.random.default_rng(4), 3, 0.0).at(1)], ARMS))[0]
    assert verdict.kind == "not_enough_data"
    assert verdict.more_days is None


def test_other_metrics_that_surely_moved_are_noted() -> None:
    verdict = judge(compared(lift=0.6))[0]
    assert any(note.startswith("Likes per person shown are") for note in verdict.notes)


def test_mismatch_takes_the_verdict_away() -> None:
    whole = Simulated(np.random.default_rng(4), 3_000, 0.6).at(28)
    kept = (whole.arm == 0) | (np.arange(len(whole)) % 3 > 0)
    names = [name for name in Outcomes.__annotations__ if name != "days"]
    verdict = judge(compare([Outcomes.of({name: getattr(whole, name)[kept] for name in names}, days=28)], ARMS))[0]
    assert verdict.kind == "mismatch"
    assert verdict.text.startswith("Do not trust these figures")


def test_stopped_arm_says_why() -> None:
    stopped = (ARMS[0], msgspec.structs.replace(ARMS[1], stopped=True))
    comparison = compare([Simulated(np.random.default_rng(4), 500, 0.0).at(28)], stopped)
    assert judge(comparison, {"treatment": "max_p95_ms"})[0].text == "treatment was stopped: max_p95_ms."


def test_few_clusters_give_no_verdict_and_some_a_caution() -> None:
    few = judge(compared(lift=2.0, n_clusters=16, plan=Plan(unit="cluster")))[0]
    some = judge(compared(lift=2.0, n_clusters=30, plan=Plan(unit="cluster")))[0]
    assert few.kind == "not_enough_data"
    assert "8 clusters" in few.text
    assert some.kind == "better"
    assert any("clusters" in note for note in some.notes)


def test_sizes_as_the_weights_say_are_no_mismatch() -> None:
    found = of_shares((6_010, 2_990), (2, 1))
    assert not found.found
    assert found.expected == (6_000, 3_000)


def test_sizes_far_from_the_weights_are_found() -> None:
    assert of_shares((10_000, 9_300), (1, 1)).found


def test_nobody_yet_is_no_mismatch() -> None:
    assert of_shares((0, 0), (1, 1)).p_value == 1


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=4), scale=st.floats(0.1, 100))
def test_only_relative_weights_matter(counts: list[int], scale: float) -> None:
    weights = range(1, len(counts) + 1)
    first, second = of_shares(counts, tuple(weights)), of_shares(counts, [scale * weight for weight in weights])
    assert 0 <= first.p_value <= 1
    assert first.p_value == pytest.approx(second.p_value, rel=1e-4)


def test_alarms_over_daily_looks_are_as_rare_as_alpha() -> None:
    arriving = np.cumsum(np.random.default_rng(8).binomial(300, 0.5, (300, 28)), axis=1)
    daily = 300 * np.arange(1, 29)
    alarms = [
        any(of_shares((a, d - a), (1, 1), 0.05).found for a, d in zip(row, daily, strict=True)) for row in arriving.tolist()
    ]
    assert np.mean(alarms) <= 0.05
    assert mismatch.ALPHA < 0.05


def test_team_that_is_liked_more_is_preferred() -> None:
    rng = np.random.default_rng(2)
    found = prefer(credits_of(rng.poisson(1.0, 2_000), rng.poisson(1.3, 2_000)), ARMS, Terms())
    assert found.likes.value == pytest.approx(0.3 / 2.3, abs=0.03)
    assert (found.likes.low or 0) > 0
    assert judge_preference(found, 0.05).kind == "better"


@given(seed=st.integers(0, 10_000))
def test_teams_exchanged_turn_the_preference_around(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.poisson(1.0, 60), rng.poisson(1.2, 60)
    one, other = (prefer(credits_of(*pair), ARMS, Terms()).likes for pair in ((first, second), (second, first)))
    assert one.value == pytest.approx(-(other.value or 0))
    assert one.low == pytest.approx(-(other.high or 0))


def test_preference_is_found_wrongly_in_few_that_are_looked_at_daily() -> None:
    """Viewers return, and each keeps to their habits; teams differ by the draft's coin alone."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(100):
        daily = rng.poisson(rng.gamma(0.5, 1.0, 300), (28, 300))
        first = rng.binomial(daily, 0.5)
        sums = np.cumsum(first, axis=0), np.cumsum(daily - first, axis=0)
        p_values = [prefer(credits_of(a, b), ARMS, Terms()).likes.p_value or 1.0 for a, b in zip(*sums, strict=True)]
        wrong += min(p_values) < 0.05
    assert wrong / 100 <= 0.05


def test_nobody_who_liked_is_no_preference() -> None:
    found = prefer(credits_of([], []), ARMS, Terms())
    assert found.likes.value is None
    assert judge_preference(found, 0.05).kind == "not_enough_data"


def test_equal_teams_of_many_are_said_to_be_equal() -> None:
    rng = np.random.default_rng(3)
    found = prefer(credits_of(rng.poisson(2, 60_000), rng.poisson(2, 60_000)), ARMS, Terms())
    assert judge_preference(found, 0.1).kind == "no_difference"


def test_few_likes_are_said_with_the_days_it_takes_yet() -> None:
    rng = np.random.default_rng(3)
    verdict = judge_preference(prefer(credits_of(rng.poisson(1, 500), rng.poisson(1, 500)), ARMS, Terms()), 0.1)
    assert verdict.kind == "not_enough_data"
    assert verdict.more_days
    assert f"About {verdict.more_days} more days" in verdict.text


def test_other_than_two_arms_are_not_interleaved() -> None:
    with pytest.raises(BadOutcomes, match="two arms"):
        prefer(credits_of([], []), ARMS[:1], Terms())


def test_preference_is_as_wide_as_confidence_sequences_are() -> None:
    found = prefer(credits_of(np.repeat([0, 1], 500), np.repeat([1, 0], 500)), ARMS, Terms()).likes
    assert (found.high or 0) / (found.se or 1) == pytest.approx(3.1, abs=0.1)


def test_precise_enough_and_yet_undecided_waits_until_it_must_be_decided() -> None:
    """1.5 standard errors from none: the interval leaves neither side, though an effect of the size would mostly be seen."""
    verdict = judge_preference(
        prefer(credits_of(np.repeat([1, 0], (966, 1034)), np.repeat([0, 1], (966, 1034))), ARMS, Terms()), 0.18
    )
    assert verdict.kind == "not_enough_data"
    assert verdict.more_days is not None
    assert 5 <= verdict.more_days <= 15
