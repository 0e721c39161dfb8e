"""The comparison of rankers judges each on the same people and times each by its own candidates."""

import pytest

from benchmarks import rankers
from benchmarks.newcomers import demo_material
from benchmarks.rankers import compare, means, times
from benchmarks.rows import Row
from service.features.definitions import FEATURES
from service.plugins import InstalledRanker, load_rankers
from service.settings import Settings

SEED = 7


@pytest.fixture(scope="module")
def installed() -> dict[str, InstalledRanker]:
    every = load_rankers(Settings(), FEATURES).by_name
    return {name: every[name] for name in ("heuristic", "popular", "v1", "v2")}


def test_every_ranker_is_judged_and_who_learns_beats_who_does_not(installed: dict[str, InstalledRanker]) -> None:
    compared = compare(demo_material(300), installed, SEED)
    assert set(compared.rankers) == set(compared.figures) == set(installed)
    for name in ("v1", "v2"):
        assert compared.figures[name]["auc"] > compared.figures["heuristic"]["auc"]
        assert compared.figures[name]["log_loss"] < compared.figures[name]["constant_log_loss"]
    rows = {row.name: row.value for row in means("demo", [compared, compared])}
    assert rows["rankers, demo, v1: ndcg20"] == pytest.approx(compared.figures["v1"]["ndcg20"], abs=1e-4)


def test_times_are_of_scores_and_of_reasons_where_there_are_any(
    installed: dict[str, InstalledRanker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankers, "N_BATCHES", 3)
    found: list[Row] = list(times(installed, {"heuristic": installed["heuristic"].factory.load({})}))
    assert [row.name for row in found if "median" in row.name] == [
        "rankers, heuristic: scores 500, median",
        "rankers, heuristic: reasons for 20, median",
    ]
    assert all(row.value > 0 for row in found)
