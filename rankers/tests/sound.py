"""A ranker that keeps the contract, and the suite that tries one which breaks it in one place."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from amity_rankers.contract import RankingBatch, TrainingExamples
from amity_rankers.testing import RankerContract


class Scorer:
    def __init__(self, score: Callable[[RankingBatch], Any]) -> None:
        self.score = score


def sound(batch: RankingBatch) -> Any:
    return 1 / (1 + np.exp(-np.clip(np.nan_to_num(batch.features[:, 0]), -9, 9)))


class Sound:
    """Learns nothing, needs a bundle all the same, and keeps the contract."""

    contract_version = 1
    version = "1"
    required_features = ("forward_affinity", "distance_km")
    needs_bundle = True
    light = True

    def train(self, examples: TrainingExamples) -> Scorer:
        return Scorer(sound)

    def dump(self, ranker: Any) -> dict[str, Any]:
        return {"nothing": np.zeros(1)}

    def load(self, arrays: Mapping[str, Any]) -> Scorer:
        if "nothing" not in arrays:
            raise ValueError("no arrays")
        return Scorer(sound)


def suite(**broken: Any) -> RankerContract:
    made = type("Broken", (Sound,), broken)
    checked: RankerContract = type("TestBroken", (RankerContract,), {"factory": made})()
    return checked


def scoring(score: Callable[[RankingBatch], Any]) -> RankerContract:
    return suite(train=lambda self, examples: Scorer(score), load=lambda self, arrays: Scorer(score))
