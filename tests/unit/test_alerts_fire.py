"""Alerts fire when people are hurt and keep still when they are not, as Prometheus itself judges them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.embedded import ROOT
from tests.programs import program

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
ROUTE = "/api/v1/recommendations/users/{user_id}/recommendations"
GET = f'method="GET", route="{ROUTE}"'


def promtool() -> str:
    return program("promtool", brought_by="Debian's package prometheus")


def judged(folder: Path, given: dict[str, str], alert: str, at: str, fires: list[dict[str, str]], every: str = "1m") -> None:
    """Series by their values, one a minute unless told, in promtool's notation; `fires`: the labels with which the alert fires
    then."""
    (rule,) = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if rule["alert"] == alert]
    expected = [{"exp_labels": {"severity": rule["labels"]["severity"], **labels}} for labels in fires]
    test: dict[str, Any] = {
        "interval": every,
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
                "eval_time": at,
                "exp_samples": [
                    {"labels": _labels({"alertname": alert, "alertstate": "firing", **each["exp_labels"]}), "value": 1}
                    for each in expected
                ],
            }
        ],
    }
    alone = folder / "rules.yml"  # all of them take Prometheus five times as long
    alone.write_text(yaml.safe_dump({"groups": [{"name": "judged", "rules": [rule]}]}))
    whole = {"rule_files": [str(alone)], "evaluation_interval": every, "tests": [test]}
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(whole))
    said = subprocess.run([promtool(), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def _labels(labels: dict[str, str]) -> str:
    inside = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"ALERTS{{{inside}}}"


def counted(per_minute: int, minutes: int = 420) -> str:
    return f"0+{per_minute}x{minutes}"


def requests(failing: int, of: int = 1000, times: int = 420) -> dict[str, str]:
    """So many of so many requests a minute, for seven hours unless told."""
    name = "amity_http_request_seconds_count"
    return {
        f'{name}{{{GET}, status="200"}}': counted(of - failing, times),
        f'{name}{{{GET}, status="500"}}': counted(failing, times),
    }


def test_rules_are_rules() -> None:
    said = subprocess.run([promtool(), "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_many_errors_wake_somebody(tmp_path: Path) -> None:
    judged(tmp_path, requests(20), "AmityErrorsFast", "70m", [{}])


def test_few_errors_wait_for_the_morning(tmp_path: Path) -> None:
    judged(tmp_path, requests(8), "AmityErrorsFast", "70m", [])
    judged(tmp_path, requests(8), "AmityErrorsSlow", "6h30m", [{}])


def test_errors_within_the_promise_tell_nobody(tmp_path: Path) -> None:
    judged(tmp_path, requests(1), "AmityErrorsSlow", "6h30m", [])
    judged(tmp_path, requests(5, of=10_000, times=300), "AmityErrorsLong", "74h", [], every="15m")


def test_errors_a_little_past_the_promise_are_told_after_days(tmp_path: Path) -> None:
    judged(tmp_path, requests(2), "AmityErrorsSlow", "6h30m", [])
    judged(tmp_path, requests(20, of=10_000, times=300), "AmityErrorsLong", "74h", [{}], every="15m")


@pytest.mark.parametrize(("answers", "fires"), [(1, []), (20, [{}])])
def test_one_failure_of_sixty_wakes_nobody(tmp_path: Path, answers: int, fires: list[dict[str, str]]) -> None:
    name = f"amity_http_request_seconds_count{{{GET}"
    failing = f"0x57 {answers}+{answers}x2 {3 * answers}x60"
    judged(
        tmp_path,
        {f'{name}, status="200"}}': counted(1, 120), f'{name}, status="500"}}': failing},
        "AmityErrorsFast",
        "62m",
        fires,
    )


def test_refused_rankings_are_no_share_of_recommendations_alone(tmp_path: Path) -> None:
    name, why = "amity_http_request_seconds_count", 'amity_refused_total{reason="queue_full"}'
    rank = f'{name}{{method="POST", route="/api/v1/recommendations/users/{{user_id}}/rank", status="200"}}'
    given = {f'{name}{{{GET}, status="200"}}': counted(100, 60), rank: counted(9900, 60), why: counted(50, 60)}
    judged(tmp_path, given, "AmityRefuses", "30m", [])
    judged(tmp_path, given | {why: counted(500, 60)}, "AmityRefuses", "30m", [{}])


def test_errors_that_are_over_wake_nobody_any_more(tmp_path: Path) -> None:
    name = f"amity_http_request_seconds_count{{{GET}"
    given = {f'{name}, status="200"}}': counted(1000), f'{name}, status="500"}}': "0+100x40 4000x380"}
    judged(tmp_path, given, "AmityErrorsFast", "35m", [{}])
    judged(tmp_path, given, "AmityErrorsFast", "50m", [])


def test_no_traffic_is_no_error(tmp_path: Path) -> None:
    judged(tmp_path, requests(0, of=0), "AmityErrorsFast", "70m", [])
    judged(tmp_path, requests(0, of=0), "AmityLatencyFast", "70m", [])


@pytest.mark.parametrize(("slow", "fires"), [(200, [{}]), (50, [])])
def test_slow_recommendations_wake_somebody(tmp_path: Path, slow: int, fires: list[dict[str, str]]) -> None:
    given = {
        f'amity_http_request_seconds_bucket{{{GET}, status="200", le="0.25"}}': counted(1000 - slow),
        f'amity_http_request_seconds_count{{{GET}, status="200"}}': counted(1000),
    }
    judged(tmp_path, given, "AmityLatencyFast", "70m", fires)


def test_degraded_answers_wake_somebody_by_namespace(tmp_path: Path) -> None:
    given: dict[str, str] = {}
    for namespace, bent in (("amity", 200), ("other", 1)):
        name = f'amity_recommendations_total{{namespace="{namespace}", algorithm_version="v1", cached="false", degraded'
        given |= {f'{name}="true"}}': counted(bent), f'{name}="false"}}': counted(1000 - bent)}
    judged(tmp_path, given, "AmityDegradedFast", "70m", [{"namespace": "amity"}])


@pytest.mark.parametrize(
    ("alert", "series", "labels"),
    [
        ("AmityImpressionsDropped", 'amity_impressions_dropped_total{arm="trial/treatment"}', {"arm": "trial/treatment"}),
        (
            "AmityUnexpectedErrors",
            'amity_unexpected_errors_total{door="ranking", type="KeyError"}',
            {"door": "ranking", "type": "KeyError"},
        ),
        ("AmityBundleRefused", 'amity_bundle_loads_total{outcome="refused"}', {}),
        (
            "AmityArmStopped",
            'amity_guardrail_stops_total{arm="e/b", guardrail="max_p95_ms"}',
            {"arm": "e/b", "guardrail": "max_p95_ms"},
        ),
    ],
)
def test_the_very_first_event_of_its_kind_is_told_and_then_forgotten(
    tmp_path: Path, alert: str, series: str, labels: dict[str, str]
) -> None:
    given = {series: "_x30 1x300"}
    judged(tmp_path, given, alert, "35m", [labels])
    judged(tmp_path, given, alert, "4h", [])


def test_nobody_serving_is_told_also_when_prometheus_has_no_target(tmp_path: Path) -> None:
    judged(tmp_path, {'up{job="haproxy", instance="b"}': "1x60"}, "AmityNobodyServes", "10m", [{}])
    one_of_two = {'up{job="amity", instance="a"}': "1x60", 'up{job="amity", instance="b"}': "0x60"}
    judged(tmp_path, one_of_two, "AmityNobodyServes", "10m", [])
    judged(tmp_path, one_of_two, "AmityReplicaAway", "15m", [{"job": "amity", "instance": "b"}])


def test_a_feed_that_is_not_read_wakes_somebody(tmp_path: Path) -> None:
    given = {'amity_feed_last_poll_timestamp_seconds{instance="a"}': "0+60x10 600x50"}
    judged(tmp_path, given, "AmityFeedNotRead", "10m", [])
    judged(tmp_path, given, "AmityFeedNotRead", "13m", [{"instance": "a"}])


def test_a_replica_without_a_bundle_is_told_beside_others_that_have_one(tmp_path: Path) -> None:
    given = {
        'amity_population_people{instance="a", part="all"}': "100x60",
        'amity_population_people{instance="b", part="all"}': "100x60",
        'amity_bundle_created_timestamp_seconds{instance="a", bundle_version="1"}': "0x60",
    }
    judged(tmp_path, given, "AmityBundleMissing", "40m", [{"instance": "b"}])


def test_replicas_that_disagree_for_long_are_told(tmp_path: Path) -> None:
    name = "amity_bundle_created_timestamp_seconds"
    given = {f'{name}{{instance="a", bundle_version="1"}}': "0x60", f'{name}{{instance="b", bundle_version="2"}}': "0x60"}
    judged(tmp_path, given, "AmityBundlesDiffer", "10m", [])
    judged(tmp_path, given, "AmityBundlesDiffer", "20m", [{}])


def test_guardrails_that_somebody_watches_are_watched(tmp_path: Path) -> None:
    name = "amity_guardrail_rounds_total"
    failing = {f'{name}{{instance="a", outcome="failed"}}': counted(1)}
    judged(tmp_path, failing, "AmityGuardrailsUnwatched", "60m", [{}])
    judged(tmp_path, failing | {f'{name}{{instance="b", outcome="done"}}': counted(1)}, "AmityGuardrailsUnwatched", "60m", [])
