"""The two file formats that import reads and export writes: their columns and what each may hold."""

from typing import Literal

import msgspec

FileKind = Literal["people", "interactions"]
Holds = Literal["whole", "number", "text", "list", "instant"]

AGE_RULE = "must be a whole number from 18 to 120"
ID_RULE = "must be a whole number from 1 to 9223372036854775807"
INSTANT_RULE = "must be an ISO 8601 time or epoch seconds, within the years 1 to 9999"
LIST_RULE = "must be a JSON array of texts, or texts separated by ;"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column; `rule` completes the sentence `<name> <rule>` for a value that breaks it. Bounds are inclusive."""

    name: str
    holds: Holds
    rule: str = "must be text"
    low: float = float("-inf")
    high: float = float("inf")
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


def _id(name: str) -> Column:
    return Column(name=name, holds="whole", rule=ID_RULE, low=1, high=2**63 - 1, required=True)


def _age(name: str) -> Column:
    return Column(name=name, holds="whole", rule=AGE_RULE, low=18, high=120)


def _instant(name: str, required: bool = False) -> Column:
    return Column(name=name, holds="instant", rule=INSTANT_RULE, required=required)


PEOPLE = Layout(
    "people",
    (
        _id("id"),
        Column(name="name", holds="text", required=True),
        _age("age"),
        Column(name="gender", holds="text"),
        Column(name="location", holds="text"),
        Column(name="latitude", holds="number", rule="must be a number from -90 to 90", low=-90, high=90),
        Column(name="longitude", holds="number", rule="must be a number from -180 to 180", low=-180, high=180),
        Column(name="bio", holds="text"),
        Column(name="interests", holds="list", rule=LIST_RULE),
        _instant("created_at"),
        _instant("last_active_at"),
        Column(name="seeks_genders", holds="list", rule=LIST_RULE),
        _age("seeks_min_age"),
        _age("seeks_max_age"),
        Column(name="seeks_max_km", holds="number", rule="must be a number above 0", low=5e-324),
        Column(name="status", holds="text"),
    ),
)

INTERACTIONS = Layout(
    "interactions",
    (
        _id("actor_id"),
        _id("target_id"),
        Column(name="kind", holds="text", required=True),
        _instant("occurred_at", required=True),
        Column(name="event_id", holds="text"),
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
