"""`amity import`: files into the database in batches, so that it can be cut off at any time and run again.

While PostgreSQL stores one batch, a thread reads and checks the next. How far a file has come is committed together with
each batch, under what the file holds (not its name): a run that was cut off goes on there. A file that was imported to its
end is applied again from its beginning, which changes only what differs.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from service.repositories import bulk
from service.repositories.bulk import Mark, Outcome, Steps, Unknown
from service.repositories.calls import Sessions
from service.repositories.database import Database
from service.resilience import Deadline
from service.telemetry import Progress
from service.threads import ThreadDoor
from service.transfer.checks import Batch, check
from service.transfer.chunks import Position, Reader, Reject
from service.transfer.layouts import INTERACTIONS, PEOPLE, FileKind, Layout
from service.transfer.readers import open_reader
from service.transfer.rejects import RejectsFile, rejects_path
from service.transfer.reports import ImportedFile, ImportReport
from service.transfer.sources import fingerprint

T = TypeVar("T")

STEP_LIMIT_S = 3600.0
"""Bound on reading one batch, or on hashing a whole file, from the slowest of disks."""


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which files to import. `rejects` is the folder of the rejects files; beside each file when None."""

    people: Path | None = None
    interactions: Path | None = None
    max_rejects: int = 0
    rejects: Path | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far one file has come: the row's `state` in the table `imports`."""

    offset: int = 0
    line: int = 0
    """Where to go on; line 0 is before the first record."""
    rejects_bytes: int = 0
    read: int = 0
    new: int = 0
    replaced: int = 0
    recorded: int = 0
    repeated: int = 0
    matches: int = 0
    rejected: int = 0
    finished: bool = False


async def run(database: Database, request: ImportRequest, report: Progress) -> ImportReport:
    """Import the people, then the interactions. What is good is stored, and the rest is in the rejects files.

    Raises ImportRefused before anything is written when a file as a whole cannot be used, and DatabaseUnavailable when the
    database goes away; then running it again goes on.
    """
    wanted: list[tuple[Layout, Path | None]] = [(PEOPLE, request.people), (INTERACTIONS, request.interactions)]
    opened = [(layout, path, open_reader(path, layout)) for layout, path in wanted if path is not None]
    files = []
    for layout, path, reader in opened:
        rejects = RejectsFile(rejects_path(path, request.rejects))
        files.append(await _FileImport(database.sessions, layout.kind, path, reader, rejects).run(report))
    rejected = sum(file.rejected for file in files)
    return ImportReport(
        files=tuple(files), rejected=rejected, max_rejects=request.max_rejects, ok=rejected <= request.max_rejects
    )


class _FileImport:
    """One file on its way in."""

    def __init__(self, sessions: Sessions, kind: FileKind, path: Path, reader: Reader, rejects: RejectsFile) -> None:
        self._sessions = sessions
        self._kind: FileKind = kind
        self._path = path
        self._reader = reader
        self._rejects = rejects
        self._state = State()
        self._door = ThreadDoor(1)

    async def run(self, report: Progress) -> ImportedFile:
        started_s = time.perf_counter()
        try:
            self._fingerprint = await _in_thread(self._door, fingerprint, self._path, self._kind)
            self._state = await self._found()
            resumed_from = self._state.read
            await self._store_all(report)
        finally:
            self._door.close()
        await self._finish()
        return self._reported(resumed_from, time.perf_counter() - started_s)

    async def _store_all(self, report: Progress) -> None:
        step, total = f"Importing {self._kind}", self._reader.total
        report(step, 0, total)
        ahead = _Ahead(self._door, self._batches())
        try:
            while (batch := await ahead.take()) is not None:
                self._state = await self._store(batch, ahead)
                report(step, min(batch.progress, total), total)
        finally:
            await ahead.close()
        report(step, total, total)

    async def _found(self) -> State:
        """Where to begin: where a run that was cut off had come, if its rejects file is still there; else at the start."""
        mark = await bulk.find_mark(self._sessions, self._fingerprint)
        if mark is None:
            return State()
        state = msgspec.convert(mark.state, State)
        return State() if state.finished or not self._rejects.keeps(state.rejects_bytes) else state

    def _batches(self) -> Iterator[Batch]:
        start = Position(self._state.offset, self._state.line) if self._state.line else None
        for chunk in self._reader.chunks(start):
            yield check(chunk, self._kind)

    async def _store(self, batch: Batch, ahead: "_Ahead") -> State:
        before = self._state
        after = [before]

        def settle(outcome: Outcome) -> Mark:
            rejects = sorted([*batch.rejects, *_unknown(batch, outcome)], key=lambda reject: reject.line)
            after[0] = _advanced(before, batch, outcome, self._rejects.append(before.rejects_bytes, rejects))
            return self._mark(after[0])

        steps = Steps(ahead.start, settle)
        if self._kind == "people":
            await bulk.put_people(self._sessions, batch.rows, steps)
        else:
            await bulk.record_interactions(self._sessions, batch.rows, batch.n_waves, steps)
        return after[0]

    async def _finish(self) -> None:
        kept = self._rejects.append(self._state.rejects_bytes, ())
        self._state = msgspec.structs.replace(self._state, finished=True, rejects_bytes=kept)
        await bulk.save_mark(self._sessions, self._mark(self._state))
        await (bulk.settle_people if self._kind == "people" else bulk.settle_interactions)(self._sessions)

    def _mark(self, state: State) -> Mark:
        return Mark(self._fingerprint, state.read, msgspec.structs.asdict(state))

    def _reported(self, resumed_from: int, seconds: float) -> ImportedFile:
        state = self._state
        return ImportedFile(
            kind=self._kind,
            path=str(self._path),
            read=state.read,
            new=state.new,
            replaced=state.replaced,
            recorded=state.recorded,
            repeated=state.repeated,
            matches=state.matches,
            rejected=state.rejected,
            rejects_path=str(self._rejects.path) if state.rejected else None,
            resumed_from=resumed_from,
            seconds=seconds,
            rate=(state.read - resumed_from) / seconds,
        )


async def _in_thread(door: ThreadDoor, fn: Callable[..., T], *args: Any) -> T:
    return await door.call("import", fn, *args, deadline=Deadline(STEP_LIMIT_S), at_most=1)


class _Ahead:
    """The next batch, made in a thread from `start` on.

    Not during a COPY: feeding PostgreSQL from the event loop takes four times as long while a thread that parses holds the
    interpreter's lock (8.5 instead of 2.3 µs a person).
    """

    def __init__(self, door: ThreadDoor, batches: Iterator[Batch]) -> None:
        self._door = door
        self._batches = batches
        self._making: asyncio.Task[Batch | None] | None = None

    def start(self) -> None:
        if self._making is None:
            self._making = asyncio.create_task(_in_thread(self._door, next, self._batches, None))

    async def take(self) -> Batch | None:
        """The next batch, or None when there is none left."""
        self.start()
        making, self._making = self._making, None
        return await making if making else None

    async def close(self) -> None:
        """Wait for the thread, which ends with its batch; whatever it made or raised, nobody wants it any more."""
        if self._making is not None:
            await asyncio.gather(self._making, return_exceptions=True)


def _unknown(batch: Batch, outcome: Outcome) -> list[Reject]:
    return [Reject(batch.line_of(row.n), _nobody(row), batch.content_of(row.n)) for row in outcome.unknown]


def _nobody(row: Unknown) -> str:
    ids = [f"{name} {value}" for name, value in (("actor_id", row.actor_id), ("target_id", row.target_id)) if value is not None]
    return f"there is nobody with {' and '.join(ids)}"


def _advanced(before: State, batch: Batch, outcome: Outcome, rejects_bytes: int) -> State:
    """The state after a batch. What a later record of its batch supersedes counts as what it would have been alone."""
    n_rejected = sum(reject.n for reject in batch.rejects) + len(outcome.unknown)
    n_superseded = {"replaced": batch.n_superseded} if batch.kind == "people" else {"repeated": batch.n_superseded}
    return State(
        offset=batch.end.offset,
        line=batch.end.line,
        rejects_bytes=rejects_bytes,
        read=before.read + batch.n_read,
        new=before.new + outcome.new,
        replaced=before.replaced + outcome.replaced + n_superseded.get("replaced", 0),
        recorded=before.recorded + outcome.recorded,
        repeated=before.repeated + outcome.repeated + n_superseded.get("repeated", 0),
        matches=before.matches + outcome.matches,
        rejected=before.rejected + n_rejected,
    )
