"""What a replica holds in memory after traffic, and how long a bundle takes to open: a step of benchmarks.scale.

python -m benchmarks.scale_memory BUNDLE_FOLDER CASES_FOLDER --seconds S [--cold]

With `--cold` the bundle's files are first dropped from the page cache, so that they are read from disk.
"""

from service.bootstrap import prepare

prepare(1)

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import msgspec  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.scale_cases import Ask, ask  # noqa: E402
from benchmarks.scale_folder import SPACES, VERSION, Folder, K  # noqa: E402
from benchmarks.scale_results import Memory  # noqa: E402
from service.features.definitions import FEATURES  # noqa: E402
from service.population.loader import opened  # noqa: E402
from service.population.population import Population  # noqa: E402

_SLATE = 20


def measure(bundle: Folder, asked: Folder, seconds: float, cold: bool) -> Memory:
    queries = {space: np.array(asked.array(f"queries.{space}")) for space in SPACES}
    cases = asked.cases
    if cold:
        _drop_from_cache(bundle.store.folder / VERSION)
    begun = time.perf_counter()
    _, population = opened(bundle.store, VERSION)
    open_s = time.perf_counter() - begun
    after_open = _resident()
    n_requests = 0
    order = np.random.default_rng(0).permutation(len(cases))
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        number = int(order[n_requests % len(order)])
        request = ask(cases[number], population.n_people)
        _answer(population, request, {space: vectors[number] for space, vectors in queries.items()})
        n_requests += 1
    return Memory(population.n_people, open_s, after_open, _resident(), n_requests)


def _answer(population: Population, request: Ask, queries: dict[str, np.ndarray]) -> None:
    """What a request reads: the mask, both searches, the features of whom they found, and the profiles of a slate."""
    view = population.eligible(request)
    found = np.unique(np.concatenate([view.search(space, queries[space], K).ids for space in SPACES]))
    if len(found):
        view.features(found, tuple(FEATURES))
    for person_id in found[:_SLATE].tolist():
        population.profile(person_id)


def _resident() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines)
    return {name: round(int(told[name].split()[0]) / 1024, 1) for name in ("VmRSS", "RssAnon", "RssFile")}


def _drop_from_cache(folder: Path) -> None:
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    memory = measure(Folder(options.bundle), Folder(options.cases), options.seconds, options.cold)
    sys.stdout.buffer.write(msgspec.json.encode(memory))


if __name__ == "__main__":
    main()
