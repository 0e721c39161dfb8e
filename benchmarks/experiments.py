"""How often experiments are judged wrongly: simulated ones with no difference and with a known one, looked at daily for 28 days.

    python -m benchmarks.experiments [--full]

Each look is the product's own: `compare`, on what a report of that day would be given. Counted as wrong is an experiment in which
any of the 28 looks was wrong: found a difference where there is none, or had an interval without the true lift. For contrast, the
same estimates judged by an ordinary 95 % interval, as if each look were the only one.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import experiments_plot
from benchmarks.experiments_looks import Bools, Looks, looked_at
from benchmarks.experiments_viewers import DAYS
from benchmarks.rows import Row, lines
from service.experiments import mismatch
from service.experiments.analysis import METRICS, PRIMARY

PLOTS = Path(__file__).parent / "plots"
RESULTS = Path(__file__).parent / "results"
MOST_WRONG = 0.05
_NAMES = {metric: metric.replace("_", " ") for metric in METRICS}
_N_CLUSTERS = 40
_SRM_VIEWERS = 20_000
_LOST = (0.0, 0.05, 0.1)
"""Of the treatment's viewers: the first is as it should be."""


class Effort(msgspec.Struct, frozen=True):
    """Numbers of experiments: without a difference, with each known lift, by cluster; and viewers of each."""

    same: int = 100
    different: int = 30
    clustered: int = 100
    mismatches: int = 500
    viewers: int = 1_500
    viewers_different: int = 4_000
    lifts: tuple[float, ...] = (0.1, 0.2)


EFFORT = Effort()
FULL_EFFORT = Effort(same=2_000, different=500, clustered=1_000, mismatches=10_000)


def measure(effort: Effort, folder: Path) -> list[Row]:
    """Rows of all of it; the curves go into `folder`."""
    same = looked_at(effort.same, effort.viewers)
    rows = list(_without_difference(same, effort.viewers))
    clustered = looked_at(effort.clustered, effort.viewers, n_clusters=_N_CLUSTERS)
    wrong = clustered.found()[:, -1]
    rows.append(_wrong(f"A/A by {_N_CLUSTERS} clusters: found better or worse", wrong[:, _index(PRIMARY)]))
    rows.append(_covered(f"A/A by {_N_CLUSTERS} clusters: lifts within, worst metric", ~clustered.missed()[:, -1]))
    different = [looked_at(effort.different, effort.viewers_different, lift) for lift in effort.lifts]
    for looks in different:
        plain = looked_at(effort.different, effort.viewers_different, looks.lift, adjust=False)
        rows += _with_difference(looks, plain, effort.viewers_different)
    rows += _mismatches(effort.mismatches)
    experiments_plot.draw(same, different, tuple(_NAMES.values()), folder / "experiments.png")
    return rows


def _without_difference(looks: Looks, viewers: int) -> Iterator[Row]:
    """False findings of the verdict (its metric is the first), of each metric, and of any."""
    wrong, ordinary = looks.found()[:, -1], looks.found_ordinarily()[:, -1]
    told = f"A/A, {len(wrong):,} of {viewers:,} viewers"
    yield _wrong(f"{told}: found better or worse", wrong[:, _index(PRIMARY)])
    for metric, name in _NAMES.items():
        yield _wrong(f"{told}: {name} differ", wrong[:, _index(metric)])
    yield _wrong(f"{told}: any of them differs", np.logical_or.reduce(wrong, axis=1))
    yield Row(f"{told}: found by a t-test looked at daily", _share(ordinary[:, _index(PRIMARY)]), "of tests")
    yield Row(f"{told}: any found by a t-test looked at daily", _share(np.logical_or.reduce(ordinary, axis=1)), "of tests")
    yield _covered(f"{told}: arms' rates within, worst metric and arm", ~looks.missed_rates()[:, -1].reshape(len(wrong), -1))
    yield Row(
        f"{told}: sample ratio alarms",
        _share(np.logical_or.reduce(looks.mismatch, axis=1)),
        "of tests",
        mismatch.ALPHA,
        at_most=True,
    )
    for metric, name in _NAMES.items():
        explained = float(np.nanmedian(looks.explained[:, -1, _index(metric)]))
        yield Row(f"{told}: variance explained from before, {name}", round(explained, 3), "share")


def _with_difference(looks: Looks, plain: Looks, viewers: int) -> Iterator[Row]:
    found, covered, unadjusted = looks.found(), ~looks.missed()[:, -1], plain.found()
    told = f"A/B, lift {looks.lift:.0%}, {len(found):,} of {viewers:,} viewers"
    for metric, name in _NAMES.items():
        i = _index(metric)
        yield _covered(f"{told}: true lift within at all looks, {name}", covered[:, i : i + 1])
        yield Row(f"{told}: power in 28 days, {name}", _share(found[:, -1, i]), "of tests")
        yield Row(f"{told}: power without adjustment, {name}", _share(unadjusted[:, -1, i]), "of tests")
        once = np.log1p(looks.value[:, -1, i]) > looks.ordinary[:, -1, i]
        yield Row(f"{told}: power of one look on day 28, {name}", _share(once), "of tests")


def _mismatches(n: int) -> Iterator[Row]:
    """Daily looks at the arms' sizes: where both are as they should be, and where the treatment loses viewers."""
    rng = np.random.default_rng(28)
    per_day = _SRM_VIEWERS // DAYS
    for lost in _LOST:
        arriving = rng.binomial(per_day, 0.5, (n, DAYS))
        treated = np.cumsum(rng.binomial(arriving, 1 - lost), axis=1)
        both = np.stack([np.cumsum(per_day - arriving, axis=1), treated], axis=2)
        alarms = np.array([any(mismatch.of_shares(units, (1, 1)).found for units in test) for test in both.tolist()])
        told = f"found where {lost:.0%} of one arm are lost" if lost else "false alarms"
        target = None if lost else mismatch.ALPHA
        yield Row(f"sample ratio, {_SRM_VIEWERS:,} viewers in 28 days: {told}", _share(alarms), "of tests", target, at_most=True)


def _wrong(name: str, wrong: Bools) -> Row:
    return Row(name, _share(wrong), "of tests", MOST_WRONG, at_most=True)


def _covered(name: str, covered: Bools) -> Row:
    """The least of the columns' shares."""
    return Row(name, round(float(covered.mean(axis=0).min()), 4), "of tests", 1 - MOST_WRONG)


def _share(found: Bools) -> float:
    return round(float(found.mean()), 4)


def _index(metric: str) -> int:
    return list(METRICS).index(metric)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="2,000 tests, as benchmarks/README.md reports: some minutes")
    full = parser.parse_args().full
    print(*lines(measure(FULL_EFFORT if full else EFFORT, PLOTS if full else RESULTS)), sep="\n")


if __name__ == "__main__":
    main()
