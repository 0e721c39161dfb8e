"""The planner's tables: from how many pass to how they are searched, without an index."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.population.planner import Calibration, Planner, Step

N = 1_000_000


def step(share: float, ms: float, depth: int = 1000, masked: bool = True, miss: float = 1e-3) -> Step:
    return Step(share, miss, depth, masked, 0.985, 0.93, ms, 200.0)


TABLE = Calibration(
    100,
    0.98,
    1024,
    0.1,
    100.0,
    (
        step(1.0, 1.0, masked=False, miss=1e-5),
        step(0.9, 1.2, masked=False),
        step(0.5, 2.0),
        step(0.1, 2.0, 2000),
        step(0.01, 4.0),
    ),
)


@pytest.mark.parametrize(
    ("n_passing", "method", "ms"),
    [
        (0, "none", 0.0),
        (1, "exact", 0.1),
        (10_000, "exact", 1.1),
        (18_000, "exact", 1.9),
        (100_000, "probe", 2.0),
        (300_000, "probe", 2.0),
        (700_000, "probe", 1.54),
        (900_000, "plain", 1.2),
        (999_000, "plain", 1.0),
        (N, "plain", 1.0),
    ],
)
def test_the_cheaper_way_is_taken(n_passing: int, method: str, ms: float) -> None:
    plan = Planner(TABLE).plan(n_passing, N, 100)
    assert (plan.method, plan.n_passing, plan.share) == (method, n_passing, n_passing / N)
    assert plan.estimated_ms == pytest.approx(ms, abs=0.02)


def test_between_two_steps_both_are_satisfied() -> None:
    plan = Planner(TABLE).plan(300_000, N, 100)
    assert (plan.miss, plan.depth, plan.expected_recall) == (1e-3, 2000, 0.985)


def test_the_best_of_those_who_pass_are_sought_among_as_many_more_of_all() -> None:
    assert Planner(TABLE).plan(200_000, N, 100).wanted == 500


def test_without_a_mask_so_many_more_are_named_as_will_not_pass() -> None:
    assert Planner(TABLE).plan(950_000, N, 100).depth == 1053


@pytest.mark.parametrize(("k", "depth", "wanted"), [(10, 2000, 100), (100, 2000, 1000), (300, 3465, 3000), (2000, 8945, 20_000)])
def test_for_more_people_more_are_named(k: int, depth: int, wanted: float) -> None:
    plan = Planner(TABLE).plan(100_000, N, k)
    assert (plan.depth, plan.wanted) == (depth, wanted)


def test_a_query_may_take_half_as_many_lists_more_than_usual_at_once() -> None:
    plan = Planner(TABLE).plan(100_000, N, 100)
    assert plan.most_lists == -(-3 * plan.n_lists // 2) > plan.n_lists > 0


def test_below_the_smallest_share_that_was_measured_all_are_scored() -> None:
    dear = Calibration(100, 0.98, 1024, 0.1, 1e6, TABLE.steps)
    assert [Planner(dear).plan(n, N, 100).method for n in (9_999, 10_000)] == ["exact", "probe"]


def test_next_to_a_share_where_no_probe_reached_the_target_all_are_scored() -> None:
    table = Calibration(100, 0.98, 1024, 0.1, 100.0, (step(1.0, 1.0), step(0.5, 0.0, depth=0), step(0.1, 1.0)))
    methods = [Planner(table).plan(n, N, 100).method for n in (N, 700_000, 500_000, 300_000, 100_000)]
    assert methods == ["probe", "exact", "exact", "exact", "probe"]


@pytest.mark.parametrize(("n_passing", "k"), [(50, 100), (N, N), (N, N + 1)])
def test_who_wants_all_who_pass_gets_all(n_passing: int, k: int) -> None:
    assert Planner(TABLE).plan(n_passing, N, k).method == "exact"


def test_without_a_calibration_all_is_exact() -> None:
    plan = Planner().plan(2000, 3000, 100)
    assert (plan.method, plan.expected_recall) == ("exact", 1.0)
    assert plan.estimated_ms == pytest.approx(0.3)


@pytest.mark.parametrize(("n_passing", "k"), [(0, 100), (-1, 100), (10, 0)])
def test_nothing_to_find_is_no_search(n_passing: int, k: int) -> None:
    assert Planner(TABLE).plan(n_passing, N, k).method == "none"


def test_an_empty_population_is_no_search() -> None:
    assert Planner(TABLE).plan(0, 0, 100).share == 0.0


@pytest.mark.parametrize(("n_passing", "ways"), [(100_000, ["probe", "exact"]), (950_000, ["probe", "probe", "exact"])])
def test_what_found_too_few_widens_step_by_step_to_everyone(n_passing: int, ways: list[str]) -> None:
    planner = Planner(TABLE)
    plans = [planner.plan(n_passing, N, 100)]
    while plans[-1].method != "exact":
        plans.append(planner.widen(plans[-1]))
    assert [plan.method for plan in plans[1:]] == ways
    assert all(plan.widened for plan in plans[1:])
    assert (plans[-2].n_lists, plans[-2].miss) == (1024, 0.0)
    assert plans[-1].estimated_ms == pytest.approx(0.1 + n_passing * 1e-4)


def test_with_a_mask_a_hundred_are_enough_and_without_one_half_of_those_expected() -> None:
    planner = Planner(TABLE)
    plans = [planner.plan(n, N, 100) for n in (100_000, 950_000)]
    assert [planner.enough(plan, 100) for plan in plans] == [100, 501]
    assert planner.enough(planner.plan(60, N, 100), 100) == 60


def test_a_calibration_is_read_back_from_what_was_written() -> None:
    assert Calibration.load(TABLE.dump()) == TABLE


def test_a_calibration_without_steps_is_read_back_too() -> None:
    empty = Calibration(100, 0.98, 1024, 0.1, 100.0, ())
    assert Calibration.load(empty.dump()) == empty
    assert Planner(empty).plan(N, N, 100).method == "exact"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"figures": np.zeros(5)},
        {"figures": np.full(5, np.nan)},
        {"figures": np.ones(4)},
        {"steps": np.ones((2, 7))},
        {"steps": -np.ones((1, 8))},
        {"steps": np.ones((2, 8))},
        {"steps": np.zeros((1, 8))},
    ],
)
def test_a_calibration_that_cannot_be_is_refused(wrong: dict[str, NDArray[np.float64]]) -> None:
    with pytest.raises(ValueError, match="a calibration"):
        Calibration.load({**TABLE.dump(), **wrong} if wrong else {})
