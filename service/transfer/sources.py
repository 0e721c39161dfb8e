"""Text files as blocks of whole lines, plain or gzipped, and what identifies a file."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import xxhash

from service.errors import ImportRefused

MAX_LINE_BYTES = 1024 * 1024
HASH_BLOCK_BYTES = 1024 * 1024
SHOWN_BYTES = 300


class Block(msgspec.Struct, frozen=True):
    """Whole lines, and the offset (of the decompressed text) and file position behind them.

    With a `fault` the data is the beginning of one line that cannot be used, for that reason.
    """

    data: bytes
    end: int
    progress: int
    fault: str | None = None


def blocks(path: Path, start: int, size: int) -> Iterator[Block]:
    """Blocks of about `size` bytes from the offset `start`, which is the beginning of a line.

    Memory stays within a few blocks for any file: a line longer than 1 MiB is a fault and is skipped. A gzip file that
    ends early or is damaged gives all lines before the damage, then a fault.
    """
    with path.open("rb") as raw, _text(path, raw) as stream:
        stream.seek(start)
        rest, end, fault = b"", start, None
        while fault is None:
            data, fault = _read(stream, size)
            rest += data
            whole = rest[: rest.rfind(b"\n") + 1] if data else rest
            if whole and fault is None:
                end += len(whole)
                yield Block(whole, end, raw.tell())
                rest = rest[len(whole) :]
            if len(rest) > MAX_LINE_BYTES:
                shown, skipped = rest[:SHOWN_BYTES], len(rest)
                rest, skipped, fault = _skip_line(stream, skipped, size)
                end += skipped
                yield Block(shown, end, raw.tell(), f"the line is longer than {MAX_LINE_BYTES} bytes")
            if not data and fault is None:
                return
        whole = rest[: rest.rfind(b"\n") + 1]
        if whole:
            yield Block(whole, end + len(whole), raw.tell())
        yield Block(rest[len(whole) :][:SHOWN_BYTES], end + len(rest), raw.tell(), fault)


def first_line(path: Path) -> bytes:
    """The first line with its end, for the header; raises ImportRefused when there is none."""
    for block in blocks(path, 0, 64 * 1024):
        if block.fault is not None:
            raise ImportRefused(f"{path}: line 1: {block.fault}")
        return block.data[: block.data.find(b"\n") + 1] or block.data
    raise ImportRefused(f"{path} is empty")


def fingerprint(path: Path, kind: str) -> str:
    """What a file holds, whatever its name: its kind, format, size and a hash of all of it (about 0.3 s a GB, cached)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return f"{kind}:{''.join(path.suffixes[-2:]).lower()}:{path.stat().st_size}:{digest.hexdigest()}"


def _text(path: Path, raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw


def _read(stream: BinaryIO, size: int) -> tuple[bytes, str | None]:
    """About `size` bytes, nothing at the end, and what broke meanwhile. read1 keeps what was decompressed before a fault."""
    parts: list[bytes] = []
    wanted = size
    try:
        while wanted > 0 and (part := stream.read1(wanted)):  # type: ignore[attr-defined]
            parts.append(part)
            wanted -= len(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        return b"".join(parts), f"the compressed file is damaged or ends early from here on: {exc}"
    return b"".join(parts), None


def _skip_line(stream: BinaryIO, skipped: int, size: int) -> tuple[bytes, int, str | None]:
    """What follows the line that the stream is in, the bytes that line takes, and what broke meanwhile."""
    while True:
        data, fault = _read(stream, size)
        cut = data.find(b"\n") + 1
        if cut or not data or fault:
            cut = cut or len(data)
            return data[cut:], skipped + cut, fault
        skipped += len(data)
