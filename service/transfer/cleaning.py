"""One column at a time, from whatever a file holds to what the database stores; all vectorised but lists."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import polars as pl

from service.bounds import EARLIEST
from service.errors import ImportRefused
from service.transfer.layouts import Column

_TEXTS = msgspec.json.Decoder(list[str])

INSTANT = pl.Datetime("us", "UTC")
EARLIEST_US = int(EARLIEST.timestamp()) * 1_000_000
LATEST_US = 253_402_300_799_999_999
"""The last microsecond of 9999, in microseconds since 1970: what Python's datetime can hold."""

_ZONED = ("%+", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z")
_UNZONED = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


class Cleaned(msgspec.Struct, frozen=True, eq=False):
    """The values, null where there is none, and which of the file's values were refused (bool, no nulls)."""

    values: pl.Series
    bad: pl.Series


def clean(series: pl.Series, column: Column) -> Cleaned:
    """A file's column as what `column` holds: Int64, Float64, String, PostgreSQL array literals, or UTC microseconds.

    An empty text is the same as none. Raises ImportRefused for a type that no such column can have.
    """
    if series.dtype == pl.Null:
        series = series.cast(pl.String)
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    cleaned = _CLEANERS[column.holds](series, column)
    bad = cleaned.bad
    if column.holds in ("whole", "number"):
        bad = bad | ~cleaned.values.is_between(column.low, column.high).fill_null(True)
    return Cleaned(cleaned.values, bad)


def _whole(series: pl.Series, column: Column) -> Cleaned:
    if series.dtype.is_integer():
        values = series.cast(pl.Int64, strict=False)
        return Cleaned(values, values.is_null() & series.is_not_null())
    if series.dtype.is_float() or series.dtype.is_decimal():
        return _integral(series.cast(pl.Float64))
    text = _stripped(series, column)
    values = text.cast(pl.Int64, strict=False)
    failed = values.is_null() & text.is_not_null()
    if failed.any():
        # `28.0` is what pandas writes for whole numbers in a column where some are missing.
        decimal = _integral(text.cast(pl.Float64, strict=False))
        values = values.fill_null(decimal.values)
        failed = values.is_null() & text.is_not_null()
    return Cleaned(values, failed)


def _integral(series: pl.Series) -> Cleaned:
    """Whole numbers out of floats: exact below 2^53 only. NaN is what pandas has for none."""
    series = series.fill_nan(None)
    fits = (series.abs() < 2.0**53) & (series == series.floor())
    values = pl.select(pl.when(fits).then(series)).to_series().cast(pl.Int64)
    return Cleaned(values, values.is_null() & series.is_not_null())


def _number(series: pl.Series, column: Column) -> Cleaned:
    if series.dtype.is_numeric():
        values = series.cast(pl.Float64).fill_nan(None)
        return Cleaned(values, _none_bad(values))
    text = _stripped(series, column)
    values = text.cast(pl.Float64, strict=False).fill_nan(None)
    return Cleaned(values, values.is_null() & text.is_not_null())


def _text(series: pl.Series, column: Column) -> Cleaned:
    if series.dtype.is_integer():
        series = series.cast(pl.String)
    values = _empty_is_none(_strings(series, column))
    return Cleaned(values, values.str.contains("\0", literal=True).fill_null(False))


def _list(series: pl.Series, column: Column) -> Cleaned:
    if series.dtype not in (pl.String, pl.Object) and not (series.dtype == pl.List(pl.String)):
        raise _unfit(series, column)
    raw = series.to_list()
    most, longest = column.most, column.longest
    literals = [array_literal(value, most, longest) if type(value) is str else _literal(value, most, longest) for value in raw]
    values = pl.Series(literals, dtype=pl.String)
    if not any(literal is None for literal in literals):
        return Cleaned(values, _none_bad(values))
    given = pl.Series([not (value is None or value == "") for value in raw], dtype=pl.Boolean)
    return Cleaned(values, values.is_null() & given)


@lru_cache(maxsize=65_536)
def array_literal(text: str, most: int, longest: int) -> str | None:
    """PostgreSQL's literal for a JSON array of texts or texts separated by `;`; None for none, for a broken array, and for more
    than `most` texts or one of more than `longest` characters. Empty texts among them are none."""
    if not text.startswith("["):
        return _literal([part.strip() for part in text.split(";")], most, longest) if text else None
    try:
        return _literal(_TEXTS.decode(text), most, longest)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _literal(values: Sequence[str | None] | None, most: int, longest: int) -> str | None:
    """None too for a NUL or a null among the texts, which PostgreSQL cannot or the profile may not hold."""
    if values is None:
        return None
    texts = [value for value in values if value]
    if not texts:
        return None if None in values else "{}"
    if None in values or len(texts) > most or max(map(len, texts)) > longest:
        return None
    joined = '","'.join(texts)
    if "\\" in joined or joined.count('"') != 2 * (len(texts) - 1):
        joined = '","'.join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return None if "\0" in joined else f'{{"{joined}"}}'


def _instant(series: pl.Series, column: Column) -> Cleaned:
    if isinstance(series.dtype, pl.Datetime):
        zoned = series.dt.replace_time_zone("UTC") if series.dtype.time_zone is None else series
        return _within_years(zoned.cast(pl.Datetime("us")).cast(pl.Int64), series.is_not_null())
    if series.dtype == pl.Date:
        return _within_years(series.cast(pl.Datetime("us")).cast(pl.Int64), series.is_not_null())
    if series.dtype.is_numeric():
        series = series.fill_nan(None) if series.dtype.is_float() else series
        return _within_years(_from_epoch(series.cast(pl.Float64)), series.is_not_null())
    text = _stripped(series, column)
    values = _parsed(text)
    left = values.is_null() & text.is_not_null()
    if left.any():
        values = values.fill_null(_from_epoch(text.cast(pl.Float64, strict=False)))
    return _within_years(values, text.is_not_null())


def _parsed(text: pl.Series) -> pl.Series:
    """ISO 8601 texts as microseconds since 1970; later forms are tried only while something is left. No zone is UTC."""
    values = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(text))
    for form in (*_ZONED, *_UNZONED, "%Y-%m-%d"):
        left = text if values.null_count() == len(values) else pl.select(pl.when(values.is_null()).then(text)).to_series()
        if left.null_count() == len(left):
            break
        if form == "%Y-%m-%d":
            found = left.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        else:
            zone = "UTC" if form in _ZONED else None
            found = left.str.to_datetime(form, strict=False, time_unit="us", time_zone=zone)
        values = values.fill_null(found.cast(pl.Int64))
    return values


def _from_epoch(seconds: pl.Series) -> pl.Series:
    """Microseconds since 1970; null where that is no time. Doubles are exact to the microsecond until the year 2255."""
    micros = (seconds * 1e6).round()
    return pl.select(pl.when(micros.is_between(EARLIEST_US, LATEST_US)).then(micros)).to_series().cast(pl.Int64)


def _within_years(micros: pl.Series, given: pl.Series) -> Cleaned:
    fits = micros.is_between(EARLIEST_US, LATEST_US).fill_null(False)
    if fits.all():
        return Cleaned(micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), ~fits)
    values = pl.select(pl.when(fits).then(micros)).to_series()
    return Cleaned(values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), ~fits & given)


def _stripped(series: pl.Series, column: Column) -> pl.Series:
    return _empty_is_none(_strings(series, column).str.strip_chars())


def _strings(series: pl.Series, column: Column) -> pl.Series:
    if series.dtype != pl.String:
        raise _unfit(series, column)
    return series


def _empty_is_none(series: pl.Series) -> pl.Series:
    return pl.select(pl.when(series != "").then(series)).to_series()


def _none_bad(series: pl.Series) -> pl.Series:
    return pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(series))


def _unfit(series: pl.Series, column: Column) -> ImportRefused:
    return ImportRefused(f"the column {column.name} holds {series.dtype}, and its values {column.rule}")


_CLEANERS = {"whole": _whole, "number": _number, "text": _text, "list": _list, "instant": _instant}
