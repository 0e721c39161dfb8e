"""Replicas on the small demo population of tests/world.py."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.replicas import Replica, replicas
from tests.world import N_PEOPLE, World

__all__ = ["N_PEOPLE", "World"]


@pytest.fixture(scope="module")
def pair(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Two replicas of the world that the module's tests share, and which none of them harms."""
    with replicas(world.settings, tmp_path_factory.mktemp("pair")) as both:
        yield both
        for replica in both:
            assert replica.metric("amity_unexpected_errors_total") == 0, replica.said
            assert not re.search(r"Traceback|Task exception|never awaited", replica.said), replica.said


@pytest.fixture
def start(world: World, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Replica]]:
    """Starts a replica of the test's own: `start(world.changed(...))`."""
    started: list[Replica] = []

    def begin(settings: dict[str, str]) -> Replica:
        started.append(Replica(settings, tmp_path / f"replica-{len(started)}.log"))
        return started[-1]

    yield begin
    for replica in started:
        replica.__exit__()
