"""The metrics of docs/observing.md are those of the code, and whatever dashboards and alerts ask for is among them."""

import json
import re
from functools import cache

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from service import metrics
from tests.embedded import ROOT
from tests.observing import quoted, table
from tests.promql import SCRAPED, groupings, parsed, selectors, series

K8S = ROOT / "k8s"
OF_PROCESS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def in_code() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Type and labels of each metric by the name under which it is scraped."""
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return {
        each._name + ("_total" if each._type == "counter" else ""): (str(each._type), tuple(each._labelnames)) for each in found
    }


def in_table() -> dict[str, tuple[str, tuple[str, ...]]]:
    return {quoted(name)[0]: (kind, tuple(quoted(labels))) for name, kind, labels, *_ in table("Metrics", "name")}


@cache
def expressions() -> dict[str, str]:
    """Each expression of dashboards and alerts by where it stands."""
    found = {}
    for path in sorted((K8S / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for number, target in enumerate(panel.get("targets", ())):
                found[f"{path.stem}: {panel['title']} {number}"] = target["expr"]
        for note in board["annotations"]["list"]:
            if "expr" in note:
                found[f"{path.stem}: {note['name']}"] = note["expr"]
    for path in sorted(K8S.rglob("*alerts*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for group in document["spec"]["groups"]:
                for rule in group["rules"]:
                    found[f"{path.stem}: {rule.get('alert') or rule['record']}"] = rule["expr"]
    return found


def test_the_table_names_every_metric_with_its_type_and_labels_and_no_other() -> None:
    assert in_table() == in_code()


def test_every_metric_is_written_down_once_and_says_what_to_do() -> None:
    rows = table("Metrics", "name")
    assert len(rows) == len(in_table())
    for name, _, _, meaning, action in rows:
        assert len(meaning.split()) >= 2, name
        assert len(action.split()) >= 2 or action.startswith("["), name


def test_what_the_table_links_to_is_there() -> None:
    text = (ROOT / "docs" / "observing.md").read_text()
    anchors = {
        re.sub(r"[^\w-]", "", head.lower().replace(" ", "-"))
        for head in re.findall(r"^#+ (.*)$", (ROOT / "docs/runbooks.md").read_text(), re.M)
    }
    linked = re.findall(r"runbooks\.md#([\w-]+)", text)
    assert linked
    assert set(linked) <= anchors


@pytest.mark.parametrize("where", expressions())
def test_dashboards_and_alerts_ask_for_metrics_of_the_table_by_their_labels(where: str) -> None:
    known = series()
    listed = set(in_table()) | OF_PROCESS
    for name, labels in selectors(parsed(expressions()[where])):
        assert name in listed or re.sub(r"_(bucket|count|sum)$", "", name) in listed, f"{name} is no metric of ours"
        assert labels - SCRAPED - {"__name__"} <= known[name], f"{name} has no labels {labels - known[name]}"


@pytest.mark.parametrize("where", expressions())
def test_dashboards_and_alerts_group_by_labels_that_there_are(where: str) -> None:
    for named, there in groupings(parsed(expressions()[where])):
        assert named <= there | SCRAPED, f"nothing has the labels {named - there}"


def test_choices_of_dashboards_are_labels_that_there_are() -> None:
    asked = [
        re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", each["query"]["query"])
        for path in sorted((K8S / "dashboards").glob("*.json"))
        for each in json.loads(path.read_text())["templating"]["list"]
        if each["type"] == "query"
    ]
    assert asked
    for found in asked:
        assert found is not None
        assert found[2] in series()[found[1]] | SCRAPED


def test_series_that_tests_know_are_those_that_are_exposed() -> None:
    exposed: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            like = type(metric)(metric._name, "As it is.", metric._labelnames, registry=None, **metric._kwargs)
            if metric._labelnames:
                like.labels(*metric._labelnames)
            exposed |= {each.name: set(each.labels) for family in like.collect() for each in family.samples}
    told = {name: labels for name, labels in series().items() if name not in OF_PROCESS}
    assert told == {name: labels for name, labels in exposed.items() if not name.endswith("_created")}
