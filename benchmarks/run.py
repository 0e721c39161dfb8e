"""`make bench`: every benchmark on private servers of its own, as a table and as benchmarks/results/latest.json.

make bench                    small sizes
make bench ARGS=--full        the sizes that benchmarks/README.md reports
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from benchmarks import (
    churn,
    experiments,
    fleet,
    hits,
    import_rate,
    interleaving,
    million,
    newcomers,
    rankers,
    replicas,
    routing,
    scale,
    scale_results,
)
from benchmarks.rows import Row, lines
from service.embedded.lease import EmbeddedServers

RESULTS = Path(__file__).parent / "results" / "latest.json"
PLOTS = Path(__file__).parent / "plots"
LEAST_IMPORT_PER_S = 50_000
LEAST_COLD_GAIN = 1.5
N_DEMO = 5000
N_FIRST_LIKES = 3
SEEDS = [7]
FULL_SEEDS = [7, 8, 9]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes that benchmarks/README.md reports")
    full = parser.parse_args().full
    with tempfile.TemporaryDirectory() as home, EmbeddedServers(Path(home)) as servers:
        rows = imports(servers.database_url, 1_000_000 if full else 200_000)
    with tempfile.TemporaryDirectory() as home, EmbeddedServers(Path(home)) as servers:
        rows += quality(replicas.settings_of(Path(home), servers))
    rows += pools(full)
    rows += million.measure(million.FULL_EFFORT if full else million.EFFORT)
    rows += first_likes(FULL_SEEDS if full else SEEDS)
    rows += rankers.measure(N_DEMO, FULL_SEEDS if full else SEEDS)
    rows += churn.measure(churn.FULL_EFFORT if full else churn.EFFORT)
    rows += experiments.measure(experiments.FULL_EFFORT if full else experiments.EFFORT, PLOTS if full else RESULTS.parent)
    rows += interleaving.measure(interleaving.FULL_EFFORT if full else interleaving.EFFORT)
    rows += routing.measure()
    rows += retrieval(full)
    _write(rows)


def imports(database_url: str, size: int) -> list[Row]:
    """Import of a CSV file of people and one of interactions."""
    figures = import_rate.measure(database_url, size, "csv")
    return [
        Row(f"import: people ({size:,})", figures["people_per_s"], "people/s", LEAST_IMPORT_PER_S),
        Row(f"import: interactions ({size:,})", figures["interactions_per_s"], "interactions/s", LEAST_IMPORT_PER_S),
        Row(f"import: peak memory ({size:,})", figures["peak_mb"], "MB"),
    ]


def quality(settings: dict[str, str]) -> list[Row]:
    """Training on the demo population: how long, and how good on what was held out."""
    for command in ("migrate", "demo"):
        replicas.amity(settings, command)
    report = replicas.amity(settings, "train")
    metrics, seconds = report["metrics"], sum(report["seconds"].values())
    return [
        Row("train: time", round(seconds, 1), "s"),
        *(Row(f"train: {name}", round(value, 4), "") for name, value in sorted(metrics.items())),
        Row(
            "train: NDCG@20 without history / popularity",
            round(metrics["cold_ndcg20"] / metrics["cold_popularity_ndcg20"], 2),
            "ratio",
            LEAST_COLD_GAIN,
        ),
    ]


def pools(full: bool) -> list[Row]:
    """Recommendations out of pools: one replica beside a bare callable, and, where haproxy is there, one to three behind it."""
    with tempfile.TemporaryDirectory() as home:
        rows = hits.measure(Path(home), hits.FULL_EFFORT if full else hits.EFFORT)
    if (reason := fleet.missing()) is not None:
        print(f"fleet: left out, since {reason}")
        return rows
    with tempfile.TemporaryDirectory() as home:
        return rows + fleet.measure(Path(home), fleet.FULL_EFFORT if full else fleet.EFFORT)


def first_likes(seeds: list[int]) -> list[Row]:
    """Newcomers' lists after three likes against a model trained anew; real people's too where AMITY_EVAL_DATA is set."""
    found: list[Row] = []
    for name, material in newcomers.materials(N_DEMO):
        found += newcomers.measured(name, material, seeds, N_FIRST_LIKES)
    return found


def retrieval(full: bool) -> list[Row]:
    """Recall, times and memory of filtered search, with FAISS as it is beside it; the curves of the full sizes are kept."""
    sizes = scale.measure(scale.FULL_SIZES if full else scale.SIZES, scale.FULL_EFFORT if full else scale.EFFORT)
    scale.report(sizes, PLOTS if full else RESULTS.parent)
    return scale_results.rows(sizes)


def _write(rows: list[Row]) -> None:
    print(*lines(rows), sep="\n")
    RESULTS.parent.mkdir(exist_ok=True)
    figures = [{"name": row.name, "value": row.value, "unit": row.unit, "target": row.target, "met": row.met} for row in rows]
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\n{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores; written to {RESULTS.name}")


if __name__ == "__main__":
    main()
