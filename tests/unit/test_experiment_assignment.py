"""Assignment: the same numbers everywhere, arms by weight, and ramping that moves nobody."""

import re
import subprocess
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain_experiments import N_BUCKETS, Arm, Experiment
from service.experiments.assignment import bounds, bucket
from service.experiments.lifecycle import ramp, start
from tests.assignment import arm_index, takes_part
from tests.programs import program

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
README = Path(__file__).parents[2] / "service" / "experiments" / "README.md"
GOLDEN = {
    ("experiment:ranker-2026-11", "1"): 2402,
    ("experiment:ranker-2026-11", "42"): 2132,
    ("arm:ranker-2026-11", "42"): 2266,
    ("arm:ranker-2026-11", "9223372036854775807"): 8290,
    ("layer:ranking", "42"): 7596,
    ("arm:ranker-2026-11", "c0"): 7715,
    ("arm:ranker-2026-11", "c7"): 1397,
    ("arm:Zürich ✓", "42"): 8444,
}
GOLDEN_BOUNDS = {
    (1.0, 1.0): (5000, 10_000),
    (1.0, 1.0, 1.0): (3333, 6667, 10_000),
    (0.7, 0.3): (7000, 10_000),
    (1.0, 2.0, 3.5): (1538, 4615, 10_000),
    (0.1, 0.2, 0.7): (1000, 3000, 10_000),
    (9.0, 1.0): (9000, 10_000),
}


def experiment(**changes: Any) -> Experiment:
    arms = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
    return Experiment(**{"name": "trial", "salt": "trial", "traffic": 0.2, "arms": arms, "created_at": NOW, **changes})


def members(found: Experiment, n: int = 4000) -> set[int]:
    return {viewer for viewer in range(1, n) if takes_part(found, str(viewer))}


@pytest.mark.parametrize(("salt", "unit"), GOLDEN)
def test_buckets_are_those_that_are_written_down(salt: str, unit: str) -> None:
    assert bucket(salt, unit) == GOLDEN[salt, unit]


@pytest.mark.parametrize("weights", GOLDEN_BOUNDS)
def test_the_ends_of_arms_are_those_that_are_written_down(weights: tuple[float, ...]) -> None:
    assert bounds(weights) == GOLDEN_BOUNDS[weights]


def test_the_documentation_gives_the_golden_numbers() -> None:
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \| (\d+) \|$", README.read_text(), re.MULTILINE)
    assert {(salt, unit): int(number) for salt, unit, number in rows} == GOLDEN


@pytest.mark.parametrize(("salt", "unit"), GOLDEN)
def test_another_program_comes_to_the_same_bucket(salt: str, unit: str) -> None:
    b2sum = program("b2sum", brought_by="GNU coreutils")
    done = subprocess.run([b2sum, "-l", "64"], input=f"{salt}:{unit}".encode(), capture_output=True, check=True)
    assert int(done.stdout.split()[0], 16) % N_BUCKETS == GOLDEN[salt, unit]


@given(st.text(max_size=30), st.lists(st.floats(0.01, 1e6), min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_arms_get_their_shares_within_what_chance_allows(salt: str, weights: list[float]) -> None:
    arms = tuple(Arm(name=str(i), algorithm_version="v1", weight=weight) for i, weight in enumerate(weights))
    trial, n = experiment(salt=salt, arms=arms), 2000
    found = [arm_index(trial, str(viewer)) for viewer in range(1, n + 1)]
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        # Six standard deviations and half a bucket: of these draws one in 10^8 fails by chance.
        assert abs(found.count(index) / n - share) <= 6 * sqrt(share * (1 - share) / n) + 6 / n + 0.5 / N_BUCKETS


@given(st.text(max_size=20), st.lists(st.floats(0.0001, 1), min_size=2, max_size=6).map(sorted))
@settings(max_examples=50, deadline=None)
def test_ramping_only_adds_viewers_and_moves_nobody_between_arms(salt: str, steps: list[float]) -> None:
    trial = start(experiment(salt=salt, traffic=steps[0]), [], NOW)
    before = members(trial)
    arms = {viewer: arm_index(trial, str(viewer)) for viewer in before}
    for traffic in steps[1:]:
        trial = ramp(trial, traffic, [trial])
        after = members(trial)
        assert before <= after
        assert all(arm_index(trial, str(viewer)) == arm for viewer, arm in arms.items())
        before, arms = after, {viewer: arm_index(trial, str(viewer)) for viewer in after}


def test_traffic_is_the_share_of_viewers() -> None:
    n = 20_000
    for traffic in (0.01, 0.1, 0.5, 1.0):
        found = len(members(start(experiment(traffic=traffic), [], NOW), n + 1))
        assert abs(found / n - traffic) <= 5 * sqrt(traffic * (1 - traffic) / n)


def test_taking_part_says_nothing_about_the_arm() -> None:
    trial = start(experiment(traffic=0.3), [], NOW)
    found = [arm_index(trial, str(viewer)) for viewer in members(trial, 40_000)]
    assert abs(sum(found) / len(found) - 0.5) <= 5 * sqrt(0.25 / len(found))


def test_experiments_of_different_salts_are_independent() -> None:
    one, other = start(experiment(traffic=0.5), [], NOW), start(experiment(salt="other", traffic=0.5), [], NOW)
    both = members(one, 20_000) & members(other, 20_000)
    assert abs(len(both) / 20_000 - 0.25) <= 5 * sqrt(0.25 * 0.75 / 20_000)
    agree = [arm_index(one, str(viewer)) == arm_index(other, str(viewer)) for viewer in both]
    assert abs(sum(agree) / len(agree) - 0.5) <= 5 * sqrt(0.25 / len(agree))


def test_the_salt_alone_decides_not_the_name() -> None:
    assert members(start(replace(experiment(), name="renamed"), [], NOW)) == members(start(experiment(), [], NOW))
