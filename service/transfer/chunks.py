"""What a reader hands on: some tens of thousands of records as columns, with the line of each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
import polars as pl


class Reject(msgspec.Struct, frozen=True):
    """One refused line (the row in a Parquet file), or `n` of them from `line` on that cannot be told apart."""

    line: int
    reason: str
    content: str
    n: int = 1


class Position(msgspec.Struct, frozen=True):
    """A place between two records: bytes into the (decompressed) text and the next line's number, or rows for both."""

    offset: int
    line: int


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Records as the file holds them, unchecked.

    `frame` has the file's columns in whatever types the format gives (texts only, from CSV); `lines[i]` is where record i
    begins, and `content(i)` what is written there. `rejects` are lines that could not be read as records at all. An import
    that is cut off after this chunk goes on at `end`. `progress` is in the reader's unit.
    """

    frame: pl.DataFrame
    lines: Sequence[int]
    content: Callable[[int], str]
    rejects: list[Reject]
    end: Position
    progress: int


class Reader(Protocol):
    """A file, opened and its columns checked."""

    total: int
    """The size for the progress bar: bytes of text, rows of Parquet."""

    def chunks(self, start: Position | None) -> Iterator[Chunk]:
        """All chunks from `start`, or from the first record."""
        ...
