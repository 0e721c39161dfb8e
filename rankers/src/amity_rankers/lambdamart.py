"""Ranker `v2`: LambdaMART, whose trees learn the order of each viewer's candidates, then calibrated to a probability.

The trees see only which of one viewer's candidates did better, so their margin says nothing across viewers: some people match
ten times as often as others. A regression on the margin and on what is known of the viewer turns it into log-odds, and the
curve that `v1` is bent by makes those hold on the latest rows. Within one viewer neither changes the order.
Source: Burges, "From RankNet to LambdaRank to LambdaMART", 2010.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amity_rankers import calibration
from amity_rankers.boosted import Trees
from amity_rankers.contract import CONTRACT_VERSION, Arrays, Floats, Mask, RankingBatch, TrainingExamples
from amity_rankers.logistic import FEATURES as LINEAR
from amity_rankers.regression import mean_one, moments, regress

Doubles = NDArray[np.float64]

FEATURES = (*LINEAR, "age_difference_years")
"""Those of `v1`, and who of the two is older, which no straight line can use."""
RISING = ("forward_affinity", "backward_affinity", "mutual_affinity", "likes_viewer")
"""More of these never lowers a candidate. It costs nothing in cross-validation, and reasons read from the trees make sense."""
VIEWER = (
    "viewer_completeness",
    "viewer_log_likes_received",
    "viewer_log_likes_given",
    "viewer_like_rate_received",
    "viewer_like_rate_given",
)
RATES = ("viewer_like_rate_received", "viewer_like_rate_given")
"""Taken as log(x / (1 - x)), in which the rates of two people add up."""
TREES, LEAVES, LEARNING_RATE, LEAST_IN_LEAF = 150, 8, 0.05, 100
"""By four-fold cross-validation over viewers of the demo's training part: 50 to 300 trees of 5 to 15 leaves differ by less than
0.002 in AUC. Small ones score and explain fastest: 500 candidates in 1.7 ms, reasons for 20 in 2."""
LEAST_SHARE = 0.02
"""Of the examples, where a leaf of 100 would be more than this."""
LARGEST_GROUP = 10_000
"""LightGBM takes no more examples of one viewer together."""
LEAST_SLOPE = 0.01
"""Keeps the score rising with the margin."""
FURTHEST = 6.0
"""Standard deviations that a viewer's figures are followed."""
_FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """From margins to log-odds. `means`, `scales`, `coefficients`: float64, shape (len(VIEWER),), over transformed values; a
    missing value counts as the mean."""

    slope: float
    means: Doubles
    scales: Doubles
    coefficients: Doubles
    intercept: float

    def terms(self, features: Floats) -> Doubles:
        """What the viewer's own features add, float64, shape (len(VIEWER), n): by feature, so that sums of them do not depend on
        how many candidates there are."""
        standard = np.clip((_viewers_own(features) - self.means[:, None]) / self.scales[:, None], -FURTHEST, FURTHEST)
        return np.nan_to_num(standard, nan=0.0) * self.coefficients[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class LambdaMartRanker:
    """`trees`: None where nothing could be learnt of the order. `stand_ins`: float32, shape (k,): for a value that is missing now
    and never was in training, where no tree knows what to do with it, the middle of those seen; NaN for the others."""

    trees: Trees | None
    stand_ins: Floats
    level: Level
    curve: tuple[float, float, float]

    def score(self, batch: RankingBatch) -> Floats:
        return calibration.apply(self.curve, self.log_odds(batch.features)).astype(np.float32)

    def contributions(self, batch: RankingBatch) -> Floats:
        """SHAP values of the trees, on the scale of log-odds; for the viewer's own features, what those add beside."""
        added = np.zeros(batch.features.shape)
        if self.trees is not None:
            added += self.level.slope * self.trees.shap(self._known(batch.features))[:, :-1]
        added[:, _VIEWER] += self.level.terms(batch.features).T
        return added.astype(np.float32)

    def log_odds(self, features: Floats) -> Doubles:
        """Before calibration, float64, shape (n,)."""
        log_odds = np.full(len(features), self.level.intercept)
        if self.trees is not None:
            log_odds += self.level.slope * self.trees.margins(self._known(features))
        for term in self.level.terms(features):
            log_odds += term
        return log_odds

    def _known(self, features: Floats) -> Floats:
        return np.where(np.isnan(features), self.stand_ins, features)


class LambdaMartFactory:
    contract_version = CONTRACT_VERSION
    version = "1"
    required_features = FEATURES
    needs_bundle = True
    light = False

    def train(self, examples: TrainingExamples) -> LambdaMartRanker:
        """Grow the trees and fit the level on the rows outside `calibration`, then bend the result to the rows inside it."""
        fitting, held = ~examples.calibration, examples.calibration
        trees, stand_ins = _grow(examples, fitting), _stand_ins(examples.features[fitting])
        level = _level(examples, fitting, trees)
        bare = LambdaMartRanker(trees, stand_ins, level, calibration.IDENTITY)
        matched, weights = examples.matched[held].astype(np.float64), examples.weights[held].astype(np.float64)
        curve = calibration.fit(bare.log_odds(examples.features[held]), matched, mean_one(weights))
        return LambdaMartRanker(trees, stand_ins, level, curve)

    def dump(self, ranker: LambdaMartRanker) -> Arrays:
        """The trees as LightGBM's own text, of which `digest` is the hash: see Trees."""
        text = b"" if ranker.trees is None else ranker.trees.text.encode()
        level = ranker.level
        return {
            "format": np.array(_FORMAT),
            "names": np.frombuffer("\n".join(FEATURES).encode(), np.uint8),
            "trees": np.frombuffer(text, np.uint8),
            "digest": np.frombuffer(_digest(text), np.uint8),
            "stand_ins": ranker.stand_ins,
            "level": np.stack([level.means, level.scales, level.coefficients]),
            "line": np.array([level.slope, level.intercept]),
            "curve": np.array(ranker.curve),
        }

    def load(self, arrays: Arrays) -> LambdaMartRanker:
        shapes = {"format": (), "stand_ins": (len(FEATURES),), "level": (3, len(VIEWER)), "line": (2,), "curve": (3,)}
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                raise ValueError(f"array {name!r} is missing or not of shape {shape}")
        if arrays["format"] != _FORMAT:
            raise ValueError(f"these are of format {arrays['format']}, and this release reads {_FORMAT}")
        if "names" not in arrays or arrays["names"].tobytes() != "\n".join(FEATURES).encode():
            raise ValueError("these are trees over other features")
        means, scales, coefficients = np.array(arrays["level"], np.float64)
        (slope, intercept), curve = arrays["line"].tolist(), arrays["curve"].tolist()
        numbers = [slope, intercept, *curve, *means, *scales, *coefficients]
        if not np.all(np.isfinite(numbers)) or min(slope, *curve[:2], *scales) <= 0:
            raise ValueError("a number of the level or the curve is not finite, or a scale or slope is not positive")
        level = Level(slope, means, scales, coefficients, intercept)
        return LambdaMartRanker(_trees(arrays), np.array(arrays["stand_ins"], np.float32), level, (curve[0], curve[1], curve[2]))


def _trees(arrays: Arrays) -> Trees | None:
    if "trees" not in arrays or "digest" not in arrays:
        raise ValueError("array 'trees' or 'digest' is missing")
    text = arrays["trees"].tobytes()
    if arrays["digest"].tobytes() != _digest(text):
        raise ValueError("the trees are not as they were written")
    trees = Trees(text.decode()) if text else None
    if trees is not None and trees.names != FEATURES:
        raise ValueError("these are trees over other features")
    return trees


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _grow(examples: TrainingExamples, fitting: Mask) -> Trees | None:
    """Trees that order each viewer's candidates; None where there is but one outcome. The same for the same examples."""
    matched = examples.matched[fitting]
    if len(np.unique(matched)) < 2:
        return None
    import lightgbm

    options = {
        "objective": "lambdarank",
        "num_iterations": TREES,
        "num_leaves": LEAVES,
        "learning_rate": LEARNING_RATE,
        "min_data_in_leaf": max(1, min(LEAST_IN_LEAF, int(LEAST_SHARE * len(matched)))),
        "monotone_constraints": [int(name in RISING) for name in FEATURES],
        "seed": examples.seed % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        # Beside other work on the same two cores, two threads took 7 s for 20,000 examples and one took 1.
        "num_threads": 1,
        "verbosity": -1,
    }
    grown = lightgbm.Dataset(
        examples.features[fitting],
        matched,
        weight=examples.weights[fitting],
        group=_groups(examples.viewer_ids[fitting]),
        feature_name=list(FEATURES),
    )
    return Trees(lightgbm.train(options, grown).model_to_string())


def _groups(viewer_ids: NDArray[np.int64]) -> list[int]:
    """How many rows in a row are of one viewer, LARGEST_GROUP at most."""
    edges = np.flatnonzero(np.diff(viewer_ids)) + 1
    sizes = np.diff(np.concatenate([[0], edges, [len(viewer_ids)]])).tolist()
    return [min(LARGEST_GROUP, size - start) for size in sizes for start in range(0, size, LARGEST_GROUP)]


def _stand_ins(features: Floats) -> Floats:
    """The median of each column without a gap, NaN for one that has any; float32, shape (k,)."""
    whole = ~np.isnan(features).any(axis=0) if len(features) else np.zeros(features.shape[1], np.bool_)
    stand_ins = np.full(features.shape[1], np.nan, np.float32)
    stand_ins[whole] = np.median(features[:, whole], axis=0)
    return stand_ins


def _level(examples: TrainingExamples, fitting: Mask, trees: Trees | None) -> Level:
    """By regression over the fitting rows; where only one outcome was seen, the rate alone."""
    features = examples.features[fitting]
    margins = np.zeros(len(features)) if trees is None else trees.margins(features)
    columns = np.vstack([margins, _viewers_own(features)]).T
    means, scales = moments(columns)
    design = np.nan_to_num(np.clip((columns - means) / scales, -FURTHEST, FURTHEST), nan=0.0)
    weights = mean_one(examples.weights[fitting].astype(np.float64))
    coefficients, intercept = regress(design, examples.matched[fitting].astype(np.float64), weights)
    slope = max(float(coefficients[0] / scales[0]), LEAST_SLOPE)
    return Level(slope, means[1:], scales[1:], coefficients[1:], intercept - slope * float(means[0]))


def _viewers_own(features: Floats) -> Doubles:
    """The viewer's own features, transformed, float64, shape (len(VIEWER), n); NaN stays NaN."""
    values = features[:, _VIEWER].T.astype(np.float64, order="C")
    shares = np.clip(values[_RATES], 0.001, 0.999)
    values[_RATES] = np.log(shares / (1.0 - shares))
    return values


_VIEWER = [FEATURES.index(name) for name in VIEWER]
_RATES = [VIEWER.index(name) for name in RATES]
