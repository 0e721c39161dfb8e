"""Examples of made-up worlds, whose chances of a match are known."""

from collections.abc import Callable

import numpy as np
from amity_rankers.contract import Floats, RankingBatch, TrainingExamples
from numpy.typing import NDArray

Truth = Callable[[Floats, float], NDArray[np.float64]]
"""From features to chances, with so much added to everyone's log-odds."""


def examples_of(names: tuple[str, ...], values: Floats, truth: Truth, seed: int, later_shift: float = 0.0) -> TrainingExamples:
    """50 candidates a viewer. The latest fifth is for calibration; there `later_shift` is added to everyone's log-odds."""
    n = len(values)
    held = np.arange(n) >= 0.8 * n
    chances = np.where(held, truth(values, later_shift), truth(values, 0.0))
    return TrainingExamples(
        viewer_ids=np.arange(n) // 50,
        candidate_ids=np.arange(n),
        names=names,
        features=values,
        matched=(np.random.default_rng(seed + 1).random(n) < chances).astype(np.float32),
        weights=np.ones(n, np.float32),
        calibration=held,
        seed=seed,
    )


def batch_of(names: tuple[str, ...], values: Floats) -> RankingBatch:
    return RankingBatch(1, np.arange(len(values)), names, np.ascontiguousarray(values))


def log_loss(chances: NDArray[np.floating], matched: NDArray[np.floating]) -> float:
    return float(-np.mean(np.where(matched > 0, np.log(chances), np.log1p(-chances))))
