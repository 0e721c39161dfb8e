"""The formats that export writes, each batch as it comes; a file appears under its name only when it is whole."""

import contextlib
import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import OperatorError
from service.transfer.layouts import Column, Layout
from service.transfer.readers import format_of

Rows = Sequence[Sequence[Any]]
Write = Callable[[Rows], None]

GZIP_LEVEL = 3  # three times as fast as the default 9 for a few per cent more bytes
_TYPES = {
    "whole": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "list": pa.list_(pa.string()),
    "instant": pa.timestamp("us", "UTC"),
}


@contextlib.contextmanager
def open_writer(path: Path, layout: Layout) -> Iterator[Write]:
    """A function that writes rows, their values in the layout's order, in the format that the file's extension names.

    Raises OperatorError when the file cannot be written; a file that was there before is then as it was.
    """
    extension = format_of(path)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with _opened(unfinished, extension, layout, zipped=path.suffix.lower() == ".gz") as write:
            yield write
        unfinished.replace(path)
    except OSError as exc:
        raise OperatorError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path, extension: str, layout: Layout, *, zipped: bool) -> Iterator[Write]:
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("wb"))
        if extension == ".parquet":
            yield _parquet(stack.enter_context(pq.ParquetWriter(file, _schema(layout), compression="zstd")), layout)
            return
        if zipped:
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file, mode="wb", compresslevel=GZIP_LEVEL)))
        yield _csv(file, layout) if extension == ".csv" else _json_lines(file, layout)


def _csv(file: BinaryIO, layout: Layout) -> Write:
    texts = [_text_of(column) for column in layout.columns]

    def write(rows: Rows) -> None:
        file.write(_as_csv([[None if v is None else text(v) for v, text in zip(row, texts, strict=True)] for row in rows]))

    file.write(_as_csv([layout.names]))
    return write


def _as_csv(rows: Sequence[Sequence[Any]]) -> bytes:
    """The csv module leaves a carriage return unquoted where lines end in a newline only; then everything is quoted."""
    data = _quoted(rows, csv.QUOTE_MINIMAL)
    return data if b"\r" not in data else _quoted(rows, csv.QUOTE_ALL)


def _quoted(rows: Sequence[Sequence[Any]], quoting: Literal[0, 1]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue().encode()


def _json_lines(file: BinaryIO, layout: Layout) -> Write:
    encode = msgspec.json.Encoder().encode
    names = layout.names

    def write(rows: Rows) -> None:
        file.writelines(encode(dict(zip(names, row, strict=True))) + b"\n" for row in rows)

    return write


def _parquet(writer: pq.ParquetWriter, layout: Layout) -> Write:
    schema = _schema(layout)

    def write(rows: Rows) -> None:
        columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
        writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    return write


def _schema(layout: Layout) -> pa.Schema:
    return pa.schema([(column.name, _TYPES[column.holds]) for column in layout.columns])


def _text_of(column: Column) -> Callable[[Any], Any]:
    """How a value of the column is written in CSV: lists as JSON arrays, times to the microsecond, in UTC."""
    if column.holds == "list":
        return lambda value: msgspec.json.encode(value).decode()
    if column.holds == "instant":
        return datetime.isoformat
    return lambda value: value
