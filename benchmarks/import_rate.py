"""How fast `amity import` is, and how much memory it takes, for people and interactions at several sizes.

    python -m benchmarks.import_rate --database-url URL --sizes 100000,1000000 [--format csv|jsonl|parquet]

Each size is written to a file of made-up people and interactions between random pairs, imported in a process of its own into
the database, which must be empty and may be thrown away: it is emptied before each size.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from service.repositories import migrate
from service.repositories.connections import connect
from service.repositories.database import Database
from service.telemetry import silent
from service.transfer import importer

BLOCK_ROWS = 250_000
TASTES = ["hiking", "photography", "travel", "music", "yoga", "cooking", "chess", "art", "films", "running"]
TABLES = "users, interactions, matches, changes, imports, tombstones"


def people(first: int, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """`n` people with every column filled, about 200 bytes a line."""
    ids = np.arange(first, first + n)
    tastes = np.array(TASTES)[np.argsort(rng.random((n, len(TASTES))), axis=1)[:, :3]]
    seconds = 1_700_000_000 + rng.integers(0, 30_000_000, n)
    return pl.DataFrame(
        {
            "id": ids,
            "name": [f"Person {i}" for i in ids],
            "age": rng.integers(18, 80, n),
            "gender": rng.choice(["female", "male"], n),
            "location": rng.choice(["Lisbon", "Porto", "Braga"], n),
            "latitude": rng.uniform(37, 42, n).round(4),
            "longitude": rng.uniform(-9, -6, n).round(4),
            "bio": [f"Long walks, good books and number {i} of many" for i in ids],
            "interests": [json.dumps(list(row)) for row in tastes],
            "created_at": pl.Series(seconds).cast(pl.Int64),
            "seeks_genders": rng.choice(["female", "male", "female;male"], n),
            "seeks_min_age": np.full(n, 20),
            "seeks_max_age": np.full(n, 60),
            "seeks_max_km": rng.uniform(5, 100, n).round(1),
        }
    ).with_columns(pl.from_epoch("created_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def interactions(n_people: int, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """`n` interactions between random pairs among ids 1 to `n_people`."""
    actors = rng.integers(1, n_people + 1, n)
    seconds = pl.Series("at", 1_700_000_000 + rng.integers(0, 30_000_000, n))
    kinds = rng.choice(["like", "pass", "message", "view", "block"], n, p=[0.45, 0.4, 0.1, 0.04, 0.01])
    return pl.DataFrame(
        {
            "actor_id": actors,
            "target_id": (actors - 1 + rng.integers(1, n_people, n)) % n_people + 1,
            "kind": kinds,
            "occurred_at": pl.from_epoch(seconds).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def write(frames: list[pl.DataFrame], path: Path) -> None:
    """The frames as one file, by its extension."""
    if path.suffix == ".parquet":
        pl.concat(frames).write_parquet(path, row_group_size=BLOCK_ROWS)
        return
    with path.open("wb") as file:
        for i, frame in enumerate(frames):
            if path.suffix == ".csv":
                frame.write_csv(file, include_header=i == 0)
            else:
                frame.write_ndjson(file)


async def import_files(url: str, folder: Path, extension: str) -> None:
    """One import of the folder's two files, its figures and this process's peak memory as JSON on stdout."""
    database = Database(url)
    request = importer.ImportRequest(people=folder / f"people.{extension}", interactions=folder / f"interactions.{extension}")
    report = await importer.run(database, request, silent)
    await database.close()
    rates = {f"{file.kind}_per_s": round(file.rate) for file in report.files}
    print(json.dumps({**rates, "peak_mb": peak_mb(), "rejected": report.rejected}))


def peak_mb() -> int:
    """The most memory this process ever held. Not `ru_maxrss`, which begins with that of the process that started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


async def empty(url: str) -> None:
    await migrate.upgrade(url)
    connection = await connect(url)
    await connection.execute(f"truncate {TABLES}")
    await connection.close()


def measure(url: str, size: int, extension: str) -> dict[str, int]:
    rng = np.random.default_rng(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = [min(BLOCK_ROWS, size - first) for first in range(0, size, BLOCK_ROWS)]
        starts = range(1, size + 1, BLOCK_ROWS)
        write([people(first, n, rng) for first, n in zip(starts, sizes, strict=True)], folder / f"people.{extension}")
        write([interactions(size, n, rng) for n in sizes], folder / f"interactions.{extension}")
        asyncio.run(empty(url))
        command = [sys.executable, "-m", "benchmarks.import_rate", "--database-url", url, "--folder", name, "--format", extension]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--format", default="csv", choices=["csv", "jsonl", "parquet"])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        asyncio.run(import_files(options.database_url, options.folder, options.format))
        return
    for size in map(int, options.sizes.split(",")):
        print(
            json.dumps({"rows": size, "format": options.format, **measure(options.database_url, size, options.format)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
