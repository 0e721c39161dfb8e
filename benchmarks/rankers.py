"""The installed rankers beside one another: how well each orders and foretells what was held out, and how long it takes.

    python -m benchmarks.rankers [--people 5000] [--seeds 7,8,9] [--only heuristic,v1,v2]

Learnt and judged as `amity train` does: on the past, and on the last twentieth of the pairs, without a tenth of the people.
NDCG@20 of later likes and of later matches: whole lists of the eligible and unseen, which only the ranker orders. AUC, log-loss
and calibration error: of looks and what came of them. On the demo population, and, where AMITY_EVAL_DATA names the folder of the
real data sets, on these. Times are CPU of one thread, each batch another one: a batch scored twice flatters trees, whose branches
the processor then knows.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from amity_rankers.checks import plausible
from amity_rankers.contract import ExplainingRanker, Ranker, RankingBatch
from threadpoolctl import threadpool_limits

from benchmarks.newcomers import materials
from benchmarks.rows import Row, lines
from service.features.definitions import FEATURES
from service.plugins import InstalledRanker, load_rankers
from service.settings import Settings
from service.training.content import PRIORS, fit_words
from service.training.evaluate import Model, judge_model, judge_probabilities, task_of
from service.training.learn import Material, past
from service.training.rankers import gather, train_rankers
from service.training.split import join, split_pairs

N_CANDIDATES = 500
N_EXPLAINED = 20
N_BATCHES = 200
MOST_MS = {"v2": 3.0}

Figures = dict[str, float]
Work = Callable[[RankingBatch], object]


class Compared(msgspec.Struct, frozen=True, eq=False):
    """Figures by ranker, and the rankers that were judged."""

    figures: dict[str, Figures]
    rankers: dict[str, Ranker]


def compare(material: Material, installed: Mapping[str, InstalledRanker], seed: int) -> Compared:
    """Every ranker of `installed` on one population, split by one seed."""
    split = split_pairs(material.pairs, material.ids, seed)
    before = past(material, fit_words(material.profiles, seed), split, seed, PRIORS)
    known = join(split.factors, split.fit, split.calibration)
    everything = join(known, split.test)
    evidence = gather(before.scene, join(split.fit, split.calibration), known, seed)
    trained = train_rankers(installed, evidence, float(split.calibration.time_s[0]), seed)
    ready = {name: ranker.factory.load({}) for name, ranker in installed.items() if not ranker.factory.needs_bundle}
    then = before.scene.at(known, float(known.time_s[-1]))
    task = task_of(split.test, everything, known, ~split.cold_people)
    test = gather(then, split.test, everything, seed)
    figures: dict[str, Figures] = {}
    rankers = {**ready, **trained.rankers}
    for name, ranker in rankers.items():
        names = tuple(installed[name].factory.required_features)
        lists = judge_model(Model(then, ranker, names, name), task, seed).figures()
        looks = judge_probabilities(ranker, names, test, float(evidence.looks.matched.mean()))
        figures[name] = {key: lists[key] for key in ("ndcg20", "match_ndcg20")} | looks
    return Compared(figures, rankers)


def means(name: str, compared: Sequence[Compared]) -> Iterator[Row]:
    """Over the seeds, ranker by ranker."""
    for ranker, figures in compared[0].figures.items():
        for figure in figures:
            value = float(np.mean([each.figures[ranker][figure] for each in compared]))
            yield Row(f"rankers, {name}, {ranker}: {figure}", round(value, 4), "")


def times(installed: Mapping[str, InstalledRanker], rankers: Mapping[str, Ranker]) -> Iterator[Row]:
    """CPU of scoring and of explaining, median and 95th of a hundred."""
    for name, ranker in rankers.items():
        names = tuple(installed[name].factory.required_features)
        for title, work, n in _works(ranker):
            took_ms = [_took_ms(work, _batch(names, n, seed)) for seed in range(N_BATCHES)]
            most = MOST_MS.get(name) if n == N_CANDIDATES else None
            yield Row(f"rankers, {name}: {title} {n}, median", round(float(np.median(took_ms)), 3), "ms", most, at_most=True)
            yield Row(f"rankers, {name}: {title} {n}, 95th of 100", round(float(np.quantile(took_ms, 0.95)), 3), "ms")


def _works(ranker: Ranker) -> Iterator[tuple[str, Work, int]]:
    yield "scores", ranker.score, N_CANDIDATES
    if isinstance(ranker, ExplainingRanker):
        yield "reasons for", ranker.contributions, N_EXPLAINED


def _took_ms(work: Work, batch: RankingBatch) -> float:
    started = time.thread_time()
    work(batch)
    return 1e3 * (time.thread_time() - started)


def _batch(names: tuple[str, ...], n: int, seed: int) -> RankingBatch:
    rng = np.random.default_rng(seed)
    features = np.stack([plausible(name, n, rng) for name in names], axis=1)
    return RankingBatch(1, np.arange(n), names, features)


def measure(n_people: int, seeds: Sequence[int], only: Sequence[str] = ()) -> list[Row]:
    """Quality on every population there is, and times with the rankers that learnt on the first, the demo's."""
    every = load_rankers(Settings(), FEATURES).by_name
    installed = {name: ranker for name, ranker in every.items() if not only or name in only}
    quality: list[Row] = []
    timed: list[Row] = []
    for name, material in materials(n_people):
        with threadpool_limits(1, "blas"):
            compared = [compare(material, installed, seed) for seed in seeds]
        quality += means(name, compared)
        timed = timed or list(times(installed, compared[0].rankers))
    return quality + timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--seeds", default="7,8,9")
    parser.add_argument("--only", default="", help="names of rankers; all that are installed by default")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print(*lines(measure(options.people, seeds, tuple(filter(None, options.only.split(","))))), sep="\n")


if __name__ == "__main__":
    main()
