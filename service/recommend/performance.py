"""How fast this replica answers: counted by second, over the last hour, in sketches that add up to those of a fleet."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from service.fleet.figures import Span
from service.recommend.ledger import Ledger
from service.recommend.tallies import Row, Sums, Tally, TallySum, Times, TimesSum, encode, times_of


class Sketch:
    """Latencies of a second, noted one by one and counted in buckets all together: 0.05 us each, and 0.1 when counted, where
    counting each by itself took 0.8."""

    __slots__ = ("_values_ms",)

    def __init__(self) -> None:
        self._values_ms: list[float] = []

    def add(self, value_ms: float) -> None:
        self._values_ms.append(value_ms)

    def times(self) -> Times:
        return times_of(np.array(self._values_ms))


class StageFigures(msgspec.Struct, frozen=True, kw_only=True):
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are 0 and the rest None in an empty window. `requests` and `errors` include those that were refused for want of
    capacity; times, candidates and the rate of hits are of those that were answered."""

    avg_generation_time_ms: float | None
    p50_generation_time_ms: float | None
    p95_generation_time_ms: float | None
    p99_generation_time_ms: float | None
    avg_candidate_count: float | None
    cache_hit_rate: float | None
    requests: int
    errors: int
    degraded: int


class PerformanceReport(Figures, frozen=True, kw_only=True):
    """`replicas`: how many were asked anything in the window."""

    scope: Literal["fleet", "replica"]
    replicas: int
    window_s: int
    by_algorithm_version: dict[str, Figures]
    stages: dict[str, StageFigures]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request. `n_candidates`: the size of the pool that the slate was taken from."""

    algorithm_version: str
    generation_ms: float
    n_candidates: int
    cached: bool
    degraded: bool
    error: bool
    stages_ms: Mapping[str, float]


class _Tally:
    """Some requests of one algorithm."""

    __slots__ = ("cached", "candidates", "degraded", "errors", "refused", "sketch")

    def __init__(self) -> None:
        self.sketch = Sketch()
        self.candidates = self.cached = self.degraded = self.errors = self.refused = 0

    def add(self, seen: Observation) -> None:
        self.sketch.add(seen.generation_ms)
        self.candidates += seen.n_candidates
        self.cached += seen.cached
        self.degraded += seen.degraded
        self.errors += seen.error

    def tally(self) -> Tally:
        return Tally(self.sketch.times(), self.candidates, self.cached, self.degraded, self.errors, self.refused)


class _Second:
    """What happened within one second, or the part of it since it was last looked at."""

    __slots__ = ("algorithms", "at_s", "stages")

    def __init__(self, at_s: int) -> None:
        self.at_s = at_s
        self.algorithms: defaultdict[str, _Tally] = defaultdict(_Tally)
        self.stages: defaultdict[str, Sketch] = defaultdict(Sketch)

    def row(self) -> bytes:
        """0.2 ms for a second of 1,500 requests, and as much again to add it to its minute."""
        algorithms = {name: tally.tally() for name, tally in self.algorithms.items()}
        return encode(Row(algorithms, {name: sketch.times() for name, sketch in self.stages.items()}))


class Performance:
    """The running second as counters, and all others as rows of a ledger; a second without requests costs nothing.

    The clock is the wall's, so that the seconds of different replicas have the same names; when it is set back, what follows is
    added to the seconds that were there.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._running = _Second(int(clock()))
        self._ledger = Ledger()

    def refuse(self, algorithm_version: str) -> None:
        """Count a request that found no place: an error, but neither fast nor slow."""
        self._now().algorithms[algorithm_version].refused += 1

    def observe(self, seen: Observation) -> None:
        second = self._now()
        second.algorithms[seen.algorithm_version].add(seen)
        for name, elapsed_ms in seen.stages_ms.items():
            second.stages[name].add(elapsed_ms)

    def now_s(self) -> int:
        return int(self._clock())

    def report(self, window_s: int) -> PerformanceReport:
        """The last `window_s` seconds, 1 to 3600, the running one included."""
        sums, rows = Sums(), self.rows(window_s)
        sums.add(rows)
        return report_of(sums, window_s, "replica", int(bool(rows)))

    def rows(self, window_s: int) -> list[bytes]:
        """All that was counted in that window, in at most 120 rows."""
        self._settle()
        now_s = self.now_s()
        return self._ledger.rows(now_s - window_s, now_s)

    def take(self, limit: int) -> list[tuple[Span, bytes]]:
        """The spans that changed since they were last taken, and the whole of each; the running second is one of them."""
        self._settle()
        return self._ledger.take(limit)

    def put_back(self, spans: Collection[Span]) -> None:
        """These could not be told, and are to be taken again."""
        self._ledger.put_back(spans)

    def put_all_back(self) -> None:
        """Nobody has what was taken any more."""
        self._ledger.put_all_back()

    def _now(self) -> _Second:
        now_s = int(self._clock())
        if self._running.at_s != now_s:
            self._settle()
        return self._running

    def _settle(self) -> None:
        """Enter what was counted into the ledger; counting begins anew, perhaps within the same second."""
        over, self._running = self._running, _Second(self.now_s())
        if over.algorithms:
            self._ledger.add(over.at_s, over.row())


def report_of(sums: Sums, window_s: int, scope: Literal["fleet", "replica"], replicas: int) -> PerformanceReport:
    """Sums as people read them."""
    return PerformanceReport(
        **_figures(sums.total()),
        scope=scope,
        replicas=replicas,
        window_s=window_s,
        by_algorithm_version={name: Figures(**_figures(one)) for name, one in sorted(sums.algorithms.items())},
        stages={name: _stage_figures(times) for name, times in sorted(sums.stages.items())},
    )


def _figures(sums: TallySum) -> dict[str, Any]:
    times, n = sums.times, sums.times.n
    return {
        "avg_generation_time_ms": times.average_ms(),
        "p50_generation_time_ms": times.quantile_ms(0.50),
        "p95_generation_time_ms": times.quantile_ms(0.95),
        "p99_generation_time_ms": times.quantile_ms(0.99),
        "avg_candidate_count": round(sums.candidates / n, 4) if n else None,
        "cache_hit_rate": round(sums.cached / n, 4) if n else None,
        "requests": n + sums.refused,
        "errors": sums.errors + sums.refused,
        "degraded": sums.degraded,
    }


def _stage_figures(times: TimesSum) -> StageFigures:
    return StageFigures(
        avg_ms=times.average_ms(),
        p50_ms=times.quantile_ms(0.50),
        p95_ms=times.quantile_ms(0.95),
        p99_ms=times.quantile_ms(0.99),
    )
