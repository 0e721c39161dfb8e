"""Recall and time of every case, one way of searching at a time, with one thread: a step of benchmarks.scale.

Times are warm: of the second and later answers to each case, whose pages and rows the first has touched. p99 leaves out what a
first touch costs; how long files take that are read from disk is told by benchmarks.scale_memory with --cold, for opening them.

python -m benchmarks.scale_search FOLDER amity|ivf|"ivf tuned"|hnsw
"""

from service.bootstrap import prepare

prepare(1)

import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from itertools import groupby  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Protocol  # noqa: E402

import faiss  # noqa: E402
import msgspec  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import scale_baselines  # noqa: E402
from benchmarks.scale_cases import ask  # noqa: E402
from benchmarks.scale_folder import SPACES, VERSION, Folder, K  # noqa: E402
from benchmarks.scale_results import Cell  # noqa: E402
from benchmarks.scale_truth import recall  # noqa: E402
from service.population import snapshot  # noqa: E402

_LEAST_TIMES = 200


class Answer(msgspec.Struct, frozen=True, eq=False):
    """Rows found by space, how they were found, and the time of each part in milliseconds."""

    rows: dict[str, NDArray[np.int64]]
    plans: dict[str, str]
    ms: dict[str, float]


class Way(Protocol):
    """A way of searching. `answer` does both searches of the case with this number."""

    def answer(self, number: int) -> Answer: ...


class Amity:
    """The population as the service has it: the mask of the request, then both searches under it."""

    def __init__(self, folder: Folder) -> None:
        self.population = snapshot.load(folder.store.open(VERSION))
        self.asks = [ask(case, self.population.n_people) for case in folder.cases]
        self.queries = {space: np.array(folder.array(f"queries.{space}")) for space in SPACES}

    def answer(self, number: int) -> Answer:
        begun = time.perf_counter()
        view = self.population.eligible(self.asks[number])
        view.prepare()
        ms = {"mask": (time.perf_counter() - begun) * 1e3}
        rows: dict[str, NDArray[np.int64]] = {}
        plans: dict[str, str] = {}
        for space in SPACES:
            start = time.perf_counter()
            found = view.search(space, self.queries[space][number], K)
            ms[space] = (time.perf_counter() - start) * 1e3
            rows[space], plans[space] = found.ids - 1, str(view.searches()[f"amity.search.{space}.method"])
        return Answer(rows, plans, ms)


class Plain:
    """FAISS as it is, under the same masks, ready made."""

    def __init__(self, folder: Folder, kind: str) -> None:
        faiss.omp_set_num_threads(1)
        self.masks = folder.array("masks")
        self.queries = {space: np.array(folder.array(f"queries.{space}")) for space in SPACES}
        open_cases = [number for number, case in enumerate(folder.cases) if case.share == 1][:100]
        self.indexes = {
            space: scale_baselines.opened(
                kind,
                folder.baseline(space, kind),
                self.queries[space][open_cases],
                np.array(folder.array(f"true.{space}")[open_cases]),
            )
            for space in SPACES
        }

    def answer(self, number: int) -> Answer:
        bits = np.array(self.masks[number])
        rows, ms = {}, {}
        for space in SPACES:
            start = time.perf_counter()
            rows[space] = self.indexes[space].search(self.queries[space][number], bits, K)
            ms[space] = (time.perf_counter() - start) * 1e3
        return Answer(rows, {space: f"{index.kind} {index.width}" for space, index in self.indexes.items()}, ms)


def measure(folder: Folder, kind: str) -> Iterator[Cell]:
    """Every cell. The first answer to each case warms up and counts for recall; the later ones, warm, count for time."""
    way: Way = Amity(folder) if kind == "amity" else Plain(folder, kind)
    true = {space: np.array(folder.array(f"true.{space}")) for space in SPACES}
    numbered = enumerate(folder.cases)
    for (share, variety), some in groupby(numbered, key=lambda each: (each[1].share, each[1].variety)):
        numbers = [number for number, _ in some]
        first = [way.answer(number) for number in numbers]
        rounds = -(-_LEAST_TIMES // len(numbers))
        again = [way.answer(number).ms for _ in range(rounds) for number in numbers]
        found = {
            space: [recall(each.rows[space], true[space][number]) for number, each in zip(numbers, first, strict=True)]
            for space in SPACES
        }
        yield Cell(
            n_people=len(folder.people),
            kind=kind,
            share=share,
            variety=variety,
            n_eligible=float(np.mean(folder.array("n_eligible")[numbers])),
            recall={space: float(np.mean(values)) for space, values in found.items()},
            worst_recall={space: min(values) for space, values in found.items()},
            ms=_quantiles(again),
            n_short=_short(first, {space: true[space][numbers] for space in SPACES}),
            plans=dict(Counter(f"{space} {plan}" for each in first for space, plan in each.plans.items())),
        )


def _quantiles(times: Sequence[dict[str, float]]) -> dict[str, tuple[float, float]]:
    parts = {name: np.array([each[name] for each in times]) for name in times[0]}
    parts["total"] = np.sum(list(parts.values()), axis=0)
    return {name: (float(np.percentile(values, 50)), float(np.percentile(values, 99))) for name, values in parts.items()}


def _short(answers: Sequence[Answer], true: dict[str, NDArray[np.int64]]) -> int:
    return sum(
        len(answer.rows[space]) < int((true[space][place] >= 0).sum()) for place, answer in enumerate(answers) for space in SPACES
    )


if __name__ == "__main__":
    root, kind = Path(sys.argv[1]), sys.argv[2]
    cells = []
    for cell in measure(Folder(root), kind):
        cells.append(cell)
        p50, p99 = cell.ms["total"]
        scores = " ".join(f"{space} {value:.3f}" for space, value in cell.recall.items())
        print(f"{kind}: {cell.share:.2%} {cell.variety}: {scores}, p50 {p50:.2f} p99 {p99:.2f} ms", file=sys.stderr, flush=True)
    (root / f"{kind}.json").write_bytes(msgspec.json.encode(cells))
