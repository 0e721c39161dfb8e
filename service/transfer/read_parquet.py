"""Parquet, batch by batch. Rows are numbered from 1; a row group that cannot be read is refused as a whole."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ImportRefused
from service.transfer.chunks import Chunk, Position, Reject
from service.transfer.cleaning import clean
from service.transfer.layouts import Layout, problems_of

BATCH_ROWS = {"people": 25_000, "interactions": 40_000}


class ParquetReader:
    """A Parquet file whose columns have been checked."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._batch_rows = BATCH_ROWS[layout.kind]
        try:
            # Without read-ahead of whole column chunks: memory stays flat for row groups of any size.
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1024 * 1024)
        except (pa.ArrowInvalid, OSError) as exc:
            reason = str(exc).splitlines()[0]
            message = f"{path} is not a whole Parquet file, so that none of its rows can be found: {reason}"
            raise ImportRefused(message) from exc
        self.total: int = self._file.metadata.num_rows
        self._names: list[str] = self._file.schema_arrow.names
        problems = problems_of(layout, self._names)
        if problems:
            raise ImportRefused(f"{path}: {'; '.join(problems)}")
        empty = _frame(pa.RecordBatch.from_pylist([], self._file.schema_arrow))
        for column in layout.columns:
            if column.name in self._names:
                clean(empty[column.name], column)  # refuses a type that no such column can have

    def chunks(self, start: Position | None) -> Iterator[Chunk]:
        done = start.offset if start else 0
        first = 0
        for group in range(self._file.num_row_groups):
            n_rows = self._file.metadata.row_group(group).num_rows
            if first + n_rows > done:
                yield from self._group(group, first, first + n_rows, done)
            first += n_rows

    def _group(self, group: int, first: int, end: int, done: int) -> Iterator[Chunk]:
        """The chunks of one row group, rows `first` to `end`, behind the `done` ones."""
        at = first
        try:
            for batch in self._file.iter_batches(batch_size=self._batch_rows, row_groups=[group]):
                frame = _frame(batch)
                skipped = max(0, done - at)
                at += frame.height
                if skipped < frame.height:
                    yield _chunk(frame.slice(skipped), at)
        except (pa.ArrowException, OSError) as exc:
            # A damaged page loses the place of all that follows it in its row group.
            reason = f"rows {at + 1} to {end} cannot be read: {str(exc).splitlines()[0]}"
            empty = pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in self._names})
            yield Chunk(empty, [], str, [Reject(at + 1, reason, "", end - at)], Position(end, end + 1), end)


def _chunk(frame: pl.DataFrame, end: int) -> Chunk:
    first = end - frame.height
    return Chunk(
        frame=frame,
        lines=range(first + 1, end + 1),
        content=lambda i: frame.slice(i, 1).write_ndjson().rstrip("\n"),
        rejects=[],
        end=Position(end, end + 1),
        progress=end,
    )


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a record batch became a series")
    return frame
