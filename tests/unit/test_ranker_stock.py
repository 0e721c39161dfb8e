"""Rankers of a replica: loaded when it starts or takes a new bundle, those installed since too."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from service import ranker_stock
from service.errors import PluginBroken
from service.plugins import EntryPoint
from service.ranker_stock import RankerStock
from service.settings import Settings
from service.threads import ThreadDoor
from tests.unit.test_plugins import Distribution, Learnt, Plain, Point, explode

THEIRS = Distribution("theirs", "1")


class Environment:
    """What is installed, and may change."""

    def __init__(self, *points: Point) -> None:
        self.points = [Point("heuristic", Plain), Point("v1", Learnt), *points]

    def __call__(self, group: str) -> Iterable[EntryPoint]:
        return list(self.points)


def stock_of(environment: Environment) -> RankerStock:
    return RankerStock(Settings(), ThreadDoor(2), environment)


async def test_one_that_hangs_while_it_loads_keeps_no_other_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranker_stock, "RANKER_LOAD_S", 0.05)
    release = threading.Event()

    class Hangs(Plain):
        def load(self, arrays: Mapping[str, Any]) -> Any:
            release.wait(30)

    stock = stock_of(Environment(Point("a", Hangs, THEIRS), Point("b", Plain, THEIRS)))
    for _ in range(3):  # as often as a new bundle comes: its threads are not more than two
        loaded = await stock.loaded(None)
        assert (loaded["a"].ranker, loaded["b"].ranker is not None) == (None, True)
        assert "cannot be loaded: " in str(loaded["a"].problem)
        assert "after 0.05 s" in str(loaded["a"].problem)
    release.set()


async def test_one_installed_since_serves_with_the_next_bundle() -> None:
    environment = Environment()
    stock = stock_of(environment)
    assert list(await stock.loaded(None)) == ["heuristic", "v1"]
    environment.points.append(Point("mine", Plain, THEIRS))
    loaded = await stock.loaded(None)
    assert list(loaded) == ["heuristic", "mine", "v1"]
    assert (loaded["mine"].distribution, loaded["mine"].ranker is not None) == ("theirs", True)


async def test_one_in_memory_stays_as_it_is_whatever_is_installed_over_it() -> None:
    environment = Environment(Point("mine", Plain, THEIRS))
    stock = stock_of(environment)
    environment.points[-1] = Point("mine", Learnt, Distribution("theirs", "2"))
    with capture_logs() as logs:
        loaded = await stock.loaded(None)
    assert (loaded["mine"].distribution_version, loaded["mine"].needs_bundle) == ("1", False)
    assert [line["ranker"] for line in logs if line["event"] == "ranker was upgraded: in use after a restart"] == ["mine"]
    del environment.points[-1]
    assert "mine" in await stock.loaded(None)


async def test_a_broken_one_installed_since_is_named_once_and_serves_when_it_is_mended() -> None:
    environment = Environment()
    stock = stock_of(environment)
    environment.points.append(Point("mine", explode, THEIRS))
    with capture_logs() as logs:
        for _ in range(2):
            assert "mine" not in await stock.loaded(None)
    assert [line["ranker"] for line in logs if line["event"] == "ranker left out"] == ["mine"]
    assert [(problem.name, "no licence" in problem.reason) for problem in stock.problems] == [("mine", True)]
    environment.points[-1] = Point("mine", Plain, THEIRS)
    assert "mine" in await stock.loaded(None)
    assert stock.problems == ()


async def test_a_needed_one_that_is_broken_keeps_a_replica_from_starting_and_not_from_going_on() -> None:
    environment = Environment()
    stock = stock_of(environment)
    environment.points[1] = Point("v1", explode)
    with capture_logs() as logs:
        assert list(await stock.loaded(None)) == ["heuristic", "v1"]
    assert "AMITY_DEFAULT_RANKER names 'v1'" in next(line["reason"] for line in logs if "since the start" in line["event"])
    with pytest.raises(PluginBroken, match="no licence"):
        stock_of(environment)
