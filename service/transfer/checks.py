"""The rules of a record as a whole, and the good ones as the database takes them."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import polars as pl

from service.bounds import CLOCK_SKEW, TO_COME
from service.domain import Kind, Status
from service.repositories.bulk_sql import INTERACTION_COLUMNS, PERSON_COLUMNS
from service.repositories.opinions import FAMILY, MESSAGE
from service.transfer.chunks import Chunk, Position, Reject
from service.transfer.cleaning import INSTANT, clean
from service.transfer.layouts import INTERACTIONS, PEOPLE, FileKind, Layout

KINDS = [kind.value for kind in Kind]
STATUSES = [status.value for status in Status]
_DTYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "whole": pl.Int64,
    "number": pl.Float64,
    "text": pl.String,
    "list": pl.String,
    "instant": INSTANT,
}


class Batch(msgspec.Struct, frozen=True, eq=False):
    """A chunk after all checks that need no database.

    `rows` are the good records as CSV for COPY; `n_superseded` of them are left out because a later record of the same
    batch says the last word on the same thing. `line_of` and `content_of` take the first column of an interaction's row.
    """

    kind: FileKind
    rows: bytes
    n_waves: int
    n_superseded: int
    n_read: int
    rejects: list[Reject]
    line_of: Callable[[int], int]
    content_of: Callable[[int], str]
    end: Position
    progress: int


class _Verdicts:
    """Which records are refused: for each the first rule that it breaks."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._bad = pl.Series([False], dtype=pl.Boolean).new_from_index(0, chunk.frame.height)
        self.rejects: list[Reject] = []

    def refuse(self, bad: pl.Series, reason: str) -> None:
        fresh = (bad & ~self._bad).fill_null(False)
        if fresh.any():
            for i in fresh.arg_true().to_list():
                self.rejects.append(Reject(self._chunk.lines[i], reason, self._chunk.content(i)))
            self._bad = self._bad | fresh

    @property
    def good(self) -> pl.Series:
        return ~self._bad


def check(chunk: Chunk, kind: FileKind) -> Batch:
    """The chunk's good records and why each of the others is none."""
    layout = PEOPLE if kind == "people" else INTERACTIONS
    verdicts = _Verdicts(chunk)
    frame = _cleaned(chunk, layout, verdicts)
    judged = _people(frame, verdicts) if kind == "people" else _interactions(frame, verdicts)
    rejects = sorted([*chunk.rejects, *verdicts.rejects], key=lambda reject: reject.line)
    n_good = chunk.frame.height - len(verdicts.rejects)
    return Batch(
        kind=kind,
        rows=judged.write_csv(include_header=False, quote_style="non_numeric").encode(),
        n_waves=_n_waves(judged),
        n_superseded=n_good - judged.height,
        n_read=n_good + sum(reject.n for reject in rejects),
        rejects=rejects,
        line_of=lambda n: chunk.lines[n],
        content_of=chunk.content,
        end=chunk.end,
        progress=chunk.progress,
    )


def _cleaned(chunk: Chunk, layout: Layout, verdicts: _Verdicts) -> pl.DataFrame:
    """Every column of the layout in its type, nulls where the file has none; what breaks a column's own rule is refused."""
    columns = {}
    latest = datetime.now(UTC) + CLOCK_SKEW
    for column in layout.columns:
        if column.name not in chunk.frame.columns:
            columns[column.name] = pl.Series([None], dtype=_DTYPES[column.holds]).new_from_index(0, chunk.frame.height)
            continue
        cleaned = clean(chunk.frame[column.name], column)
        rule = "holds a NUL character" if column.holds == "text" else column.rule
        verdicts.refuse(cleaned.bad, f"{column.name} {rule}")
        if column.required:
            verdicts.refuse(cleaned.values.is_null(), f"{column.name} is missing")
        if column.holds == "text":
            too_long = cleaned.values.str.len_chars() > column.longest
            verdicts.refuse(too_long, f"{column.name} is longer than {column.longest} characters")
        if column.holds == "instant":
            verdicts.refuse(cleaned.values > latest, f"{column.name} {TO_COME}")
        columns[column.name] = cleaned.values
    return pl.DataFrame(columns)


def _people(frame: pl.DataFrame, verdicts: _Verdicts) -> pl.DataFrame:
    half = frame["latitude"].is_null() != frame["longitude"].is_null()
    verdicts.refuse(half, "latitude and longitude belong together: one of them is missing")
    verdicts.refuse(frame["seeks_min_age"] > frame["seeks_max_age"], "seeks_min_age is greater than seeks_max_age")
    status = frame["status"].str.strip_chars().str.to_lowercase()
    verdicts.refuse(~status.is_in(STATUSES), f"status must be one of {', '.join(STATUSES)}")
    frame = frame.with_columns(
        status,
        pl.col("bio").fill_null(""),
        pl.col("interests").fill_null("{}"),
        pl.col("seeks_genders").fill_null("{}"),
    ).filter(verdicts.good)
    return _last_of_each(frame).select(PERSON_COLUMNS)


def _last_of_each(people: pl.DataFrame) -> pl.DataFrame:
    """One row an id, the last, with what earlier ones said of the fields that a row without them leaves as they are."""
    if people["id"].is_unique().all():
        return people
    kept = [pl.col(name).forward_fill().over("id") for name in ("created_at", "last_active_at", "status")]
    return people.with_columns(kept).unique("id", keep="last", maintain_order=True)


def _interactions(frame: pl.DataFrame, verdicts: _Verdicts) -> pl.DataFrame:
    kind = frame["kind"].str.strip_chars().str.to_lowercase()
    verdicts.refuse(~kind.is_in(KINDS), f"kind must be one of {', '.join(KINDS)}")
    verdicts.refuse(frame["actor_id"] == frame["target_id"], "an interaction with oneself")
    rows = frame.with_columns(kind).with_row_index("n").filter(verdicts.good)
    rows = rows.with_columns(family=pl.col("kind").replace_strict(_FAMILY_CODES, return_dtype=pl.Int16))
    return _in_waves(_without_repeats(rows.with_columns(event_key=_event_key()))).select(INTERACTION_COLUMNS)


_FAMILY_CODES = {kind.value: family for kind, family in FAMILY.items()}
_IS_EVENT = pl.col("family") >= MESSAGE
_LOW = pl.min_horizontal("actor_id", "target_id").alias("low")
_HIGH = pl.max_horizontal("actor_id", "target_id").alias("high")
_KEY = ("actor_id", "target_id", "family", "event_key")


def _event_key() -> pl.Expr:
    """The rule of the table: one row a pair for opinions and blocks, one row an event for messages and views."""
    at = pl.lit("at:") + pl.col("occurred_at").cast(pl.Int64).cast(pl.String)
    given = pl.lit("id:") + pl.col("event_id")
    return pl.when(_IS_EVENT).then(pl.coalesce(given, at)).otherwise(pl.lit(""))


def _without_repeats(rows: pl.DataFrame) -> pl.DataFrame:
    """In order of time, without events named twice and without what one says over and over.

    Of a run of the same between two people the first and the last stay: the first may be older than what stands in the
    database, and the last like may be the only one since a block was lifted.
    """
    rows = rows.sort("occurred_at", maintain_order=True).with_columns(_LOW, _HIGH)
    if not rows.select(pl.struct(_KEY).is_duplicated().any()).item():
        return rows
    pair = pl.struct("low", "high", _IS_EVENT.alias("event"))
    said = pl.struct("actor_id", "kind")
    as_before = (said == said.shift(1)).over(pair).fill_null(False)
    as_after = (said == said.shift(-1)).over(pair).fill_null(False)
    named_again = pl.int_range(pl.len()).over(_KEY) > 0
    return rows.filter(~pl.when(_IS_EVENT).then(named_again).otherwise(as_before & as_after))


def _in_waves(rows: pl.DataFrame) -> pl.DataFrame:
    """With a column `wave`. Within one wave the order of writing cannot matter; the waves are written one after another.

    What two people did to one another is spread over waves in order of time, unless it is at most one like or pass from
    either side, which is nearly all there is: then the outcome is the same in any order.
    """
    plain = pl.col("kind").is_in(["like", "pass"]) & ~pl.struct(_KEY).is_duplicated()
    settled = rows.with_columns(ordered=~(plain | _IS_EVENT))
    tangled = settled.filter("ordered").select("low", "high").unique().with_columns(tangled=True)
    if tangled.is_empty():
        return rows.with_columns(wave=pl.lit(0, dtype=pl.Int32))
    joined = settled.join(tangled, on=["low", "high"], how="left", maintain_order="left").with_columns(
        late=pl.col("tangled").fill_null(False) & ~_IS_EVENT
    )
    rank = pl.int_range(pl.len(), dtype=pl.Int32).over("low", "high", "late")
    return joined.with_columns(wave=pl.when("late").then(rank).otherwise(pl.lit(0, dtype=pl.Int32)))


def _n_waves(rows: pl.DataFrame) -> int:
    if "wave" not in rows.columns:
        return 1
    return int(rows.select(pl.col("wave").max()).item() or 0) + 1
