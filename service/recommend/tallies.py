"""What a span of time came to, as bytes that add up: latencies in buckets, and counters, by algorithm and by stage."""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

_GROWTH = 1.08
"""Buckets grow by 8 %, and a bucket answers with its geometric middle: at most 3.9 % off."""
LOG_GROWTH = math.log(_GROWTH)
SMALLEST_MS = 0.001
_LOWEST = math.floor(math.log(SMALLEST_MS) / LOG_GROWTH)
_N_BUCKETS = 256
"""A byte names a bucket: from 0.001 ms to 5.4 minutes. What is beyond counts as the nearest."""
_WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4"}
"""Counts are as wide as the greatest of their sketch needs: in one second nearly always a byte."""

_SCHEMA = 1
_MAGIC = b"amity-row" + bytes([_SCHEMA])
_HEAD = len(_MAGIC) + 8


class Times(msgspec.Struct, frozen=True, array_like=True, eq=False):
    """A sketch of latencies. `buckets` are uint8; `counts`, of the same length, are little-endian of 1, 2 or 4 bytes each."""

    total_ms: float = 0.0
    buckets: bytes = b""
    counts: bytes = b""


class Tally(msgspec.Struct, frozen=True, array_like=True, eq=False):
    """The requests of one algorithm. `times`, `candidates`, `cached` and `degraded` are of those that were answered."""

    times: Times
    candidates: int = 0
    cached: int = 0
    degraded: int = 0
    errors: int = 0
    refused: int = 0


class Row(msgspec.Struct, frozen=True, array_like=True, eq=False):
    """All that one replica did in one span of time."""

    algorithms: dict[str, Tally]
    stages: dict[str, Times]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Row)


def encode(row: Row) -> bytes:
    payload = _encoder.encode(row)
    return _MAGIC + xxhash.xxh3_64_digest(payload) + payload


def is_ours(value: bytes) -> bool:
    """Whether this version reads such rows; another may write others while it is being rolled out."""
    return value.startswith(_MAGIC)


def decode(value: bytes) -> Row | None:
    """The row, or None for bytes of another schema, of somebody else, or damaged."""
    payload = value[_HEAD:]
    if not is_ours(value) or value[len(_MAGIC) : _HEAD] != xxhash.xxh3_64_digest(payload):
        return None
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
        return None


def times_of(values_ms: NDArray[np.float64]) -> Times:
    """A sketch of latencies, float64 (n,): counted by floor(log(ms) / LOG_GROWTH). 1,000 take 30 us."""
    if not len(values_ms):
        return Times()
    buckets = np.floor(np.log(np.maximum(values_ms, SMALLEST_MS)) / LOG_GROWTH).astype(np.int64) - _LOWEST
    counts = np.bincount(buckets.clip(0, _N_BUCKETS - 1))
    there = np.flatnonzero(counts)
    return Times(float(values_ms.sum()), there.astype(np.uint8).tobytes(), _narrow(counts[there]))


def _narrow(counts: NDArray[np.int64] | Sequence[int]) -> bytes:
    greatest = int(np.max(counts))
    width = 1 if greatest < 1 << 8 else 2 if greatest < 1 << 16 else 4
    return np.asarray(counts, _WIDTHS[width]).tobytes()


class TimesSum:
    """Sketches added up: samples by bucket, int64 (256,)."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = np.zeros(_N_BUCKETS, np.int64)
        self.total_ms = 0.0

    def add(self, sketches: Sequence[Times]) -> None:
        for width, dtype in _WIDTHS.items():
            alike = [one for one in sketches if len(one.counts) == width * len(one.buckets)]
            buckets = np.frombuffer(b"".join([one.buckets for one in alike]), np.uint8)
            counts = np.frombuffer(b"".join([one.counts for one in alike]), dtype)
            # Weighted sums are float64, exact up to 2^53 samples.
            self.counts += np.bincount(buckets, counts, _N_BUCKETS).astype(np.int64)
        self.total_ms += sum(one.total_ms for one in sketches)

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def average_ms(self) -> float | None:
        return round(self.total_ms / self.n, 4) if self.n else None

    def quantile_ms(self, share: float) -> float | None:
        """The smallest latency that at least `share` of the samples do not exceed, within 4 %; None without samples."""
        if not self.n:
            return None
        wanted = max(1, math.ceil(share * self.n))
        bucket = int(np.searchsorted(np.cumsum(self.counts), wanted)) + _LOWEST
        return round(math.exp((bucket + 0.5) * LOG_GROWTH), 4)

    def times(self) -> Times:
        found = np.flatnonzero(self.counts)
        if not len(found):
            return Times()
        return Times(self.total_ms, found.astype(np.uint8).tobytes(), _narrow(self.counts[found].tolist()))


class TallySum:
    """Tallies of one algorithm added up."""

    __slots__ = ("cached", "candidates", "degraded", "errors", "refused", "times")

    def __init__(self) -> None:
        self.times = TimesSum()
        self.candidates = self.cached = self.degraded = self.errors = self.refused = 0

    def add(self, tallies: Sequence[Tally]) -> None:
        self.times.add([one.times for one in tallies])
        self.candidates += sum(one.candidates for one in tallies)
        self.cached += sum(one.cached for one in tallies)
        self.degraded += sum(one.degraded for one in tallies)
        self.errors += sum(one.errors for one in tallies)
        self.refused += sum(one.refused for one in tallies)

    def tally(self) -> Tally:
        return Tally(self.times.times(), self.candidates, self.cached, self.degraded, self.errors, self.refused)


class Sums:
    """Rows added up, whoever counted them and when; the order does not matter."""

    def __init__(self) -> None:
        self.algorithms: dict[str, TallySum] = {}
        self.stages: dict[str, TimesSum] = {}

    def add(self, rows: Iterable[bytes]) -> None:
        """Many rows at once are cheap, about 8 µs each; whatever is no row counts nothing."""
        tallies: dict[str, list[Tally]] = {}
        stages: dict[str, list[Times]] = {}
        for row in filter(None, map(decode, rows)):
            for name, tally in row.algorithms.items():
                tallies.setdefault(name, []).append(tally)
            for name, times in row.stages.items():
                stages.setdefault(name, []).append(times)
        for name, found in tallies.items():
            self.algorithms.setdefault(name, TallySum()).add(found)
        for name, sketches in stages.items():
            self.stages.setdefault(name, TimesSum()).add(sketches)

    def total(self) -> TallySum:
        """Of all algorithms together."""
        total = TallySum()
        total.add([one.tally() for one in self.algorithms.values()])
        return total

    def row(self) -> bytes:
        algorithms = {name: one.tally() for name, one in self.algorithms.items()}
        return encode(Row(algorithms, {name: one.times() for name, one in self.stages.items()}))


def merged(rows: Sequence[bytes]) -> bytes:
    """The row of several spans or replicas together."""
    sums = Sums()
    sums.add(rows)
    return sums.row()
