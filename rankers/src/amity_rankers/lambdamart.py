"""Ranker `v2`: LambdaMART that starts from the line of `v1`, then calibrated to a probability.

The trees learn in which order each viewer's candidates belong, and begin where the line of `v1` ends: they mend what is not
straight. Trees alone know only what they were shown. In whole lists, most of whose people nobody ever looked at, they did far
worse on little data (Speed Dating: NDCG@20 of 0.01, the line 0.25, both together 0.22), and they see only which of one viewer's
candidates did better, while the line knows that some people match ten times as often as others. The curve that `v1` is bent by
makes the sum hold on the latest rows. Source: Burges, "From RankNet to LambdaRank to LambdaMART", 2010.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amity_rankers import calibration
from amity_rankers.boosted import Trees
from amity_rankers.contract import CONTRACT_VERSION, Arrays, Floats, Mask, RankingBatch, TrainingExamples
from amity_rankers.logistic import FEATURES as LINEAR
from amity_rankers.logistic import LogisticFactory, LogisticRanker
from amity_rankers.regression import mean_one

Doubles = NDArray[np.float64]

FEATURES = (*LINEAR, "age_difference_years")
"""Those of `v1`, and who of the two is older, which no straight line can use."""
TREES, LEAVES, LEARNING_RATE, LEAST_IN_LEAF = 100, 8, 0.03, 100
"""Chosen on the training part alone. On the demo 100 trees at 0.03 order lists better than 50 or 150 at 0.05 (NDCG@20 0.360,
0.359, 0.350); 5, 8 or 16 leaves differ by chance, and small trees score and explain fastest."""
LEAST_SHARE = 0.02
"""Of the examples, where a leaf of 100 would be more than this."""
LARGEST_GROUP = 10_000
"""LightGBM takes no more examples of one viewer together."""
_FORMAT = 1
_LINE = "line_"
_N_LINEAR = len(LINEAR)


@dataclass(frozen=True, slots=True, eq=False)
class LambdaMartRanker:
    """`line`: a `v1`, of whose curve no use is made. `trees`: None where nothing could be learnt. `stand_ins`: float32,
    shape (k,): for a value that is missing now and never was in training, where no tree knows what to do with it, the middle
    of those seen; NaN for the others."""

    line: LogisticRanker
    trees: Trees | None
    stand_ins: Floats
    curve: tuple[float, float, float]

    def score(self, batch: RankingBatch) -> Floats:
        return calibration.apply(self.curve, self.log_odds(batch.features)).astype(np.float32)

    def contributions(self, batch: RankingBatch) -> Floats:
        """The line's coefficients times standardised values, and the SHAP values of the trees."""
        added = np.zeros(batch.features.shape, np.float32)
        added[:, :_N_LINEAR] = self.line.terms(batch.features[:, :_N_LINEAR]).T
        if self.trees is not None:
            added += self.trees.shap(self._known(batch.features))[:, :-1]
        return added

    def log_odds(self, features: Floats) -> Doubles:
        """Before calibration, float64, shape (n,)."""
        log_odds = self.line.log_odds(features[:, :_N_LINEAR])
        if self.trees is not None:
            log_odds += self.trees.margins(self._known(features))
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
        """Fit the line and grow the trees on the rows outside `calibration`, then bend their sum to the rows inside it."""
        fitting, held = ~examples.calibration, examples.calibration
        line = LogisticFactory().train(replace(examples, names=LINEAR, features=examples.features[:, :_N_LINEAR]))
        trees, stand_ins = _grow(examples, fitting, line), _stand_ins(examples.features[fitting])
        bare = LambdaMartRanker(line, trees, stand_ins, calibration.IDENTITY)
        matched, weights = examples.matched[held].astype(np.float64), examples.weights[held].astype(np.float64)
        curve = calibration.fit(bare.log_odds(examples.features[held]), matched, mean_one(weights))
        return replace(bare, curve=curve)

    def dump(self, ranker: LambdaMartRanker) -> Arrays:
        """The trees as LightGBM's own text, of which `digest` is the hash: see Trees. The line as `v1` dumps itself."""
        text = b"" if ranker.trees is None else ranker.trees.text.encode()
        return {
            "format": np.array(_FORMAT),
            "names": np.frombuffer("\n".join(FEATURES).encode(), np.uint8),
            "trees": np.frombuffer(text, np.uint8),
            "digest": np.frombuffer(_digest(text), np.uint8),
            "stand_ins": ranker.stand_ins,
            "curve": np.array(ranker.curve),
            **{f"{_LINE}{name}": values for name, values in LogisticFactory().dump(ranker.line).items()},
        }

    def load(self, arrays: Arrays) -> LambdaMartRanker:
        for name, shape in {"format": (), "stand_ins": (len(FEATURES),), "curve": (3,)}.items():
            if name not in arrays or arrays[name].shape != shape:
                raise ValueError(f"array {name!r} is missing or not of shape {shape}")
        if arrays["format"] != _FORMAT:
            raise ValueError(f"these are of format {arrays['format']}, and this release reads {_FORMAT}")
        if "names" not in arrays or arrays["names"].tobytes() != "\n".join(FEATURES).encode():
            raise ValueError("these are trees over other features")
        a, b, c = arrays["curve"].tolist()
        if not np.all(np.isfinite([a, b, c])) or min(a, b) <= 0:
            raise ValueError("a number of the curve is not finite, or one of its slopes not positive")
        line = LogisticFactory().load({name.removeprefix(_LINE): arrays[name] for name in arrays if name.startswith(_LINE)})
        return LambdaMartRanker(line, _trees(arrays), np.array(arrays["stand_ins"], np.float32), (a, b, c))


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


def _grow(examples: TrainingExamples, fitting: Mask, line: LogisticRanker) -> Trees | None:
    """Trees that order each viewer's candidates, from the line on; None where there is but one outcome. The same for the same
    examples."""
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
        "seed": examples.seed % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        # Beside other work on the same two cores, two threads took 7 s for 20,000 examples and one took 1.
        "num_threads": 1,
        "verbosity": -1,
    }
    features = examples.features[fitting]
    grown = lightgbm.Dataset(
        features,
        matched,
        init_score=line.log_odds(features[:, :_N_LINEAR]),
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
