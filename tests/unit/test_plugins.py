"""Plug-ins are found by entry point, checked against the contract, and refused with a reason."""

from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from amity_rankers.contract import Found, People, Ranker, RankingBatch, SourceQuery, TrainingExamples

from service import plugins
from service.artifacts.bundle import Bundle, RankerEntry
from service.artifacts.store import BundleWriter, Store
from service.errors import PluginBroken
from service.plugins import (
    EntryPoint,
    Installed,
    InstalledRanker,
    instantiate,
    load_rankers,
    load_sources,
)
from service.settings import Settings
from service.training.packing import add_ranker, pack_ranker, train_ranker
from tests.unit.test_artifacts import VERSION, manifest

KNOWN = {"distance_km", "mutual_affinity"}


class Constant:
    def __init__(self, value: float) -> None:
        self.value = value

    def score(self, batch: RankingBatch) -> Any:
        return np.full(len(batch.candidate_ids), self.value, np.float32)


class Plain:
    contract_version = 1
    version = "1.0"
    required_features: tuple[str, ...] = ("distance_km",)
    needs_bundle = False
    light = True

    def train(self, examples: TrainingExamples) -> Ranker:
        return Constant(0.5)

    def dump(self, ranker: Any) -> dict[str, Any]:
        return {"value": np.array([ranker.value])}

    def load(self, arrays: Mapping[str, Any]) -> Ranker:
        if set(arrays) - {"value"}:
            raise ValueError(f"arrays of somebody else: {sorted(arrays)}")
        return Constant(float(arrays["value"][0]) if arrays else 0.5)


class Learnt(Plain):
    needs_bundle = True


class Nobody:
    contract_version = 1
    version = "1.0"

    def find(self, people: People, query: SourceQuery) -> Found:
        return Found(np.empty(0, np.int64), np.empty(0, np.float32))


class Distribution(msgspec.Struct, frozen=True):
    name: str
    version: str = "2.0"


class Point(msgspec.Struct, frozen=True):
    """An entry point without an installed package behind it."""

    name: str
    made: Callable[[], Any]
    dist: Any = Distribution("amity-rankers")
    value: str = "team.ranker:Factory"

    def load(self) -> Any:
        return self.made


def variant(**attributes: Any) -> type[Plain]:
    return type("Variant", (Plain,), attributes)


def having(*points: Point) -> plugins.EntryPoints:
    both = (Point("heuristic", Plain), Point("v1", Learnt))

    def find(group: str) -> Iterable[EntryPoint]:
        assert group in (plugins.RANKERS, plugins.SOURCES)
        return (*both, *points) if group == plugins.RANKERS else points

    return find


def load(*points: Point, rankers: str = "") -> Installed[InstalledRanker]:
    return load_rankers(Settings(rankers=rankers), KNOWN, having(*points))


def reason(made: Callable[[], Any]) -> str:
    (problem,) = load(Point("mine", made)).problems
    assert problem.name == "mine"
    return problem.reason


def explode() -> Any:
    raise RuntimeError("no licence")


def test_every_installed_ranker_is_loaded() -> None:
    installed = load(Point("mine", Plain, Distribution("team-b")))
    assert list(installed.by_name) == ["heuristic", "mine", "v1"]
    assert installed.by_name["mine"].distribution == "team-b"
    assert installed.problems == ()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"contract_version": 2}, "written for contract 2"),
        ({"contract_version": None}, "written for contract None"),
        ({"version": 3}, "its version 3"),
        ({"version": "a:b"}, "its version 'a:b'"),
        ({"light": "yes"}, "'light' is not True or False"),
        ({"needs_bundle": None}, "'needs_bundle' is not True or False"),
        ({"required_features": ["distance_km"]}, "not a tuple"),
        ({"required_features": ()}, "not a tuple of at least one"),
        ({"required_features": ("distance_km", "distance_km")}, "twice"),
        ({"required_features": ("distance_km", "shoe_size")}, "do not exist: shoe_size"),
        ({"dump": None}, "no method 'dump'"),
        ({"load": 7}, "no method 'load'"),
    ],
)
def test_ranker_that_breaks_the_contract_is_left_out_with_the_reason(attributes: dict[str, Any], said: str) -> None:
    assert said in reason(variant(**attributes))


def test_whatever_a_plugin_raises_at_import_only_disables_it() -> None:
    assert reason(explode) == "team.ranker:Factory cannot be loaded: RuntimeError: no licence"


def test_factory_that_wants_arguments_is_left_out() -> None:
    assert "TypeError" in reason(Constant)  # type: ignore[arg-type]


def test_name_that_would_break_a_cache_key_is_left_out() -> None:
    (problem,) = load(Point("v1:x", Plain)).problems
    assert "letters, digits" in problem.reason


def test_name_that_two_distributions_register_is_left_out() -> None:
    installed = load(Point("mine", Plain, Distribution("team-b")), Point("mine", Plain, Distribution("team-a")))
    (problem,) = installed.problems
    assert problem.reason == "registered by team-a 2.0 and by team-b 2.0"
    assert "mine" not in installed.by_name


def test_second_owner_of_the_default_ranker_stops_the_start() -> None:
    with pytest.raises(PluginBroken, match=r"AMITY_DEFAULT_RANKER names 'v1': registered by amity-rankers 2\.0 and by t"):
        load(Point("v1", Plain, Distribution("team-b")))


@pytest.mark.parametrize("setting", ["default_ranker", "fallback_ranker"])
def test_broken_default_and_fallback_stop_the_start(setting: str) -> None:
    settings = msgspec.structs.replace(Settings(), **{setting: "mine"})
    with pytest.raises(PluginBroken, match=f"AMITY_{setting.upper()} names 'mine'.*no licence"):
        load_rankers(settings, KNOWN, having(Point("mine", explode)))


def test_absent_default_names_those_there_are() -> None:
    with pytest.raises(PluginBroken, match=r"'v9': no installed.*\(registered: heuristic, v1\)"):
        load_rankers(Settings(default_ranker="v9"), KNOWN, having())


def test_fallback_must_not_need_a_bundle() -> None:
    with pytest.raises(PluginBroken, match="AMITY_FALLBACK_RANKER names 'v1': needs a bundle"):
        load_rankers(Settings(fallback_ranker="v1"), KNOWN, having())


def test_listed_rankers_are_loaded_with_the_default_and_the_fallback() -> None:
    installed = load(Point("mine", Plain), Point("other", explode), rankers=" mine ,")
    assert list(installed.by_name) == ["heuristic", "mine", "v1"]
    assert installed.problems == ()


def test_listed_ranker_that_is_broken_stops_the_start() -> None:
    with pytest.raises(PluginBroken, match=r"AMITY_RANKERS names 'mine'.*no licence"):
        load(Point("mine", explode), rankers="mine")


def test_only_our_own_light_rankers_run_inline() -> None:
    installed = load(
        Point("theirs", Plain, Distribution("team-b")), Point("heavy", variant(light=False)), Point("lost", Plain, None)
    )
    inline = [name for name, ranker in installed.by_name.items() if ranker.inline]
    assert inline == ["heuristic", "v1"]


def test_sources_are_loaded_ready_to_find() -> None:
    installed = load_sources(Settings(), having(Point("mine", Nobody)))
    assert isinstance(installed.by_name["mine"].source, Nobody)


def test_source_without_find_is_left_out() -> None:
    installed = load_sources(Settings(), having(Point("mine", Nobody), Point("bad", variant())))
    assert list(installed.by_name) == ["mine"]
    assert installed.problems[0].reason == "has no method 'find'"


def test_listed_source_that_is_absent_stops_the_start() -> None:
    with pytest.raises(PluginBroken, match="AMITY_SOURCES names 'gone'"):
        load_sources(Settings(sources="mine,gone"), having(Point("mine", Nobody)))


def bundle_of(installed: InstalledRanker, folder: Path, value: float, **entry: Any) -> Bundle:
    store = Store(folder, folder)
    with BundleWriter(store, VERSION) as writer:
        arrays, _ = pack_ranker(installed, Constant(value))
        written = msgspec.structs.replace(add_ranker(writer, installed, arrays), **entry)
        writer.publish(manifest(rankers={installed.name: written}))
    return store.open(VERSION)


def batch() -> RankingBatch:
    return RankingBatch(1, np.array([2]), ("distance_km",), np.ones((1, 1), np.float32))


def test_ranker_is_loaded_from_its_arrays_in_the_bundle(tmp_path: Path) -> None:
    installed = load()
    bundle = bundle_of(installed.by_name["v1"], tmp_path, 0.75)
    loaded = instantiate(installed, bundle)["v1"]
    assert loaded.ranker is not None
    assert loaded.ranker.score(batch()).tolist() == [0.75]
    assert loaded.problem is None


def test_ranker_is_not_mixed_with_one_whose_name_begins_alike(tmp_path: Path) -> None:
    installed = load(Point("v1.2", Learnt))
    store = Store(tmp_path, tmp_path)
    with BundleWriter(store, VERSION) as writer:
        pairs = (("v1", 0.25), ("v1.2", 0.75))
        trained = {name: pack_ranker(installed.by_name[name], Constant(value))[0] for name, value in pairs}
        entries = {name: add_ranker(writer, installed.by_name[name], arrays) for name, arrays in trained.items()}
        writer.publish(manifest(rankers=entries))
    rankers = {name: loaded.ranker for name, loaded in instantiate(installed, store.open(VERSION)).items()}
    assert [rankers[name].score(batch())[0] for name in ("v1", "v1.2")] == [0.25, 0.75]  # type: ignore[union-attr]


def test_without_a_bundle_only_those_that_need_none_are_usable() -> None:
    loaded = instantiate(load(), None)
    assert loaded["heuristic"].ranker is not None
    assert loaded["v1"].ranker is None
    assert loaded["v1"].problem == "no bundle is live"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"distribution": "team-b"}, "with the 'v1' of team-b"),
        ({"required_features": ("mutual_affinity",)}, "for other features"),
    ],
)
def test_arrays_of_another_ranker_are_refused(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    installed = load()
    bundle = bundle_of(installed.by_name["v1"], tmp_path, 0.75, **entry)
    loaded = instantiate(installed, bundle)["v1"]
    assert loaded.ranker is None
    assert said in str(loaded.problem)


def test_ranker_installed_after_the_bundle_was_trained_says_so(tmp_path: Path) -> None:
    installed = load(Point("v2", Learnt))
    bundle = bundle_of(installed.by_name["v1"], tmp_path, 0.75)
    assert instantiate(installed, bundle)["v2"].problem == f"bundle {VERSION} holds no ranker 'v2'"


def test_ranker_that_cannot_load_its_arrays_says_so(tmp_path: Path) -> None:
    bundle = bundle_of(load().by_name["v1"], tmp_path, 0.75)

    def fail(self: Plain, arrays: Mapping[str, Any]) -> Ranker:
        raise ValueError("three knots too few")

    broken = Point("v1", variant(needs_bundle=True, load=fail))
    installed = load_rankers(Settings(), KNOWN, lambda group: (Point("heuristic", Plain), broken))
    assert instantiate(installed, bundle)["v1"].problem == "cannot be loaded: ValueError: three knots too few"


@pytest.mark.parametrize("dumped", [{"x": np.array([None])}, {"x": np.array(["a"])}, {"a.b": np.ones(1)}, {"": np.ones(1)}])
def test_dump_of_anything_but_plain_arrays_is_refused(dumped: dict[str, Any]) -> None:
    installed = load(Point("mine", variant(dump=lambda self, ranker: dumped))).by_name["mine"]
    with pytest.raises(PluginBroken, match="not a plain array"):
        pack_ranker(installed, Constant(1.0))


def test_dump_that_its_own_factory_cannot_load_is_refused() -> None:
    installed = load(Point("mine", variant(dump=lambda self, ranker: {"other": np.ones(1)}))).by_name["mine"]
    with pytest.raises(PluginBroken, match=r"cannot be loaded: .*somebody else"):
        pack_ranker(installed, Constant(1.0))


def test_load_finds_its_arrays_read_only_as_in_a_bundle() -> None:
    def in_place(self: Plain, arrays: Mapping[str, Any]) -> Ranker:
        np.add(arrays["value"], 1, out=arrays["value"])
        return Constant(0.5)

    installed = load(Point("mine", variant(load=in_place))).by_name["mine"]
    with pytest.raises(PluginBroken, match=r"cannot be loaded: ValueError: .*read-only"):
        pack_ranker(installed, Constant(1.0))


def test_load_that_gives_no_ranker_is_refused() -> None:
    installed = load(Point("mine", variant(load=lambda self, arrays: None)))
    loaded = instantiate(installed, None)["mine"]
    assert (loaded.ranker, loaded.problem) == (None, "cannot be loaded: what it gives, NoneType, has no method 'score'")


def test_training_that_fails_is_one_clear_line() -> None:
    def fail(self: Plain, examples: TrainingExamples) -> Ranker:
        raise MemoryError("too many pairs")

    installed = load(Point("mine", variant(train=fail))).by_name["mine"]
    ids, values = np.empty(0, np.int64), np.empty(0, np.float32)
    examples = TrainingExamples(ids, ids, (), values.reshape(0, 0), values, values, values > 0, seed=1)
    with pytest.raises(PluginBroken, match="cannot be trained: MemoryError: too many pairs"):
        train_ranker(installed, examples)


def test_entry_names_version_features_and_distribution(tmp_path: Path) -> None:
    with BundleWriter(Store(tmp_path, tmp_path), VERSION) as writer:
        entry = add_ranker(writer, load().by_name["v1"], {"value": np.ones(1)})
    assert entry == RankerEntry("1.0", ("distance_km",), "amity-rankers")


def test_entry_points_of_both_distributions_are_registered() -> None:
    assert {point.name for point in metadata.entry_points(group=plugins.RANKERS)} >= {"heuristic", "v1"}
    names = {point.name for point in plugins.registered(plugins.SOURCES)}
    assert names >= {"mutual_taste", "similar_people", "admirers", "newcomers", "explore"}


@pytest.mark.parametrize("rankers", ["", "v1"])
def test_the_ranker_in_the_shadow_is_loaded_besides_those_that_are_listed(rankers: str) -> None:
    settings = Settings(rankers=rankers, shadow_ranker="mine")
    assert "mine" in load_rankers(settings, KNOWN, having(Point("mine", Plain), Point("other", Plain))).by_name


@pytest.mark.parametrize("points", [(), (Point("mine", explode),)])
def test_a_ranker_in_the_shadow_that_is_not_there_is_reported_and_stops_nothing(points: tuple[Point, ...]) -> None:
    (problem,) = load_rankers(Settings(shadow_ranker="mine"), KNOWN, having(*points)).problems
    assert problem.name == "mine"
