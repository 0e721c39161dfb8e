"""What the contract suites draw, measure and check."""

import gc
import os
import random
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
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


def quickest_ms(work: Callable[[], object], clock: Callable[[], float], runs: int = 7) -> float:
    """The least that `work` takes by a clock of seconds, in ms: what it takes when nothing comes between."""

    def took_s() -> float:
        started = clock()
        work()
        return clock() - started

    work()
    return 1e3 * min(took_s() for _ in range(runs))


def grown_mb(work: Callable[[], object]) -> float:
    """MB that `work` takes at its most, and that its result holds in the end; the larger of what Python counts, arrays of numpy
    included, and what the process has grown by, where the system tells."""
    work()  # what is imported when first needed is no part of it
    gc.collect()
    before_mb = _resident_mb()
    tracemalloc.start()
    try:
        held = work()
        grown = _resident_mb() - before_mb
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del held
    return max(peak / 1e6, grown)


def _resident_mb() -> float:
    """Resident memory of this process; 0 where there is no /proc."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if status.exists() else 0.0


@contextmanager
def heard(*events: str) -> Iterator[list[str]]:
    """Python's audit events of these names that this thread raises meanwhile, as text. Python cannot forget an audit hook: one
    stays for the whole process, and does nothing outside of here."""
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_hear)
    ear = _Ear(frozenset(events), threading.get_ident())
    _EARS.append(ear)
    try:
        yield ear.heard
    finally:
        _EARS.remove(ear)


class _Ear:
    def __init__(self, events: frozenset[str], thread: int) -> None:
        self.events = events
        self.thread = thread
        self.heard: list[str] = []


_EARS: list[_Ear] = []
_HOOKED: list[bool] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for ear in _EARS:
        if event in ear.events and threading.get_ident() == ear.thread:
            ear.heard.append(" ".join([event, *map(str, arguments[:2])]))
