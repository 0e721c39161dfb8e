"""CSV with a header, in UTF-8, record by record with the line of each; what cannot be read is refused line by line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from service.errors import ImportRefused
from service.transfer.chunks import Chunk, Position, Reject
from service.transfer.layouts import Layout, problems_of
from service.transfer.sources import Block, blocks, first_line

BLOCK_BYTES = {"people": 4 * 1024 * 1024, "interactions": 1536 * 1024}
"""About 25,000 people or 40,000 interactions: large enough that PostgreSQL's cost of a statement vanishes."""


class CsvReader:
    """A CSV file whose header has been checked."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.total = path.stat().st_size
        self._path = path
        self._block_bytes = BLOCK_BYTES[layout.kind]
        line = first_line(path)
        self._header = _header(path, line)
        self._start = Position(len(line), 2)
        problems = problems_of(layout, self._header)
        if problems:
            raise ImportRefused(f"{path}: line 1: {'; '.join(problems)}")

    def chunks(self, start: Position | None) -> Iterator[Chunk]:
        """All chunks from `start`, or from line 2. A record that a block cuts in two is read with the next block."""
        start = start or self._start
        rest: list[str] = []
        line, end = start.line, start.offset
        progress = self.total
        for block in blocks(self._path, start.offset, self._block_bytes):
            if block.fault is not None:
                if rest:
                    yield self._chunk(parsed := _parse(rest, line, self._header, last=True), block, end)
                    line, rest = line + parsed.n_lines, []
                yield self._faulty(block, line)
                line += 1
            else:
                lines = rest + list(io.StringIO(block.data.decode("utf-8", "surrogateescape"), newline=""))
                parsed = _parse(lines, line, self._header, last=False)
                rest = lines[parsed.n_lines :]
                line += parsed.n_lines
                yield self._chunk(parsed, block, block.end - _n_bytes(rest))
            end, progress = block.end, block.progress
        if rest:
            parsed = _parse(rest, line, self._header, last=True)
            yield self._chunk(parsed, Block(b"", end, progress), end)

    def _chunk(self, parsed: "_Parsed", block: Block, end: int) -> Chunk:
        columns = zip(*parsed.rows, strict=True) if parsed.rows else ([] for _ in self._header)
        frame = pl.DataFrame(
            [pl.Series(name, values, dtype=pl.String) for name, values in zip(self._header, columns, strict=True)]
        )
        rows = parsed.rows
        position = Position(end, parsed.first_line + parsed.n_lines)
        return Chunk(frame, parsed.starts, lambda i: _written(rows[i]), parsed.rejects, position, block.progress)

    def _faulty(self, block: Block, line: int) -> Chunk:
        reject = Reject(line, block.fault or "", block.data.decode("utf-8", "replace"))
        frame = pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in self._header})
        return Chunk(frame, [], str, [reject], Position(block.end, line + 1), block.progress)


class _Parsed(msgspec.Struct, frozen=True):
    rows: list[list[str]]
    starts: list[int]
    rejects: list[Reject]
    first_line: int
    n_lines: int
    """Lines used up; those behind them belong to a record that is not complete yet."""


def _parse(lines: list[str], first_line: int, header: list[str], last: bool) -> _Parsed:
    """The records of some lines.

    A quote out of place swallows lines until the next one: then only the line where the record began is refused, and
    reading goes on behind it, so that one bad line costs no good ones.
    """
    rows: list[list[str]] = []
    starts: list[int] = []
    rejects: list[Reject] = []
    at = 0
    while at < len(lines):
        base = at
        # A map instead of a slice: starting again after each of many bad lines must not copy what is left every time.
        reader = csv.reader(map(lines.__getitem__, range(base, len(lines))), strict=True)
        try:
            for row in reader:
                end = base + reader.line_num
                if len(row) == len(header) and row != header:
                    rows.append(row)
                    starts.append(first_line + at)
                elif row:
                    rejects.append(Reject(first_line + at, _why(row, header, end - at), lines[at].rstrip("\r\n")))
                    if end - at > 1:
                        at += 1
                        break
                at = end
        except csv.Error as exc:
            if not last and str(exc) == "unexpected end of data":
                break
            rejects.append(Reject(first_line + at, f"not CSV: {_said(exc)}", lines[at].rstrip("\r\n")))
            at += 1
    return _only_unicode(_Parsed(rows, starts, rejects, first_line, at))


def _why(row: list[str], header: list[str], n_lines: int) -> str:
    if row == header:
        return "a second header"
    spread = f", spread over {n_lines} lines by a quote" if n_lines > 1 else ""
    return f"{len(row)} fields instead of {len(header)}{spread}"


def _said(exc: csv.Error) -> str:
    return "a quote is never closed" if str(exc) == "unexpected end of data" else str(exc)


def _only_unicode(parsed: _Parsed) -> _Parsed:
    """Without the records whose bytes were not UTF-8; those bytes came through decoding as lone surrogates."""
    bad = {i for i, row in enumerate(parsed.rows) if not _is_unicode("".join(row))}
    if not bad:
        return parsed
    rejects = [Reject(parsed.starts[i], "not UTF-8", _written(parsed.rows[i])) for i in sorted(bad)]
    return msgspec.structs.replace(
        parsed,
        rows=[row for i, row in enumerate(parsed.rows) if i not in bad],
        starts=[start for i, start in enumerate(parsed.starts) if i not in bad],
        rejects=parsed.rejects + rejects,
    )


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _header(path: Path, line: bytes) -> list[str]:
    try:
        names = next(csv.reader([line.decode("utf-8-sig")], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ImportRefused(f"{path}: line 1 is not a CSV header in UTF-8: {exc}") from exc
    return [name.strip() for name in names]


def _written(row: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _n_bytes(lines: list[str]) -> int:
    return sum(len(line.encode("utf-8", "surrogateescape")) for line in lines)
