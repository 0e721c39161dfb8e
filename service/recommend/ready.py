"""Answers that are there already: a slate made once, and served again in the time of a few look-ups."""

from datetime import datetime
from uuid import UUID

import msgspec

from service.domain import ExperimentArm, Impression, RecommendationRequest, ShownPeople
from service.recommend.fragments import SlateJson

_ENTRY_BYTES = 300
"""What one position of `people` takes of memory beside the JSON: five tuples' places, its numbers, its row to be written."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A slate as it may be served again: whole, not degraded, and marked as cached. All but its times and ids."""

    json: SlateJson
    people: ShownPeople
    """The same object in each impression of it."""
    pool_id: UUID
    n_candidates: int
    """The size of the pool that it was taken from."""
    algorithm_version: str
    bundle_version: str | None
    experiment: ExperimentArm | None

    @property
    def n_shown(self) -> int:
        return len(self.people.candidate_ids)

    @property
    def n_bytes(self) -> int:
        """What it takes of memory, about."""
        return len(self.json.head) + len(self.json.tail) + _ENTRY_BYTES * (self.n_shown + 1)

    def answer(self, request: RecommendationRequest, generation_ms: float, slate_id: UUID) -> "Ready":
        """The reply to one request."""
        rounded = round(generation_ms, 3)
        parts = (self.json.head, self.json.end(rounded, slate_id, request.request_id))
        return Ready(parts, self, rounded)

    def impression(self, request: RecommendationRequest, slate_id: UUID, served_at: datetime, generation_ms: float) -> Impression:
        """The row that remembers one reply."""
        return Impression(
            slate_id=slate_id,
            request_id=request.request_id,
            viewer_id=request.viewer_id,
            served_at=served_at,
            algorithm_version=self.algorithm_version,
            bundle_version=self.bundle_version,
            experiment=self.experiment,
            pool_id=self.pool_id,
            people=self.people,
            cached=True,
            degraded=False,
            generation_ms=generation_ms,
        )


class Ready(msgspec.Struct, frozen=True, eq=False):
    """An answer from the cache, not degraded: its body in two parts, of which the first, some kB, is the held one and not
    copied; and what the log line says of it."""

    parts: tuple[bytes, bytes]
    finished: Finished
    generation_time_ms: float

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def n_shown(self) -> int:
        return len(self.finished.people.candidate_ids)

    @property
    def algorithm_version(self) -> str:
        return self.finished.algorithm_version

    @property
    def bundle_version(self) -> str | None:
        return self.finished.bundle_version

    @property
    def experiment(self) -> ExperimentArm | None:
        return self.finished.experiment
