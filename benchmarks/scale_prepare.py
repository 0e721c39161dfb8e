"""Everything that is searched, and what is true of it, with all cores: a step of benchmarks.scale.

python -m benchmarks.scale_prepare FOLDER --people N --cases M [--baselines ivf,hnsw]
"""

from service.bootstrap import prepare as prepare_process

prepare_process(None)

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import people, scale_baselines, scale_truth  # noqa: E402
from benchmarks.people import CITIES, GENDERS, INTERESTS, SEEKS, People  # noqa: E402
from benchmarks.scale_cases import SHARES, VARIETIES, Ask, Case, ask, cases  # noqa: E402
from benchmarks.scale_folder import SPACES, VERSION, Folder, K  # noqa: E402
from benchmarks.scale_results import Built  # noqa: E402
from service.artifacts.bundle import Manifest  # noqa: E402
from service.artifacts.store import BundleWriter  # noqa: E402
from service.domain import FeedPosition, Filters, Profile  # noqa: E402
from service.population import bits, snapshot  # noqa: E402
from service.population.build import StandingPairs  # noqa: E402
from service.population.columns import Columns, Part  # noqa: E402
from service.population.directory import Directory  # noqa: E402
from service.population.mask import eligible_rows  # noqa: E402
from service.population.population import Base, Population  # noqa: E402
from service.population.spaces import Writing  # noqa: E402
from service.population.standing import LIKED, PASSED  # noqa: E402
from service.population.table import STORED, Interests  # noqa: E402
from service.population.tastes import Tastes  # noqa: E402
from service.population.vocabulary import Vocabularies  # noqa: E402

SEED = 7
_OPINIONS_A_PERSON = 4
_CASES_AT_ONCE = 200
_CHECKED_EVERY = 10


def make(folder: Folder, n: int, n_cases: int, baselines: list[str]) -> Built:
    begun = time.perf_counter()
    folder.root.mkdir(parents=True, exist_ok=True)
    crowd = people.make(folder.people.folder, n, SEED, _tell)
    _tell(f"people: made in {time.perf_counter() - begun:.0f} s")
    bundle_s = write_bundle(folder, crowd)
    n_wrong = 0
    if n_cases:
        n_wrong = save_cases(folder, snapshot.load(folder.store.open(VERSION)), n_cases)
        save_truth(folder)
    baselines_s = {
        kind: sum(scale_baselines.build(kind, crowd[space], folder.baseline(space, kind), _tell) for space in SPACES)
        for kind in baselines
    }
    n_bytes = sum(path.stat().st_size for path in (folder.store.folder / VERSION).iterdir())
    return Built(bundle_s, baselines_s, n_bytes, n_wrong)


def write_bundle(folder: Folder, crowd: People) -> dict[str, float]:
    """A bundle of these people, as training publishes it; seconds by step."""
    took = _Stopwatch()
    population = populate(crowd)
    tastes = Tastes.of(crowd["mutual"], crowd["content"], None)
    took.lap("population")
    with BundleWriter(folder.store, VERSION) as writer:
        snapshot.write(writer, population, tastes, Writing(SEED, took.report))
        writer.publish(
            Manifest(
                created_at=datetime.fromtimestamp(people.NOW_S, UTC),
                window_start=None,
                window_end=None,
                seed=SEED,
                feed_position=FeedPosition(),
                n_people=len(crowd),
                n_interactions=_OPINIONS_A_PERSON * len(crowd),
            )
        )
    took.lap("rest")
    return took.seconds


def populate(crowd: People) -> Population:
    """These people in memory, by ascending id, each with four likes or passes of anyone."""
    ids = np.array(crowd["id"])
    rng = np.random.default_rng(SEED)
    n_pairs = _OPINIONS_A_PERSON * len(ids)
    actors, targets = rng.choice(ids, n_pairs), rng.choice(ids, n_pairs)
    kinds = np.where(rng.random(n_pairs) < 0.3, LIKED, PASSED).astype(np.int8)
    apart = actors != targets
    relations = StandingPairs(actors[apart], targets[apart], kinds[apart]).memory(ids)
    stored = {name: np.array(crowd[name]) for name in STORED}
    return Population(
        Base(
            columns=Columns(stored | relations.counts(), Interests(np.array(crowd["starts"]), np.array(crowd["codes"]))),
            words=Vocabularies(GENDERS, CITIES, INTERESTS, SEEKS),
            directory=Directory(ids, np.arange(len(ids))),
            profiles=crowd.profiles,
            relations=relations,
        )
    )


def save_cases(folder: Folder, population: Population, n_cases: int) -> int:
    """Find cases for every cell; write them, their masks by row of the people, and what they ask each space.

    Gives how many of some masks are not what the plain rule says, column by column.
    """
    crowd, n = folder.people, len(folder.people)

    def count(viewer: Profile, filters: Filters) -> int:
        return bits.count(population.base_mask.eligible(viewer, filters, people.NOW_S, population.shown))

    found: list[Case] = []
    for share in SHARES:
        for variety in VARIETIES:
            found.extend(cases(crowd, share, variety, n_cases, count))
            _tell(f"cases: {len(found):,} of {n_cases * len(SHARES) * len(VARIETIES):,}")
    masks = np.lib.format.open_memmap(folder.root / "masks.npy", mode="w+", dtype=np.uint8, shape=(len(found), (n + 7) // 8))
    n_eligible = np.zeros(len(found), np.int64)
    n_wrong = 0
    for number, case in enumerate(found):
        passing = np.zeros(n, np.bool_)
        passing[population.eligible(ask(case, n)).eligible_ids() - 1] = True
        masks[number], n_eligible[number] = np.packbits(passing, bitorder="little"), passing.sum()
        if number % _CHECKED_EVERY == 0:
            n_wrong += int(not np.array_equal(passing, _by_the_rule(population, ask(case, n))))
    folder.save_cases(found)
    folder.save("n_eligible", n_eligible)
    folder.save("queries.mutual", np.stack([crowd.mutual_query(case.row) for case in found]))
    folder.save("queries.content", np.stack([crowd["content"][case.row] for case in found]))
    return n_wrong


def _by_the_rule(population: Population, asked: Ask) -> NDArray[np.bool_]:
    """Who passes, by row of the people, found without the bitmaps."""
    columns = Part(population.columns, added=False)
    rows = eligible_rows(columns, population.words, asked.viewer, asked.filters, asked.now_s) & columns["active"]
    out = asked.relations.hidden() | asked.relations.seen() | {asked.viewer.id}
    passing = np.zeros(len(rows), np.bool_)
    passing[columns["id"][rows].astype(np.int64) - 1] = True
    passing[np.array(sorted(out)) - 1] = False
    return passing


def save_truth(folder: Folder) -> None:
    """The true best of every case in each space, by the vectors as they were made."""
    masks = folder.array("masks")
    for space in SPACES:
        vectors, queries = folder.people[space], folder.array(f"queries.{space}")
        parts = []
        for start in range(0, len(masks), _CASES_AT_ONCE):
            some = slice(start, start + _CASES_AT_ONCE)
            parts.append(scale_truth.best(vectors, np.array(queries[some]), np.array(masks[some]), K))
            _tell(f"truth in {space}: {min(some.stop, len(masks)):,} of {len(masks):,} cases")
        folder.save(f"true.{space}", np.concatenate(parts))


class _Stopwatch:
    """Seconds by step. As a Progress it notes when the steps of others begin."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def lap(self, step: str) -> None:
        """Count the time since the last lap for this step."""
        now_s = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0) + now_s - self._last_s, 2)
        self._last_s = now_s
        _tell(f"bundle: {step}: {self.seconds[step]:.1f} s")

    def report(self, step: str, done: int, total: int | None) -> None:
        self.lap(step if done else "rest")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--baselines", default="")
    options = parser.parse_args()
    kinds = [kind for kind in scale_baselines.FILES if kind in options.baselines.split(",")]
    built = make(Folder(options.folder), options.people, options.cases, kinds)
    (options.folder / "built.json").write_bytes(msgspec.json.encode(built))


if __name__ == "__main__":
    main()
