"""Reports say what was counted, what it means, and what they rest on."""

from datetime import timedelta
from weakref import WeakSet

import msgspec
import numpy as np
import pytest

from service.domain_experiments import Arm, ClusterMap, Guardrails
from service.experiments.outcomes import Outcomes
from service.experiments.reports import Report
from service.reporting.judging import judged
from service.reporting.looks import Moment, Table
from service.repositories.arm_figures import ArmServed
from tests.experiment_evidence import ARMS, evidence, sums

STOPPED = (ARMS[0], Arm(name="treatment", algorithm_version="v2", stopped=True))


def test_a_report_gives_the_figures_of_each_arm() -> None:
    given = evidence()
    report = judged(given)
    observed = given.observed
    for place, arm in enumerate(report.arms):
        mine = observed.given.arm == place
        assert arm.viewers == arm.units == 300
        assert (arm.slates, arm.impressions) == (mine.sum(), 20 * mine.sum())
        likes = observed.liked.arm == place
        assert (arm.likes, arm.matches) == (likes.sum(), (likes & (observed.liked.match_day >= 0)).sum())
        assert arm.rates["like_rate"].value == arm.likes / arm.impressions
    assert report.days == 9.5
    assert list(report.arms[1].lifts) == ["matches_per_viewer", "matches_per_shown", "like_rate"]
    assert report.arms[0].lifts == {}


def test_a_large_difference_is_told_in_words() -> None:
    [verdict] = judged(evidence(lift=1.0)).verdicts
    assert (verdict.kind, verdict.arm) == ("better", "treatment")
    assert "treatment is better than control" in verdict.text


def test_too_little_data_is_told_in_words() -> None:
    [verdict] = judged(evidence(n_viewers=60, days=2)).verdicts
    assert verdict.kind == "not_enough_data"
    assert verdict.text.startswith("Not enough data")


@pytest.mark.parametrize("days", [0.0, 0.2, 3.0])
def test_an_experiment_that_nobody_has_met_yet_has_a_report(days: float) -> None:
    report = judged(evidence(n_viewers=0, days=days))
    assert [arm.viewers for arm in report.arms] == [0, 0]
    assert report.verdicts[0].kind == "not_enough_data"


def test_arms_of_the_wrong_size_take_the_verdict_away() -> None:
    weights = (Arm(name="control", algorithm_version="v1", weight=2), Arm(name="treatment", algorithm_version="v2"))
    report = judged(evidence(lift=1.0, arms=weights))
    assert report.mismatch is not None
    assert report.mismatch.found
    assert report.verdicts[0].kind == "mismatch"


def test_each_look_is_as_it_would_have_been_then() -> None:
    given = evidence(days=4.5)
    looks = judged(given).looks
    assert [look.days for look in looks] == [1, 2, 3, 4, 4.5]
    early = judged(evidence(days=4.5, lift=0.0)).looks[2].rates["control"]["like_rate"].value
    then = given.observed.given.day < 3
    liked = given.observed.liked
    likes = ((liked.day < 3) & (liked.arm == 0)).sum()
    assert early == likes / given.observed.given.shown[then & (given.observed.given.arm == 0)].sum()


def test_the_last_look_is_the_report_itself() -> None:
    report = judged(evidence(lift=0.3))
    last, lift = report.looks[-1], report.arms[1].lifts["like_rate"]
    assert last.rates["control"] == report.arms[0].rates
    assert (last.lifts["treatment"]["like_rate"].low, last.lifts["treatment"]["like_rate"].high) == (lift.low, lift.high)


def test_the_outcomes_of_few_looks_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, alive, most = Table.outcomes, WeakSet[Outcomes](), 0

    def counted(table: Table, moment: Moment) -> Outcomes:
        nonlocal most
        alive.add(outcomes := made(table, moment))
        most = max(most, len(alive))
        return outcomes

    monkeypatch.setattr(Table, "outcomes", counted)
    assert len(judged(evidence(n_viewers=50, days=20)).looks) == 20
    assert most <= 3


def test_how_the_arms_served_is_told() -> None:
    served = {
        "treatment": ArmServed(
            arm="treatment",
            degraded=sums([1, 0], [2, 2]),
            empty=sums([0, 0], [2, 2]),
            newcomers=sums([3, 5], [40, 40]),
            p50_ms=2.0,
            p95_ms=9.0,
        )
    }
    control, treatment = judged(evidence(served=served)).arms
    assert (treatment.degraded_share, treatment.empty_share, treatment.newcomer_share) == (0.25, 0.0, 0.1)
    assert (treatment.p50_ms, treatment.p95_ms, control.p95_ms) == (2.0, 9.0, None)


def test_an_arm_that_a_guardrail_has_ended_says_which() -> None:
    served = {"control": ArmServed(arm="control"), "treatment": ArmServed(arm="treatment", degraded=sums(np.ones(50), 1))}
    report = judged(evidence(served=served, arms=STOPPED, guardrails=Guardrails(max_degraded_share=0.05, stop=True)))
    assert [(kept.arm, kept.state) for kept in report.guardrails] == [("control", "kept"), ("treatment", "broken")]
    assert report.verdicts[0].kind == "stopped"
    assert "max_degraded_share" in report.verdicts[0].text
    assert report.arms[1].lifts == {}


def test_an_arm_that_an_operator_has_ended_is_not_said_to_have_been_ended_by_a_guardrail() -> None:
    served = {"control": ArmServed(arm="control"), "treatment": ArmServed(arm="treatment", degraded=sums(np.ones(50), 1))}
    [verdict] = judged(evidence(served=served, arms=STOPPED, guardrails=Guardrails(max_degraded_share=0.05))).verdicts
    assert verdict.text == "treatment was stopped: its viewers get the default."


def test_viewers_randomised_one_by_one_is_said_with_what_it_assumes() -> None:
    randomisation = judged(evidence()).randomisation
    assert (randomisation.unit, randomisation.units) == ("viewer", 600)
    assert randomisation.touched == pytest.approx(0.5, abs=0.05)
    assert "one by one" in randomisation.statement
    assert "randomise clusters" in randomisation.statement


def test_clusters_are_the_unit_where_they_were_randomised() -> None:
    given = evidence(unit="cluster", cluster_by="location")
    viewers = np.unique(given.observed.given.viewer)
    clusters = ClusterMap(viewers, (viewers % 40).astype(np.int32))
    report = judged(msgspec.structs.replace(given, clusters=clusters))
    assert [(arm.units, arm.viewers) for arm in report.arms] == [(20, 300), (20, 300)]
    assert "Clusters were randomised whole, 40 of them, made by place" in report.randomisation.statement


def test_interleaving_prefers_the_ranker_whose_people_are_liked() -> None:
    report = judged(evidence(lift=0.8, design="interleaving"))
    assert report.interleaved is not None
    first, second = report.arms
    assert (report.interleaved.likes.first, report.interleaved.likes.second) == (first.likes, second.likes)
    assert (first.viewers, first.impressions, report.mismatch) == (600, 9 * first.slates, None)
    assert report.verdicts[0].kind == "better"
    assert report.looks[-1].preferences["likes"].value == report.interleaved.likes.value
    assert "Nobody was assigned" in report.randomisation.statement


def test_an_interleaving_that_a_guardrail_has_ended_says_so() -> None:
    served = {"interleaved": ArmServed(arm="interleaved", empty=sums(np.ones(50), 1))}
    rails = Guardrails(max_empty_share=0.1, stop=True)
    [verdict] = judged(evidence(design="interleaving", arms=STOPPED, served=served, guardrails=rails)).verdicts
    assert verdict.kind == "stopped"
    assert "max_empty_share" in verdict.text


def test_a_report_survives_the_way_through_json() -> None:
    for given in (evidence(lift=0.5), evidence(n_viewers=3), evidence(design="interleaving")):
        encoded = msgspec.json.encode(judged(given))
        assert msgspec.json.encode(msgspec.json.decode(encoded, type=Report)) == encoded


def test_an_experiment_older_than_slates_are_kept_says_what_is_missing() -> None:
    given = evidence()
    since = given.window.since
    for kept_since, told in ((since - timedelta(days=1), 0), (None, 0), (since + timedelta(days=2), 1)):
        notes = judged(msgspec.structs.replace(given, kept_since=kept_since)).notes
        assert len(notes) == told
        assert all("2026-10-07" in note for note in notes)
