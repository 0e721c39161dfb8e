"""`amity experiments report`: as a table, as the route's JSON, as a page."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from service.domain_experiments import Arm, Experiment
from service.experiments.reports import Report
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from tests.integration.experiment_log import START, Log, slate
from tests.replicas import amity

ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))


@pytest.fixture
async def settings(database: Database, database_url: str, tmp_path: Path) -> dict[str, str]:
    """Of a database in which an experiment has run for two days."""
    log, created_at = Log(database), START - timedelta(days=1)
    await log.people(30)
    draft = Experiment(name="draft", salt="s", traffic=0.5, arms=ARMS, created_at=created_at)
    over = {"status": "stopped", "started_at": START, "stopped_at": START + timedelta(days=2)}
    for each in (draft, msgspec.structs.replace(draft, name="trial", **over)):
        await Experiments(database.sessions).create(each)
    await log.gave(*(slate(viewer, [21, 22, 23], 0.5, ("control", "treatment")[viewer % 2]) for viewer in range(1, 21)))
    await log.did(1, 21, 1)
    return {"AMITY_DATABASE_URL": database_url, "AMITY_HOME": str(tmp_path)}


def report(settings: dict[str, str], *arguments: str) -> Sequence[str]:
    done = amity({"COLUMNS": "200"} | settings, "experiments", "report", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def cells(lines: Sequence[str]) -> dict[str, list[str]]:
    """What stands beside each word of the tables' first column."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_the_report_of_the_terminal_says_what_it_means_and_what_it_rests_on(settings: dict[str, str]) -> None:
    lines = report(settings, "trial")
    text = "\n".join(lines)
    assert lines[0] == "trial: stopped, 2.0 days, 50 % of viewers, by viewer"
    assert "Not enough data" in lines[1]
    assert {"viewers": ["10", "10"], "impressions": ["30", "30"], "likes": ["0", "1"]}.items() <= cells(lines).items()
    assert "Viewers were randomised one by one" in text
    assert "matches per viewer *" in text


def test_no_figure_is_cut_on_a_narrow_terminal(settings: dict[str, str]) -> None:
    lines = report(settings | {"COLUMNS": "80"}, "trial")
    assert "…" not in "\n".join(lines)
    assert cells(lines)["impressions"] == ["30", "30"]


def test_the_json_is_the_routes_and_the_page_is_written_beside_it(settings: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "trial.html"
    found = msgspec.convert(json.loads("\n".join(report(settings, "trial", "--json", "--html", str(page)))), Report)
    assert [(arm.viewers, arm.impressions, arm.likes) for arm in found.arms] == [(10, 30, 0), (10, 30, 1)]
    assert page.read_text().startswith("<!doctype html>")
    assert found.verdicts[0].text in page.read_text()


def test_what_cannot_be_reported_or_written_is_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    wrong = {
        ("nobody",): "no experiment named 'nobody'",
        ("draft",): "has not started",
        ("trial", "--html", str(tmp_path / "no" / "folder.html")): "cannot write",
    }
    for arguments, said in wrong.items():
        done = amity(settings, "experiments", "report", *arguments)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
