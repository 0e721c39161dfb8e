"""What was shown, queued and written in batches: the next training's data, and off the reply's path."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Protocol

import structlog

from service.domain import Impression, ServedFeatures
from service.errors import AmityError, DatabaseUnavailable, StageTimeout
from service.metrics import FEATURES_DROPPED, IMPRESSIONS_DROPPED, IMPRESSIONS_WRITTEN
from service.resilience import Deadline, bounded

BATCH = 4000
"""Slates a write at most: half a second of 8,000 a second, 5 MB. A write costs 1.5 ms and 8 us a slate here, 13 us a slate in
PostgreSQL; the event loop gets its turn in between."""
FEATURES = 100
"""Pools' features a write at most, of 15 to 20 kB each."""
FEATURES_WAITING = 2000
"""40 MB. While the database is away for long, slates go on waiting, and the features of further pools do not."""
_WRITE_S = 5.0

_log = structlog.get_logger("amity.impressions")

_Entry = tuple[Impression | None, ServedFeatures | None]


class ImpressionStore(Protocol):
    """Writes a batch, whole or not at all; the same batch may be sent again. Raises DatabaseUnavailable."""

    async def write(self, impressions: Sequence[Impression], features: Sequence[ServedFeatures] = ()) -> int: ...


class ImpressionQueue:
    """Holds at most `capacity` slates. While the database is away they wait; what does not fit is dropped, counted by arm."""

    def __init__(self, store: ImpressionStore, flush_s: float, capacity: int) -> None:
        self._store = store
        self._flush_s = flush_s
        self._capacity = capacity
        self._waiting: deque[_Entry] = deque()
        self._n_features = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, impression: Impression | None, features: ServedFeatures | None) -> None:
        """Take a slate, or the features of a pool that was made ahead of those who will see it; never waits."""
        if features is not None and self._n_features >= FEATURES_WAITING:
            features = None
            FEATURES_DROPPED.inc()
        if impression is None and features is None:
            return
        if len(self._waiting) < self._capacity:
            self._waiting.append((impression, features))
            self._n_features += features is not None
        else:
            _count_dropped([(impression, features)])

    async def run(self) -> None:
        """Write what waits, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._flush_s)
            with suppress(DatabaseUnavailable):  # what waits goes on waiting
                await self.flush()

    async def flush(self) -> None:
        """Write all that waits now, and not what comes meanwhile: that would be many small writes. Raises DatabaseUnavailable,
        with what was not written still waiting."""
        left = len(self._waiting)
        while left > 0:
            batch = self._batch(left)
            try:
                await bounded(self._write(batch), Deadline(_WRITE_S))
            except StageTimeout as exc:
                raise DatabaseUnavailable from exc
            except DatabaseUnavailable:
                raise
            except AmityError as exc:  # the batch itself is at fault, and would be so each time
                _log.error("impressions refused", count=len(batch), type=type(exc).__name__)
                _count_dropped(batch)
            left -= len(batch)
            for _, features in batch:
                self._waiting.popleft()
                self._n_features -= features is not None

    def _batch(self, at_most: int) -> list[_Entry]:
        """The next that wait, as many as one write takes."""
        batch, n_features = [], 0
        for entry in islice(self._waiting, min(at_most, BATCH)):
            n_features += entry[1] is not None
            if n_features > FEATURES:
                break
            batch.append(entry)
        return batch

    async def close(self, deadline: Deadline) -> None:
        """Write what waits, for the last time; what the database does not take until the deadline is dropped and counted."""
        with suppress(DatabaseUnavailable, StageTimeout):
            await bounded(self.flush(), deadline)
        _count_dropped(self._waiting)
        self._waiting.clear()
        self._n_features = 0

    async def _write(self, batch: list[_Entry]) -> None:
        features = [served for _, served in batch if served is not None]
        written = await self._store.write([impression for impression, _ in batch if impression is not None], features)
        IMPRESSIONS_WRITTEN.inc(written)


def _count_dropped(entries: Iterable[_Entry]) -> None:
    for impression, features in entries:
        if features is not None:
            FEATURES_DROPPED.inc()
        if impression is not None:
            arm = impression.experiment
            IMPRESSIONS_DROPPED.labels(f"{arm.name}/{arm.arm}" if arm else "none").inc()
