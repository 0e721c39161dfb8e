"""What the contract suites draw and check."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amity_rankers.contract import Floats


def plausible(name: str, n: int, rng: np.random.Generator) -> Floats:
    """Values such as a feature of this name has, float32, shape (n,), by the unit that the name ends in."""
    if name.endswith("_km") or "_days" in name:
        return rng.gamma(1.0, 60.0, n).astype(np.float32)
    if name.endswith("_years"):
        return rng.gamma(2.0, 4.0, n).astype(np.float32)
    if "_log_" in name:
        return np.log1p(rng.poisson(8.0, n)).astype(np.float32)
    if name in ("forward_affinity", "backward_affinity"):
        return rng.normal(0.0, 1.0, n).astype(np.float32)
    if name.startswith(("shared_", "n_")):
        return rng.poisson(1.5, n).astype(np.float32)
    if name.startswith(("same_", "likes_")):
        return (rng.random(n) < 0.2).astype(np.float32)
    return rng.random(n).astype(np.float32)


def assert_probabilities(scores: NDArray[Any], n: int) -> None:
    """What the service checks of every answer: float32, shape (n,), finite, in [0, 1]."""
    assert isinstance(scores, np.ndarray), f"scores are a {type(scores).__name__}, and have to be an array"
    assert scores.dtype == np.float32, f"scores are {scores.dtype}, and have to be float32"
    assert scores.shape == (n,), f"scores are of shape {scores.shape}, and have to be of shape ({n},): one a candidate"
    assert np.isfinite(scores).all(), f"{int((~np.isfinite(scores)).sum())} of {n} scores are NaN or infinite"
    low, high = scores.min(initial=0.0), scores.max(initial=1.0)
    assert low >= 0, f"scores go down to {low}, and have to be probabilities, 0 to 1"
    assert high <= 1, f"scores go up to {high}, and have to be probabilities, 0 to 1"


def run_together(work: Callable[[int], None]) -> None:
    """`work(0)` and `work(1)` in two threads at once; re-raises what either raises."""
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(work, index) for index in (0, 1)]:
            done.result()


def seed_everything(seed: int) -> str:
    """Seed the global generators, which a plug-in must not use; gives their state."""
    np.random.seed(seed)
    random.seed(seed)
    return global_randomness()


def global_randomness() -> str:
    """The state of the global generators, to compare."""
    return repr((np.random.get_state(), random.getstate()))
