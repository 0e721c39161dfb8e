"""Dashboards that Grafana can draw: their schema, their layout, and queries that ask for what the code has."""

import json
import re
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import pytest

from tests.manifests import K8S
from tests.promql import labels_of, parsed, raw_counters, selectors, series

Panel = dict[str, Any]
NAMES = ("service", "experiments", "market")
KINDS = {"row", "stat", "timeseries", "heatmap", "table"}
UNITS = {"reqps", "ops", "percentunit", "s", "h", "bytes", "short", "none"}
"""Of Grafana's; another one is to be looked up in its list first, since it shows an unknown one as a word behind the number."""
COLUMNS = 24


@cache
def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((K8S / "dashboards" / f"{name}.json").read_text())
    return found


def panels(name: str) -> list[Panel]:
    """All that show something."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def queries(name: str) -> list[tuple[str, str, str]]:
    """Title of the panel, expression and legend."""
    shown = [(panel["title"], target["expr"], target["legendFormat"]) for panel in panels(name) for target in panel["targets"]]
    noted = [(each["name"], each["expr"], each["textFormat"]) for each in board(name)["annotations"]["list"] if "expr" in each]
    return shown + noted


def test_every_file_is_a_board_of_its_own() -> None:
    assert {path.stem for path in (K8S / "dashboards").glob("*.json")} == set(NAMES)
    assert len({board(name)["uid"] for name in NAMES}) == len({board(name)["title"] for name in NAMES}) == len(NAMES)
    assert all(len(board(name)["uid"]) <= 40 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_cover_one_another(name: str) -> None:
    boxes = [panel["gridPos"] for panel in board(name)["panels"]]
    assert len({panel["id"] for panel in board(name)["panels"]}) == len(boxes)
    for box in boxes:
        assert box["x"] >= 0
        assert box["x"] + box["w"] <= COLUMNS
        assert min(box["w"], box["h"]) > 0
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_panels_of_a_line_are_of_one_height_and_fill_it(name: str) -> None:
    lines: dict[int, list[dict[str, int]]] = {}
    for panel in board(name)["panels"]:
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    for boxes in lines.values():
        assert len({box["h"] for box in boxes}) == 1
        assert sum(box["w"] for box in boxes) == COLUMNS
    tops = sorted(lines)
    assert all(lower - upper == lines[upper][0]["h"] for upper, lower in pairwise(tops))  # no gaps, which Grafana would close


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    for panel in panels(name):
        title = panel["title"]
        assert panel["type"] in KINDS, title
        assert len(panel["description"].split()) >= 2, title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] in ("stat", "timeseries"):
            assert defaults["unit"] in UNITS, title
        values = [step["value"] for step in defaults.get("thresholds", {}).get("steps", [{"value": None}])]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])


@pytest.mark.parametrize("name", NAMES)
def test_queries_ask_for_series_that_the_code_has_by_their_labels(name: str) -> None:
    known = series()
    for title, expression, _ in queries(name):
        for metric, matched in selectors(parsed(expression)):
            assert metric in known, title
            assert matched <= known[metric] | {"namespace", "instance", "job"}, (title, metric)


@pytest.mark.parametrize("name", NAMES)
def test_legends_name_labels_that_the_answer_has(name: str) -> None:
    for title, expression, legend in queries(name):
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_of(parsed(expression)) | {"le"}, title


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_a_panel_can_be_told_apart(name: str) -> None:
    for panel in panels(name):
        for target in panel["targets"] if panel["type"] == "timeseries" else ():
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            labels = labels_of(parsed(target["expr"]))
            assert labels - shown <= {"namespace", "job"} or {"instance", "pod"} <= shown, (panel["title"], labels - shown)


@pytest.mark.parametrize("name", NAMES)
def test_counters_are_shown_by_what_they_gained(name: str) -> None:
    lasting = {"Arms ended by a guardrail"}  # which is of interest as long as it is known
    for title, expression, _ in queries(name):
        assert title in lasting or not raw_counters(parsed(expression)), title


@pytest.mark.parametrize("name", NAMES)
def test_every_query_heeds_the_variables_and_there_are_no_others(name: str) -> None:
    known = {each["name"] for each in board(name)["templating"]["list"]}
    for title, expression, _ in queries(name):
        used = set(re.findall(r"\$(\w+)", expression)) - {"__rate_interval"}
        assert {"namespace", "instance"} <= used <= known, title
    for each in board(name)["templating"]["list"]:
        if each["type"] == "query":
            assert each["allValue"] == ".*"  # else a series without that label is not in All


def test_every_metric_is_on_some_board() -> None:
    shown = {metric for name in NAMES for _, expression, _ in queries(name) for metric, _ in selectors(parsed(expression))}
    unseen = {
        metric.removesuffix("_bucket") for metric in series() if metric.endswith(("_total", "_bucket")) or "_count" not in metric
    }
    unseen = {metric for metric in unseen if not any(one.startswith(metric) for one in shown)}
    assert {metric for metric in unseen if not metric.endswith(("_sum", "_count"))} <= {"up"}
