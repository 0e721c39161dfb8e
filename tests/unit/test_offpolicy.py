"""Estimates from draws, against worlds whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.experiments import prediction
from service.experiments.offpolicy import Comparison, Doubles, Draws, Outcome, best, by_lot, compare
from service.experiments.resampling import interval_of, resample

N_DRAWN = 2


class World:
    """Viewers who differ in how often they like, and people whose one feature says how much they are liked."""

    def __init__(self, seed: int, n_viewers: int = 300, n_hopefuls: int = 16, most_draws: int = 20) -> None:
        self.rng = np.random.default_rng(seed)
        viewer = np.repeat(np.arange(1, n_viewers + 1), self.rng.integers(1, most_draws, n_viewers))
        sizes = self.rng.integers(n_hopefuls // 2, n_hopefuls + 1, len(viewer))
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(np.arange(len(viewer)), sizes)
        features = self.rng.normal(size=(len(rows), 2)).astype(np.float32)
        keen = self.rng.normal(size=n_viewers)[viewer - 1][rows]
        self.likes = 1 / (1 + np.exp(2.5 - keen - features[:, 0]))
        self.draws = Draws(
            viewer=viewer, starts=starts, ids=np.arange(1, len(rows) + 1), drawn=self._lots(rows, starts), features=features
        )

    def _lots(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        order = np.lexsort((self.rng.random(len(rows)), rows))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows)) - starts[rows[order]]
        return place < N_DRAWN

    def redrawn(self) -> Draws:
        """The same people, drawn anew."""
        return Draws(
            viewer=self.draws.viewer,
            starts=self.draws.starts,
            ids=self.draws.ids,
            drawn=self._lots(self.draws.rows, self.draws.starts),
            features=self.draws.features,
        )

    def outcome(self, draws: Draws, *, predicting: bool = True) -> Outcome:
        happened = ((self.rng.random(len(draws.ids)) < self.likes) & draws.drawn).astype(np.float64)
        if not predicting:
            return Outcome(happened=happened, predicted=np.zeros(len(happened)))
        predicted = prediction.predict(draws.features, happened, draws.drawn, draws.viewer[draws.rows])
        return Outcome(happened=happened, predicted=predicted)

    def truth(self, shares: Doubles) -> float:
        return float(shares @ self.likes / shares.sum())

    def compare(self) -> Comparison:
        scores = self.draws.features
        policies = {"good": best(self.draws, scores[:, 0]), "blind": best(self.draws, scores[:, 1]), "drawn": by_lot(self.draws)}
        return compare(self.draws, self.outcome(self.draws), policies)


def values(comparison: Comparison, policy: str) -> list[float]:
    estimate = comparison.estimates[policy]
    return [interval.value for interval in (estimate.ips, estimate.snips, estimate.dr) if interval is not None]


def test_estimates_are_right_on_average_over_draws() -> None:
    world = World(1)
    good = best(world.draws, world.draws.features[:, 0])
    found = []
    for _ in range(60):
        draws = world.redrawn()
        found.append(values(compare(draws, world.outcome(draws), {"good": good}), "good"))
    means, errors = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(means - world.truth(good)) < 3.5 * errors).all()
    assert (errors < 0.003).all()


def test_a_prediction_makes_the_estimate_calmer_and_never_wrong() -> None:
    world = World(2, n_viewers=120)
    good = best(world.draws, world.draws.features[:, 0])
    found: dict[str, list[list[float]]] = {"perfect": [], "useless": []}
    for _ in range(120):
        draws = world.redrawn()
        happened = world.outcome(draws, predicting=False).happened
        for name, predicted in (("perfect", world.likes), ("useless", np.full(len(happened), 0.9))):
            outcome = Outcome(happened=happened, predicted=predicted)
            found[name].append(values(compare(draws, outcome, {"good": good}), "good"))
    for estimates in found.values():
        dr = np.array(estimates)[:, 2]
        assert abs(dr.mean() - world.truth(good)) < 3.5 * dr.std() / np.sqrt(len(dr))
    ips, _, dr = np.std(found["perfect"], axis=0)
    assert dr < 0.93 * ips


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    of_rate, of_difference = [], []
    for seed in range(200):
        world = World(seed)
        comparison = world.compare()
        good, blind = (world.truth(best(world.draws, world.draws.features[:, column])) for column in (0, 1))
        rate, difference = comparison.estimates["good"].dr, comparison.differences["blind"]
        assert rate is not None
        of_rate.append(rate.low <= good <= rate.high)
        of_difference.append(difference.low <= good - blind <= difference.high)
    assert np.mean(of_rate) > 0.92
    assert np.mean(of_difference) > 0.92


def test_the_better_ranker_is_found() -> None:
    comparison = World(3).compare()
    assert comparison.differences["blind"].low > 0
    assert comparison.differences["drawn"].low > 0


def test_a_ranker_that_knows_nothing_is_no_better_than_the_draw() -> None:
    world = World(4)
    blind = best(world.draws, world.draws.features[:, 1])
    difference = compare(world.draws, world.outcome(world.draws), {"blind": blind, "drawn": by_lot(world.draws)}).differences[
        "drawn"
    ]
    assert difference.low < 0 < difference.high


@given(st.integers(0, 99), st.integers(2, 20))
def test_the_draw_itself_is_worth_what_was_seen(seed: int, n_hopefuls: int) -> None:
    world = World(seed, n_viewers=60, n_hopefuls=2 * n_hopefuls, most_draws=30)
    outcome = world.outcome(world.draws, predicting=False)
    seen = outcome.happened.sum() / world.draws.drawn.sum()
    found = compare(world.draws, outcome, {"drawn": by_lot(world.draws)}).estimates["drawn"]
    if found.refused is None:
        assert values(Comparison(estimates={"drawn": found}, differences={}), "drawn") == pytest.approx([seen] * 3)
    assert found.support.mean_weight == pytest.approx(1)


@given(st.integers(0, 99))
def test_a_ranker_shows_as_many_as_were_drawn_and_none_better_stays_behind(seed: int) -> None:
    draws = World(seed, n_viewers=5).draws
    scores = np.random.default_rng(seed).integers(0, 4, len(draws.ids)).astype(np.float32)
    shares = best(draws, scores)
    assert (draws.sums(shares) == draws.n_drawn).all()
    for start, end in zip(draws.starts[:-1], draws.starts[1:], strict=True):
        chosen = shares[start:end] > 0
        worst = min(zip(scores[start:end][chosen], -draws.ids[start:end][chosen], strict=True))
        assert worst >= max(zip(scores[start:end][~chosen], -draws.ids[start:end][~chosen], strict=True))


def test_weights_above_the_bound_are_cut_and_counted() -> None:
    world = World(5)
    policies = {"good": best(world.draws, world.draws.features[:, 0])}
    outcome = world.outcome(world.draws)
    whole, cut = (compare(world.draws, outcome, policies, clip).estimates["good"] for clip in (None, 5.0))
    assert (whole.support.n_clipped, whole.support.largest_weight) == (0, 8.0)
    assert cut.support.n_clipped > 0
    assert whole.ips is not None
    assert cut.ips is not None
    assert cut.ips.value < whole.ips.value


def test_effective_slots_are_those_that_both_chose_when_weights_are_equal() -> None:
    world = World(6, n_hopefuls=8)
    draws = world.draws
    alike = Draws(
        viewer=np.repeat(draws.viewer, 1), starts=np.arange(len(draws) + 1) * 8, ids=np.arange(len(draws) * 8) + 1,
        drawn=np.tile(np.arange(8) < 2, len(draws)), features=np.zeros((len(draws) * 8, 1), np.float32),
    )  # fmt: skip
    shares = np.tile((np.arange(8) == 0) | (np.arange(8) == 5), len(draws)).astype(np.float64)
    outcome = Outcome(happened=np.zeros(len(alike.ids)), predicted=np.zeros(len(alike.ids)))
    support = compare(alike, outcome, {"one": shares}).estimates["one"].support
    assert support.effective == pytest.approx(support.n_shared) == pytest.approx(len(draws))


def refusal(world: World, draws: Draws | None = None, shares: Doubles | None = None) -> str:
    draws = world.draws if draws is None else draws
    shares = best(draws, draws.features[:, 0]) if shares is None else shares
    outcome = world.outcome(draws) if len(draws) else Outcome(happened=np.zeros(0), predicted=np.zeros(0))
    found = compare(draws, outcome, {"v2": shares}).estimates["v2"]
    assert (found.ips, found.snips, found.dr) == (None, None, None)
    assert found.refused is not None
    return found.refused


def test_too_few_viewers_slots_and_likes_are_named() -> None:
    words = refusal(World(7, n_viewers=10))
    assert "10 viewers, and 50 are needed" in words
    assert "effective slots" in words
    assert "times as many draws" in words


def test_nothing_to_go_by_is_said() -> None:
    nobody = Draws(
        viewer=np.zeros(0, np.int64), starts=np.zeros(1, np.int64), ids=np.zeros(0, np.int64), drawn=np.zeros(0, np.bool_),
        features=np.zeros((0, 3), np.float32),
    )  # fmt: skip
    assert "nobody was drawn" in refusal(World(8), nobody, np.zeros(0))


def test_draws_that_were_not_fair_are_found_out() -> None:
    world = World(9)
    by_score = best(world.draws, world.draws.features[:, 0] + world.rng.normal(size=len(world.likes)).astype(np.float32))
    unfair = Draws(
        viewer=world.draws.viewer,
        starts=world.draws.starts,
        ids=world.draws.ids,
        drawn=by_score > 0,
        features=world.draws.features,
    )
    assert "no estimate from them can be trusted" in refusal(world, unfair)


def test_predictions_never_see_the_viewer_they_are_for() -> None:
    world = World(10, n_viewers=40)
    draws, viewer = world.draws, world.draws.viewer[world.draws.rows]
    happened = world.outcome(draws, predicting=False).happened
    before = prediction.predict(draws.features, happened, draws.drawn, viewer)
    changed = np.where(viewer == 7, draws.drawn & (happened == 0), happened).astype(np.float64)
    after = prediction.predict(draws.features, changed, draws.drawn, viewer)
    assert (before[viewer == 7] == after[viewer == 7]).all()
    assert (before != after).any()


def test_predictions_bear_missing_features_and_one_kind_of_outcome() -> None:
    world = World(11, n_viewers=40)
    draws, viewer = world.draws, world.draws.viewer[world.draws.rows]
    features = draws.features.copy()
    features[::3, 0], features[:, 1] = np.nan, np.nan
    happened = world.outcome(draws, predicting=False).happened
    for came in (happened, np.zeros(len(happened)), draws.drawn.astype(np.float64)):
        predicted = prediction.predict(features, came, draws.drawn, viewer)
        assert np.isfinite(predicted).all()
        assert (predicted > 0).all()
        assert (predicted < 1).all()


def test_resampling_is_repeatable_and_spreads_as_the_mean_does() -> None:
    totals = np.random.default_rng(1).normal(size=(400, 1)) + 5
    totals = np.concatenate([totals, np.ones((400, 1))], axis=1)
    everyone, resampled = resample(totals, seed=1)
    assert (resampled == resample(totals, seed=1)[1]).all()
    ratio = resampled[:, 0] / resampled[:, 1]
    assert np.std(ratio) == pytest.approx(np.std(totals[:, 0]) / 20, rel=0.1)
    interval = interval_of(float(everyone[0] / everyone[1]), ratio)
    assert interval.high - interval.low == pytest.approx(4 * np.std(totals[:, 0]) / 20, rel=0.1)
