"""The two file formats that import reads and export writes: their columns and what each may hold."""

import sys
from typing import Any, Literal

import msgspec
from msgspec.inspect import FloatType, IntType, Metadata, StrType, Type, VarTupleType, type_info

from service.bounds import Age, Bio, EventId, Interests, Latitude, Longitude, Name, SeeksGenders, SeeksKm, Word
from service.domain import PersonId

FileKind = Literal["people", "interactions"]
Holds = Literal["whole", "number", "text", "list", "instant"]

INSTANT_RULE = "must be an ISO 8601 time or epoch seconds, within the years 1970 to 9999"

UNBOUNDED = 2**32 - 1
"""The most characters that polars counts."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column; `rule` completes the sentence `<name> <rule>` for a value that breaks it. Bounds are inclusive: `low` and
    `high` of numbers, `longest` of a text, or of each of a list, in characters, `most` of how many are in a list."""

    name: str
    holds: Holds
    rule: str = "must be text"
    low: float = float("-inf")
    high: float = float("inf")
    longest: int = UNBOUNDED
    most: int = UNBOUNDED
    required: bool = False


class Layout(msgspec.Struct, frozen=True):
    """One kind of file, its columns in the order in which export writes them."""

    kind: FileKind
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


def _info(of: Any) -> Type:
    """The type with its bounds, without what is only said of it."""
    info = type_info(of)
    return info.type if isinstance(info, Metadata) else info


def _whole(name: str, of: Any, required: bool = False) -> Column:
    match _info(of):
        case IntType(ge=int(low), le=int(high)):
            rule = f"must be a whole number from {low} to {high}"
            return Column(name=name, holds="whole", rule=rule, low=low, high=high, required=required)
    raise TypeError(name)


def _number(name: str, of: Any) -> Column:
    match _info(of):
        case FloatType(ge=low, le=high) if low is not None and high is not None:
            return Column(name=name, holds="number", rule=f"must be a number from {low:g} to {high:g}", low=low, high=high)
        case FloatType(gt=0):
            return Column(name=name, holds="number", rule="must be a number above 0", low=5e-324, high=sys.float_info.max)
    raise TypeError(name)


def _text(name: str, of: Any, required: bool = False) -> Column:
    match _info(of):
        case StrType(max_length=int(longest)):
            return Column(name=name, holds="text", longest=longest, required=required)
    raise TypeError(name)


def _list(name: str, of: Any) -> Column:
    match _info(of):
        case VarTupleType(item_type=StrType(max_length=int(longest)), max_length=int(most)):
            rule = f"must be a JSON array of texts, or texts separated by ;, at most {most} of at most {longest} characters"
            return Column(name=name, holds="list", rule=rule, longest=longest, most=most)
    raise TypeError(name)


def _instant(name: str, required: bool = False) -> Column:
    return Column(name=name, holds="instant", rule=INSTANT_RULE, required=required)


PEOPLE = Layout(
    "people",
    (
        _whole("id", PersonId, required=True),
        _text("name", Name, required=True),
        _whole("age", Age),
        _text("gender", Word),
        _text("location", Word),
        _number("latitude", Latitude),
        _number("longitude", Longitude),
        _text("bio", Bio),
        _list("interests", Interests),
        _instant("created_at"),
        _instant("last_active_at"),
        _list("seeks_genders", SeeksGenders),
        _whole("seeks_min_age", Age),
        _whole("seeks_max_age", Age),
        _number("seeks_max_km", SeeksKm),
        Column(name="status", holds="text"),
    ),
)

INTERACTIONS = Layout(
    "interactions",
    (
        _whole("actor_id", PersonId, required=True),
        _whole("target_id", PersonId, required=True),
        Column(name="kind", holds="text", required=True),
        _instant("occurred_at", required=True),
        _text("event_id", EventId),
    ),
)


def problems_of(layout: Layout, names: list[str]) -> list[str]:
    """What is wrong with a file's columns: missing, unknown or named twice; nothing when the list is empty."""
    unknown = [name for name in names if name not in layout.names]
    missing = [name for name in layout.required if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [
        *([f"the column{_s(missing)} {', '.join(missing)} {_are(missing)} missing"] if missing else []),
        *([f"the column{_s(unknown)} {', '.join(map(repr, unknown))} {_are(unknown)} unknown"] if unknown else []),
        *([f"the column{_s(twice)} {', '.join(twice)} {_are(twice)} there twice"] if twice else []),
    ]


def _s(names: list[str]) -> str:
    return "" if len(names) == 1 else "s"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
