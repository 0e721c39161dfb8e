"""How fast this replica answers: latency sketches by second, over the last hour."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

WINDOW_S = 3600
_GROWTH = 1.08
"""Buckets grow by 8 %, and a bucket answers with its geometric middle: at most 3.9 % off, for any latency."""
_LOG_GROWTH = math.log(_GROWTH)
_SMALLEST_MS = 0.001


class Sketch:
    """Latencies counted in buckets that grow geometrically. Sketches add up exactly."""

    __slots__ = ("buckets", "n", "total_ms")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.n = 0
        self.total_ms = 0.0

    def add(self, value_ms: float) -> None:
        bucket = math.floor(math.log(max(value_ms, _SMALLEST_MS)) / _LOG_GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.n += 1
        self.total_ms += value_ms

    def merge(self, other: "Sketch") -> None:
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.n += other.n
        self.total_ms += other.total_ms

    def average_ms(self) -> float | None:
        return round(self.total_ms / self.n, 4) if self.n else None

    def quantile_ms(self, share: float) -> float | None:
        """The smallest latency that at least `share` of the samples do not exceed, within 4 %; None without samples."""
        wanted = max(1, math.ceil(share * self.n))
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                return round(math.exp((bucket + 0.5) * _LOG_GROWTH), 4)
        return None


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
    """Sums over some requests."""

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

    def merge(self, other: "_Tally") -> None:
        self.sketch.merge(other.sketch)
        self.candidates += other.candidates
        self.cached += other.cached
        self.degraded += other.degraded
        self.errors += other.errors
        self.refused += other.refused

    def figures(self) -> dict[str, float | int | None]:
        n = self.sketch.n
        return {
            "avg_generation_time_ms": self.sketch.average_ms(),
            "p50_generation_time_ms": self.sketch.quantile_ms(0.50),
            "p95_generation_time_ms": self.sketch.quantile_ms(0.95),
            "p99_generation_time_ms": self.sketch.quantile_ms(0.99),
            "avg_candidate_count": round(self.candidates / n, 4) if n else None,
            "cache_hit_rate": round(self.cached / n, 4) if n else None,
            "requests": n + self.refused,
            "errors": self.errors + self.refused,
            "degraded": self.degraded,
        }


class _Second:
    """What happened within one second."""

    __slots__ = ("algorithms", "at_s", "stages")

    def __init__(self, at_s: int) -> None:
        self.at_s = at_s
        self.algorithms: dict[str, _Tally] = {}
        self.stages: dict[str, Sketch] = {}


class Performance:
    """A ring of seconds; a second without requests costs nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[_Second] = deque()

    def refuse(self, algorithm_version: str) -> None:
        """Count a request that found no place: an error, but neither fast nor slow."""
        self._now().algorithms.setdefault(algorithm_version, _Tally()).refused += 1

    def _now(self) -> _Second:
        now_s = int(self._clock())
        if not self._seconds or self._seconds[-1].at_s != now_s:
            self._seconds.append(_Second(now_s))
            while self._seconds[0].at_s <= now_s - WINDOW_S:
                self._seconds.popleft()
        return self._seconds[-1]

    def observe(self, seen: Observation) -> None:
        second = self._now()
        second.algorithms.setdefault(seen.algorithm_version, _Tally()).add(seen)
        for name, elapsed_ms in seen.stages_ms.items():
            second.stages.setdefault(name, Sketch()).add(elapsed_ms)

    def report(self, window_s: int) -> PerformanceReport:
        """The last `window_s` seconds, 1 to 3600, the running one included."""
        since_s = int(self._clock()) - window_s
        seconds = [second for second in self._seconds if second.at_s > since_s]
        algorithms: dict[str, _Tally] = {}
        stages: dict[str, Sketch] = {}
        for second in seconds:
            for name, tally in second.algorithms.items():
                algorithms.setdefault(name, _Tally()).merge(tally)
            for name, sketch in second.stages.items():
                stages.setdefault(name, Sketch()).merge(sketch)
        return PerformanceReport(
            **_total(algorithms.values()).figures(),  # type: ignore[arg-type]
            window_s=window_s,
            by_algorithm_version={
                name: Figures(**tally.figures())  # type: ignore[arg-type]
                for name, tally in sorted(algorithms.items())
            },
            stages={name: _stage_figures(sketch) for name, sketch in sorted(stages.items())},
        )


def _total(tallies: Iterable[_Tally]) -> _Tally:
    total = _Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def _stage_figures(sketch: Sketch) -> StageFigures:
    return StageFigures(
        avg_ms=sketch.average_ms(),
        p50_ms=sketch.quantile_ms(0.50),
        p95_ms=sketch.quantile_ms(0.95),
        p99_ms=sketch.quantile_ms(0.99),
    )
