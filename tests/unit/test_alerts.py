"""Alerts that fire when they should, on metrics that there are, each with a runbook."""

import re
from typing import Any

import pytest
import yaml

from service.metrics import LATENCY_BUCKETS_S
from service.settings import Settings
from tests.embedded import ROOT
from tests.manifests import source
from tests.promql import SCRAPED, labels_of, parsed, selectors, series

Rule = dict[str, Any]
GROUPS: list[dict[str, Any]] = source("monitoring/alerts.yaml")["spec"]["groups"]
RULES: list[Rule] = [rule for group in GROUPS for rule in group["rules"]]
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
NAMED = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def expression(alert: str) -> str:
    (found,) = [rule["expr"] for rule in RULES if rule["alert"] == alert]
    text: str = found
    return text


@NAMED
def test_it_asks_for_series_that_the_code_has(rule: Rule) -> None:
    known = series()
    for metric, matched in selectors(parsed(rule["expr"])):
        assert metric in known
        assert matched <= known[metric] | SCRAPED


@NAMED
def test_what_it_says_names_labels_that_it_has(rule: Rule) -> None:
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels_of(parsed(rule["expr"]))
    assert rule["labels"]["severity"] in ("critical", "warning")
    if rule["labels"]["severity"] == "critical":
        assert "for" in rule  # nobody is woken by one look


@NAMED
def test_it_links_to_its_section_of_the_runbooks(rule: Rule) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/runbooks.md"
    heading = f"\n### {rule['alert']}\n"
    assert heading in RUNBOOKS
    assert anchor == rule["alert"].lower()  # as GitHub makes an anchor of a heading
    begins = RUNBOOKS.partition(heading)[2].strip()
    assert begins.startswith(f"**{rule['labels']['severity'].capitalize()}: ")


def test_every_section_is_of_an_alert_and_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^### (\w+)$", RUNBOOKS, re.M)
    assert headings == [rule["alert"] for rule in RULES]
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", RUNBOOKS, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOKS)) <= anchors


def test_prometheus_without_the_operator_has_the_same_rules() -> None:
    assert yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()) == {"groups": GROUPS}


@pytest.mark.parametrize("speed", ["Fast", "Slow", "Long"])
def test_the_promise_of_latency_is_the_deadline_and_a_bucket(speed: str) -> None:
    bounds = {float(bound) for bound in re.findall(r'le="([\d.]+)"', expression(f"AmityLatency{speed}"))}
    assert bounds == {Settings().deadline_ms / 1000}
    assert bounds <= set(LATENCY_BUCKETS_S)


def test_thresholds_are_those_of_the_settings() -> None:
    defaults = Settings()
    assert f"> {defaults.overlay_max * 8 // 10}" in expression("AmityOverlayLarge")
    assert f"> {6 * defaults.market_every_s:.0f}" in expression("AmityMarketOld")
    assert f"lets {defaults.max_queued} wait" in RUNBOOKS
    assert f"takes {defaults.max_in_flight} at once" in RUNBOOKS
    assert f"{defaults.impressions_queue:,}" in RUNBOOKS
