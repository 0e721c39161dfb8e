"""`amity experiments` as an operator meets it, on a real database."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli.commands import app
from service.cli.main import line_of
from service.errors import AmityError
from tests.replicas import amity

ARMS = ("--arm", "control=heuristic", "--arm", "treatment=v1")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {"AMITY_HOME": str(tmp_path), "AMITY_DATABASE_URL": database_url}


def run(settings: dict[str, str], *arguments: str) -> Result:
    """In this process: one of its own takes seconds on a busy machine."""
    return CliRunner().invoke(app, ["experiments", *arguments], env=settings)


def told(settings: dict[str, str], *arguments: str) -> Any:
    done = run(settings, *arguments, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def refused(settings: dict[str, str], *arguments: str) -> str:
    error = run(settings, *arguments).exception
    assert isinstance(error, AmityError)
    return line_of(error)


def test_an_experiment_is_made_started_ramped_and_stopped(settings: dict[str, str]) -> None:
    made = told(settings, "create", "trial", *ARMS, "--traffic", "0.1", "--weight", "9", "--weight", "1", "--layer", "ranking")
    assert (made["status"], made["traffic"], [arm["weight"] for arm in made["arms"]]) == ("draft", 0.1, [9.0, 1.0])
    assert told(settings, "start", "trial")["buckets"] == [[0, 1000]]
    assert told(settings, "ramp", "trial", "0.6")["buckets"] == [[0, 6000]]
    assert [arm["stopped"] for arm in told(settings, "stop", "trial", "--arm", "treatment")["arms"]] == [False, True]
    assert told(settings, "stop", "trial")["status"] == "stopped"
    [listed] = told(settings, "list")
    assert (listed["name"], listed["status"]) == ("trial", "stopped")


def test_one_command_makes_and_starts_and_says_so(settings: dict[str, str]) -> None:
    rails = ("--guardrail", "max_p95_ms=80", "--stop-arms", "--start", "--traffic", "0.1")
    done = run(settings, "create", "trial", *ARMS, *rails)
    assert done.stdout.splitlines() == ["trial is running, 10 % of viewers", "  control: heuristic", "  treatment: v1"]
    [listed] = told(settings, "list")
    assert (listed["guardrails"]["max_p95_ms"], listed["guardrails"]["stop"]) == (80.0, True)


def test_one_that_is_made_and_cannot_start_is_said_to_be_a_draft(settings: dict[str, str]) -> None:
    full = (*ARMS, "--layer", "ranking", "--traffic", "0.6", "--start")
    told(settings, "create", "trial", *full)
    words = "'second' is a draft now and was not started: layer 'ranking' has 40.00% of its traffic free"
    assert refused(settings, "create", "second", *full).startswith(words)
    assert told(settings, "start", "second", "--traffic", "0.4")["status"] == "running"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arm", "control=v1", "--arm", "b=v99"), "arms[1].algorithm_version: no ranker named 'v99'; installed: "),
        (("--arm", "control=v1"), "arms: must have at least 2 entries"),
        (("--arm", "control"), "arm: 'control' must be NAME=VALUE"),
        ((*ARMS, "--weight", "1"), "weight: must be given once for each of the 2 arms"),
        ((*ARMS, "--weight", "1", "--weight", "nan"), "arms[1].weight: must be a number"),
        ((*ARMS, "--traffic", "1.5"), "traffic: must be at most 1"),
        ((*ARMS, "--guardrail", "speed=1"), "guardrails.speed: is not a known field"),
        ((*ARMS, "--unit", "cluster"), "cluster_by: must be given with the unit cluster"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(settings: dict[str, str], arguments: tuple[str, ...], words: str) -> None:
    assert refused(settings, "create", "trial", *arguments).startswith(words)


def test_what_there_is_not_and_what_may_not_be_are_said(settings: dict[str, str]) -> None:
    assert refused(settings, "start", "trial") == "no experiment named 'trial'"
    told(settings, "create", "trial", *ARMS, "--start")
    assert refused(settings, "create", "trial", *ARMS) == "there is an experiment named 'trial' already"
    assert "is the control" in refused(settings, "stop", "trial", "--arm", "control")


def test_a_refusal_of_the_command_is_one_line_and_exit_code_1(settings: dict[str, str]) -> None:
    done = amity(settings, "experiments", "create", "trial", *ARMS, "--traffic", "0", "--design", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert set(done.stderr.strip().split(": ", 1)[1].split("; ")) == {
        "traffic: must be more than 0",
        "design: must be one of ab, interleaving",
    }
