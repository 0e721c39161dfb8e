"""What reaches the target recall on this very data, and what it costs: measured when a bundle is built, for the planner.

For each share of people passing: true best by scoring everyone, then a ladder of ever more lists and ever more rows named,
and of what reaches the target the quickest. Recalls are the same for the same data and seed; times are this thread's own, so
that a busy machine does not count. A million of 128 dimensions take about 20 s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from time import thread_time_ns
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from service.population.bits import Words, count, mark, n_words, pack, rows_of, test
from service.population.index import Index, Named, Probe
from service.population.planes import Floats, Rows, Vectors
from service.population.planner import Calibration, Step, most_lists

TARGET_RECALL = 0.98
"""A little above the promised .97, for what differs between these queries and tomorrow's."""

CALIBRATED_K = 100

_SHARES = (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
_PLAIN_FROM = 0.7
"""Without a mask the index names 1 / share times as many as are kept: not tried where fewer pass."""

_MISSES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7, 1e-8, 0.0)
_DEPTHS = (250, 350, 500, 700, 1000, 1400, 2000, 2800, 4000, 5600, 8000, 11_000, 16_000)
_LOW_MARGIN = 0.1
"""The worst twentieth of queries may stay behind the target by so much, where anything on the ladder sees to it."""

_LOW_PART = 20
_RANDOM_MASKS = 3
_MEANT_CASES = 5
"""From so many cases on, masks that were given must reach the target by themselves, not only together with random ones."""

_ROWS_AT_ONCE = 65_536
_TIMED = 24
_EXACT_ROWS = (1_000, 4_000, 16_000, 48_000)


class Asked(NamedTuple):
    """Whom a real query may find: `query` is its row among the queries, `words` the bitmap of who passes."""

    query: int
    words: Words


@dataclass(slots=True, eq=False)
class _Case:
    """One query under one mask, how many pass, and the best rows and scores so far, ascending in rows."""

    query: int
    words: Words
    n_passing: int
    meant: bool
    rows: Rows
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """What is measured."""

    vectors: Vectors
    index: Index
    queries: Floats


def calibrate(
    vectors: Vectors,
    index: Index,
    queries: NDArray[np.floating],
    asked: Sequence[Asked] = (),
    target_recall: float = TARGET_RECALL,
    seed: int = 0,
) -> Calibration:
    """`queries` float (m, d), 60 or more, as viewers ask; `asked`: the masks of real viewers, for they are not independent of
    tastes. Independent masks of every share are drawn here, for every query. One core. Raises ValueError without queries or
    for ones that do not fit."""
    wanted = np.ascontiguousarray(queries, np.float32)
    if wanted.ndim != 2 or wanted.shape[1] != vectors.d or not len(wanted) or not np.isfinite(wanted).all():
        raise ValueError(f"a calibration needs queries of {vectors.d} finite numbers")
    space = _Measured(vectors, index, wanted)
    shares = [share for share in _SHARES if share * vectors.n > 2 * CALIBRATED_K]
    by_share = {share: _random_cases(share, vectors.n, len(wanted), seed) for share in shares}
    for each in asked:
        n_passing = count(each.words)
        nearest = min(shares, key=lambda share: abs(np.log(max(1, n_passing) / vectors.n / share)), default=None)
        if nearest is not None and n_passing >= shares[-1] * vectors.n:
            by_share[nearest].append(_case(each.query, each.words, n_passing, True))
    _find_best(space, [case for cases in by_share.values() for case in cases])
    steps = tuple(_step(space, share, by_share[share], target_recall) for share in shares)
    exact_ms, exact_ns = _exact_cost(space, seed)
    return Calibration(CALIBRATED_K, target_recall, index.n_lists, exact_ms, exact_ns, steps)


def _case(query: int, words: Words, n_passing: int, meant: bool) -> _Case:
    return _Case(query, words, n_passing, meant, np.empty(0, np.int64), np.empty(0, np.float32))


def _random_cases(share: float, n_rows: int, n_queries: int, seed: int) -> list[_Case]:
    """Every query under one of a few masks that know nothing of tastes."""
    masks = []
    for number in range(1 if share == 1 else _RANDOM_MASKS):
        rng = np.random.default_rng((seed, round(share * 1e6), number))
        words = np.zeros(n_words(n_rows), np.uint64)
        for start in range(0, n_rows, _ROWS_AT_ONCE):
            part = pack(rng.random(min(_ROWS_AT_ONCE, n_rows - start), np.float32) < share)
            words[start // 64 : start // 64 + len(part)] = part
        masks.append((words, count(words)))
    return [_case(query, *masks[query % len(masks)], False) for query in range(n_queries)]


def _find_best(space: _Measured, cases: Sequence[_Case]) -> None:
    """The true best of every case, in one pass over the vectors."""
    for start in range(0, space.vectors.n, _ROWS_AT_ONCE):
        stop = min(space.vectors.n, start + _ROWS_AT_ONCE)
        scores = space.queries @ space.vectors.slice(start, stop).T
        for case in cases:
            row = scores[case.query]
            floor = case.scores.min() if len(case.scores) >= CALIBRATED_K else -np.inf
            better = np.flatnonzero(row > floor)
            better = better[test(case.words, better + start)]
            rows, found = np.concatenate((case.rows, better + start)), np.concatenate((case.scores, row[better]))
            best = np.argpartition(found, -CALIBRATED_K)[-CALIBRATED_K:] if len(rows) > CALIBRATED_K else slice(None)
            case.rows, case.scores = rows[best], found[best]


def _step(space: _Measured, share: float, cases: Sequence[_Case], target: float) -> Step:
    """The quickest of the ladder that reaches the target, for the worst queries too where any does."""
    reaching: list[Step] = []
    for masked in (True, False):
        if _worth_trying(share, masked):
            reaching += _climb(space, share, cases, target, masked)
    fair = [step for step in reaching if step.low_recall >= target - _LOW_MARGIN] or reaching
    timed = [replace(step, ms=_milliseconds(space, step, cases)) for step in fair]
    return min(timed, key=lambda step: step.ms) if timed else Step(share, 0.0, 0, True, 1.0, 1.0, 0.0, 0.0)


def _worth_trying(share: float, masked: bool) -> bool:
    """A mask that passes everyone only costs; without one, where few pass, most that the index names are in vain."""
    return share < 1 if masked else share >= _PLAIN_FROM


def _climb(space: _Measured, share: float, cases: Sequence[_Case], target: float, masked: bool) -> list[Step]:
    """The rungs that reach the target, up to the second that does for the worst queries too: further ones can only be
    slower."""
    reaching: list[Step] = []
    n_fair = 0
    for miss in _MISSES:
        recalls, n_lists = _recalls(space, cases, Step(share, miss, _DEPTHS[-1], masked, 0.0, 0.0, 0.0, space.index.n_lists))
        if max(float(recall.mean()) for recall in recalls.values()) >= target:  # then as searches go, bounded
            recalls, _ = _recalls(space, cases, Step(share, miss, _DEPTHS[-1], masked, 0.0, 0.0, 0.0, n_lists))
        rungs = [Step(share, miss, depth, masked, *_judged(recall, cases), 0.0, n_lists) for depth, recall in recalls.items()]
        enough = [rung for rung in rungs if rung.recall >= target]
        fair = [rung for rung in enough if rung.low_recall >= target - _LOW_MARGIN]
        reaching += enough[:1] + fair[:1]
        n_fair += bool(fair)
        if n_fair == 2:
            break
    return reaching


def _recalls(space: _Measured, cases: Sequence[_Case], rung: Step) -> tuple[dict[int, Floats], float]:
    """By depth the recall of every case: the part of the true best among those named, who are scored exactly. And how many
    lists it took."""
    share, masked = rung.share, rung.masked
    recalls = {depth: np.ones(len(cases), np.float32) for depth in _DEPTHS}
    n_lists = 0
    for number, case in enumerate(cases):
        named = _named(space, case, rung)
        n_lists += named.n_lists
        hits = np.cumsum(np.isin(named.rows, case.rows))
        for depth in _DEPTHS:
            reached = hits[: depth if masked else ceil(depth / share)]
            recalls[depth][number] = (reached[-1] if len(reached) else 0) / max(1, len(case.rows))
    return recalls, n_lists / max(1, len(cases))


def _named(space: _Measured, case: _Case, step: Step) -> Named:
    """As a space asks, whom the index names for a case."""
    share = max(1, case.n_passing) / space.vectors.n
    depth = step.depth if step.masked else ceil(step.depth / step.share)
    words = case.words if step.masked else None
    rank = CALIBRATED_K if step.masked else ceil(CALIBRATED_K / share)
    probe = Probe(depth, rank, CALIBRATED_K / share, step.miss, most_lists(step.n_lists))
    return space.index.search(space.queries[case.query], probe, words)


def _judged(recalls: Floats, cases: Sequence[_Case]) -> tuple[float, float]:
    """The mean, or that of real viewers' masks where it is smaller; and the mean of the worst twentieth."""
    meant = recalls[np.array([case.meant for case in cases], np.bool_)]
    mean = min(float(recalls.mean()), float(meant.mean()) if len(meant) >= _MEANT_CASES else 1.0)
    worst = np.sort(recalls)[: max(1, len(recalls) // _LOW_PART)]
    return mean, float(worst.mean())


def _milliseconds(space: _Measured, step: Step, cases: Sequence[_Case]) -> float:
    """Time of a search by this step, quick scores of those named among it: the median of some cases."""
    taken = []
    for case in cases[:: max(1, len(cases) // _TIMED)]:
        started = thread_time_ns()
        rows = _named(space, case, step).rows
        rows = np.sort(rows if step.masked else rows[test(case.words, rows)])
        space.vectors.score_high(rows, space.queries[case.query])
        taken.append(thread_time_ns() - started)
    return float(np.median(taken)) * 1e-6


def _exact_cost(space: _Measured, seed: int) -> tuple[float, float]:
    """Milliseconds that the exact search of nobody takes, and nanoseconds more for each row, by a line through some sizes.

    Other rows and another query each time, here as above, for what has just been read is read again in half the time.
    """
    rng = np.random.default_rng(seed)
    sizes = [size for size in _EXACT_ROWS if size <= space.vectors.n] or [space.vectors.n]
    taken = []
    for size in sizes:
        times = []
        for number in range(_TIMED):
            words = np.zeros(n_words(space.vectors.n), np.uint64)
            mark(words, rng.integers(0, space.vectors.n, size))
            started = thread_time_ns()
            space.vectors.score_high(rows_of(words), space.queries[number % len(space.queries)])
            times.append(thread_time_ns() - started)
        taken.append(float(np.median(times)))
    if len(sizes) == 1:
        return 0.0, taken[0] / max(1, sizes[0])
    slope, start = np.polyfit(sizes, taken, 1, w=1 / np.sqrt(sizes))
    return max(0.0, float(start)) * 1e-6, max(1.0, float(slope))
