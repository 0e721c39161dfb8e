"""JSON Lines: one object a line. A line that is not such an object is refused with what is wrong in it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
from msgspec import Meta

from service.transfer.chunks import Chunk, Position, Reject
from service.transfer.layouts import FileKind, Layout
from service.transfer.sources import Block, blocks

BLOCK_BYTES = {"people": 6 * 1024 * 1024, "interactions": 4 * 1024 * 1024}
SHOWN_CHARACTERS = 1000

Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Texts = list[str] | str | None
Instant = str | int | float | None


class PersonLine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A person as JSON may give one. Whole numbers may be written `28.0`, as pandas does where others are missing."""

    id: Whole
    name: str
    age: float | None = None
    gender: str | None = None
    location: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    bio: str | None = None
    interests: Texts = None
    created_at: Instant = None
    last_active_at: Instant = None
    seeks_genders: Texts = None
    seeks_min_age: float | None = None
    seeks_max_age: float | None = None
    seeks_max_km: float | None = None
    status: str | None = None


class InteractionLine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    actor_id: Whole
    target_id: Whole
    kind: str
    occurred_at: Instant
    event_id: str | int | None = None


_DECODERS: dict[FileKind, msgspec.json.Decoder[Any]] = {
    "people": msgspec.json.Decoder(PersonLine),
    "interactions": msgspec.json.Decoder(InteractionLine),
}


class JsonLinesReader:
    """A JSON Lines file. It has no header: a wrong field is refused line by line."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.total = path.stat().st_size
        self._path = path
        self._layout = layout
        self._decode = _DECODERS[layout.kind].decode

    def chunks(self, start: Position | None) -> Iterator[Chunk]:
        start = start or Position(0, 1)
        line = start.line
        for block in blocks(self._path, start.offset, BLOCK_BYTES[self._layout.kind]):
            chunk = self._chunk(block, line)
            line = chunk.end.line
            yield chunk

    def _chunk(self, block: Block, line: int) -> Chunk:
        if block.fault is not None:
            reject = Reject(line, block.fault, _shown(block.data))
            return Chunk(self._frame([]), [], str, [reject], Position(block.end, line + 1), block.progress)
        texts = block.data.removesuffix(b"\n").split(b"\n")
        if line == 1:
            texts[0] = texts[0].removeprefix(b"\xef\xbb\xbf")
        rows, places, rejects = self._decoded(texts, line)
        return Chunk(
            frame=self._frame(rows),
            lines=[line + i for i in places],
            content=lambda i: _shown(texts[places[i]]),
            rejects=rejects,
            end=Position(block.end, line + len(texts)),
            progress=block.progress,
        )

    def _decoded(self, texts: list[bytes], line: int) -> tuple[list[Any], list[int], list[Reject]]:
        """The objects, their places among the texts, and the rest refused. Blank lines are passed over."""
        rows: list[Any] = []
        places: list[int] = []
        rejects: list[Reject] = []
        decode = self._decode
        for i, text in enumerate(texts):
            try:
                rows.append(decode(text))
                places.append(i)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
                if text.strip():
                    rejects.append(Reject(line + i, _why(exc), _shown(text)))
        return rows, places, rejects

    def _frame(self, rows: Sequence[Any]) -> pl.DataFrame:
        columns = {}
        for column in self._layout.columns:
            values = [getattr(row, column.name) for row in rows]
            if column.name in ("id", "actor_id", "target_id"):
                columns[column.name] = pl.Series(values, dtype=pl.Int64)
            elif column.holds == "list":
                columns[column.name] = pl.Series(values, dtype=pl.Object)
            elif column.holds in ("instant", "text"):
                columns[column.name] = pl.Series([v if v is None or type(v) is str else str(v) for v in values], dtype=pl.String)
            else:
                columns[column.name] = pl.Series(values, dtype=pl.Float64)
        return pl.DataFrame(columns)


def _why(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(exc, msgspec.ValidationError):
        return str(exc).replace("`$.", "`").replace("object", "line")
    if isinstance(exc, RecursionError):
        return "not JSON: nested too deeply"
    return f"not JSON: {exc}"


def _shown(text: bytes) -> str:
    return text[:SHOWN_CHARACTERS].decode("utf-8", "replace").rstrip("\r")
