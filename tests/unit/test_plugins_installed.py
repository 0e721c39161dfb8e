"""What this installation registers can be used as it is."""

from service.features.definitions import FEATURES
from service.plugins import instantiate, load_rankers
from service.settings import Settings


def test_built_in_rankers_require_only_features_that_exist() -> None:
    installed = load_rankers(Settings(), FEATURES)
    assert installed.problems == ()
    assert set(installed.by_name) >= {"heuristic", "v1"}


def test_built_in_rankers_score_on_the_event_loop() -> None:
    installed = load_rankers(Settings(), FEATURES)
    assert installed.by_name["heuristic"].inline
    assert installed.by_name["v1"].inline


def test_fallback_serves_before_the_first_bundle() -> None:
    loaded = instantiate(load_rankers(Settings(), FEATURES), None)
    assert loaded["heuristic"].ranker is not None
    assert loaded["v1"].problem == "no bundle is live"
