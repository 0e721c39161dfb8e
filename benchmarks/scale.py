"""Retrieval by population size and by how many pass the filters: recall@100, times, memory, and FAISS as it is beside it.

    python -m benchmarks.scale                            50,000 and 200,000 people, about three minutes
    python -m benchmarks.scale --full                     also 1,000,000 and 10,000,000
    python -m benchmarks.scale --sizes 1000000 --keep DIR the files stay in DIR

Writes benchmarks/results/scale.json, draws its curves, and prints a table. Every step is a process of its own: what is built
may use all cores, what is timed uses one. HNSW over more than two million people is left out: building it takes hours.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import plots, scale_baselines
from benchmarks.rows import lines
from benchmarks.scale_results import Built, Cell, Memory, Size, choices, rows, table

SIZES = (50_000, 200_000)
FULL_SIZES = (*SIZES, 1_000_000, 10_000_000)
RESULTS = Path(__file__).parent / "results"
_TINY = 1000
_HNSW_UP_TO = 2_000_000


class Effort(msgspec.Struct, frozen=True):
    """How much is done at one size: cases a cell, and seconds of traffic before memory is read."""

    n_cases: int
    traffic_s: float


EFFORT = Effort(n_cases=50, traffic_s=10)
FULL_EFFORT = Effort(n_cases=200, traffic_s=60)


def measure(sizes: Sequence[int], effort: Effort, keep: Path | None = None) -> list[Size]:
    """One size after another, in temporary folders unless they are kept."""
    found = []
    for n in sizes:
        with _folder(keep, n) as root:
            found.append(_size(root, n, effort))
    return found


def _size(root: Path, n: int, effort: Effort) -> Size:
    files = [kind for kind in scale_baselines.FILES if kind != "hnsw" or n <= _HNSW_UP_TO]
    n_cases = effort.n_cases if n <= _HNSW_UP_TO else effort.n_cases // 2
    if not (root / "built.json").exists():
        _step("prepare", root, "--people", n, "--cases", n_cases, "--baselines", ",".join(files))
        _step("prepare", root / "tiny", "--people", _TINY, "--cases", 0)
    cells = []
    for kind in ("amity", *(kind for kind in scale_baselines.KINDS if kind.split()[0] in files)):
        _step("search", root, kind)
        cells += msgspec.json.decode((root / f"{kind}.json").read_bytes(), type=list[Cell])
    cold = _step("memory", root, root, "--seconds", 0, "--cold")
    tiny = _step("memory", root / "tiny", root, "--seconds", min(10, effort.traffic_s))
    after = _step("memory", root, root, "--seconds", effort.traffic_s)
    return Size(
        n_people=n,
        built=msgspec.json.decode((root / "built.json").read_bytes(), type=Built),
        memory=msgspec.json.decode(after, type=Memory),
        cold_open_s=msgspec.json.decode(cold, type=Memory).open_s,
        tiny=msgspec.json.decode(tiny, type=Memory),
        cells=cells,
    )


def _step(name: str, *arguments: object) -> bytes:
    command = [sys.executable, "-m", f"benchmarks.scale_{name}", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@contextlib.contextmanager
def _folder(keep: Path | None, n: int) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="amity-scale-") as name:
            yield Path(name)
    else:
        yield keep / str(n)


def report(sizes: Sequence[Size], pictures: Path) -> None:
    """Print the tables, write scale.json and draw the curves."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.json").write_bytes(msgspec.json.format(msgspec.json.encode(sizes), indent=1))
    for size in sizes:
        print(table(size), choices(size), sep="\n")
    plots.draw([cell for size in sizes for cell in size.cells], pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also a million and ten million people")
    parser.add_argument("--sizes", help="these sizes instead, separated by commas")
    parser.add_argument("--cases", type=int, help="requests a cell")
    parser.add_argument("--traffic-s", type=float, help="seconds of traffic before memory is read")
    parser.add_argument("--keep", type=Path, help="keep the files here, and use those that are here already")
    parser.add_argument("--plots", type=Path, default=RESULTS, help="where to draw the curves")
    options = parser.parse_args()
    sizes = tuple(map(int, options.sizes.split(","))) if options.sizes else FULL_SIZES if options.full else SIZES
    usual = FULL_EFFORT if options.full else EFFORT
    effort = Effort(options.cases or usual.n_cases, options.traffic_s or usual.traffic_s)
    found = measure(sizes, effort, options.keep)
    report(found, options.plots)
    print(*lines(rows(found)), sep="\n")


if __name__ == "__main__":
    main()
