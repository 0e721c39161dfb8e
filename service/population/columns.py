"""Everyone's attributes, column by column: a base that does not change, and rows appended since.

Rows below `n_base` come from a bundle, mapped and shared between processes, or from a load of the database. A changed profile
gets a row of its own, so that vectors and rows stay aligned. What changes without a new row is held in memory: counts, and
when somebody was last active.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile, Status
from service.features.geography import squared_chord_of_km, unit_vectors
from service.population.vocabulary import UNKNOWN, Vocabularies

Rows = NDArray[np.int64]
Codes = NDArray[np.int32]

STORED: dict[str, type[np.generic]] = {
    "id": np.int64,
    "age": np.float32,
    "gender": np.int32,
    "location": np.int32,
    "place": np.float64,
    "seeks_genders": np.int32,
    "seeks_min_age": np.float32,
    "seeks_max_age": np.float32,
    "seeks_max_chord": np.float64,
    "active": np.bool_,
    "incarnation": np.int32,
    "created_at_s": np.float64,
    "last_active_at_s": np.float64,
    "n_said": np.int8,
}
"""`place` is (n, 3) on the unit sphere and `seeks_max_chord` a squared chord of it, both float64: kilometres must come out as
they do for one pair, to the metre, or a pair at the very edge of a preference would be judged differently by the mask and by
the rule for one pair. `n_said` counts what a profile tells, of N_SAYABLE things."""

COUNTS = ("n_likes_received", "n_passes_received", "n_likes_given", "n_passes_given")
MUTABLE = (*COUNTS, "last_active_at_s")
N_SAYABLE = 6

_NAN = float("nan")
_INF = float("inf")


class Interests:
    """Interest codes by row, compressed: row r has `codes[starts[r]:starts[r + 1]]`, sorted. `starts`: int (n + 1,)."""

    def __init__(self, starts: NDArray[Any], codes: NDArray[Any]) -> None:
        self.starts = starts
        self.codes = codes


class Table:
    """Profiles as columns: `values` by the names of STORED, n rows each, and their interests."""

    def __init__(self, values: dict[str, NDArray[Any]], interests: Interests) -> None:
        self.values = values
        self.interests = interests

    @classmethod
    def of(cls, profiles: Sequence[Profile], words: Vocabularies) -> Self:
        """Profiles in the order given. Texts never seen before get codes. About 8 µs a person."""
        # A sixth of the time, one by one: most seek the same.
        seeks = {sought: words.seeks.add(sought) for sought in dict.fromkeys(profile.seeks_genders for profile in profiles)}
        rows = [_attributes(profile, words, seeks[profile.seeks_genders]) for profile in profiles]
        raw = dict(zip(_ATTRIBUTES, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(_ATTRIBUTES, ())
        latitude, longitude = (np.array(raw.pop(name), np.float64) for name in ("latitude", "longitude"))
        values = {name: np.array(column, STORED[name]) for name, column in raw.items() if name in STORED}
        values["place"] = unit_vectors(latitude, longitude).reshape(-1, 3)
        values["seeks_max_chord"] = squared_chord_of_km(np.array(raw["seeks_max_km"], np.float64))
        codes = [_interest_codes(profile, words) for profile in profiles]
        starts = np.zeros(len(codes) + 1, np.int64)
        np.cumsum([len(each) for each in codes], out=starts[1:])
        flat = np.fromiter(chain.from_iterable(codes), np.int32, int(starts[-1]))
        return cls(values, Interests(starts, flat))

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> Self:
        """Tables one after another; at least one."""
        values = {name: np.concatenate([table.values[name] for table in tables]) for name in STORED}
        lengths = np.concatenate([np.diff(table.interests.starts) for table in tables])
        starts = np.append(0, np.cumsum(lengths))
        return cls(values, Interests(starts, np.concatenate([table.interests.codes for table in tables])))

    def ordered(self, order: Rows) -> Self:
        """The same people in another order."""
        codes, starts, lengths = _spans(self.interests.codes, self.interests.starts[order], np.diff(self.interests.starts)[order])
        values = {name: column[order] for name, column in self.values.items()}
        return type(self)(values, Interests(np.append(starts, lengths.sum()), codes))


class Columns:
    """`base(name)` are the rows below `n_base`, `added(name)` those appended since; `take` gathers from both.

    Names are those of STORED and COUNTS.
    """

    def __init__(self, base: Mapping[str, NDArray[Any]], interests: Interests) -> None:
        """`base`: by name, n rows each, of any narrower dtype; copied are only the MUTABLE ones."""
        self.n_base = self.n = len(base["id"])
        self.base_interests = interests
        self._base = {name: np.asarray(column) for name, column in base.items()}
        for name in MUTABLE:
            self._base[name] = np.array(base[name], _dtype(name))
        self._added = {name: np.zeros((0, *self._base[name].shape[1:]), _dtype(name)) for name in (*STORED, *COUNTS)}
        self._added["shown"] = np.zeros(0, np.bool_)
        self._spans = np.zeros((0, 2), np.int64)
        self._codes = np.zeros(0, np.int32)
        self._n_codes = 0

    @property
    def n_added(self) -> int:
        return self.n - self.n_base

    def base(self, name: str) -> NDArray[Any]:
        """A column of the base. Writing to it is for MUTABLE ones alone."""
        return self._base[name]

    def added(self, name: str) -> NDArray[Any]:
        """A column of the appended rows, `shown` among them: active, not superseded by a later row, not erased."""
        return self._added[name][: self.n_added]

    def take(self, name: str, rows: Rows) -> NDArray[Any]:
        """Values of rows of either part, in the dtype of STORED."""
        in_base = rows < self.n_base
        if in_base.all():
            return self._base[name][rows].astype(_dtype(name), copy=False)
        found = np.empty((len(rows), *self._base[name].shape[1:]), _dtype(name))
        found[in_base] = self._base[name][rows[in_base]]
        found[~in_base] = self._added[name][rows[~in_base] - self.n_base]
        return found

    def value(self, name: str, row: int) -> Any:
        """The value of one row of either part."""
        column, place = (self._base, row) if row < self.n_base else (self._added, row - self.n_base)
        return column[name].item(place)

    def interests_of(self, rows: Rows) -> tuple[Codes, Rows, Rows]:
        """(codes, starts, lengths): row i of `rows` has `codes[starts[i]:starts[i] + lengths[i]]`."""
        in_base = rows < self.n_base
        base, added = rows[in_base], self._spans[rows[~in_base] - self.n_base]
        base_starts = self.base_interests.starts[base].astype(np.int64)
        base_lengths = self.base_interests.starts[base + 1].astype(np.int64) - base_starts
        # Spans are read before codes: codes are only ever added, so that spans never reach beyond them.
        parts = (
            _spans(self.base_interests.codes, base_starts, base_lengths),
            _spans(self._codes, added[:, 0], added[:, 1]),
        )
        starts, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        starts[in_base], lengths[in_base] = parts[0][1:]
        starts[~in_base], lengths[~in_base] = parts[1][1] + len(parts[0][0]), parts[1][2]
        return np.concatenate((parts[0][0], parts[1][0])), starts, lengths

    def at_present(self) -> "Columns":
        """The rows there are now, for a reader in another thread: rows appended later do not show in it."""
        return copy(self)

    def twin(self) -> "Columns":
        """The same people, with MUTABLE columns of its own."""
        other = copy(self)
        other._base = self._base | {name: self._base[name].copy() for name in MUTABLE}
        return other

    def reserve(self, n_more: int) -> Rows:
        """New last rows, shown to nobody until `fill` has written them."""
        first, last = self.n, self.n + n_more
        if last - self.n_base > len(self._spans):
            self._added = {name: _grown(array, last - self.n_base) for name, array in self._added.items()}
            self._spans = _grown(self._spans, last - self.n_base)
        self.n = last
        return np.arange(first, last)

    def fill(self, rows: Rows, table: Table) -> None:
        """Write people into appended rows, counts aside. Searches may be reading in other threads, so it is shown last."""
        places = rows - self.n_base
        self._added["shown"][places] = False
        for name, column in table.values.items():
            self._added[name][places] = column
        codes, lengths = table.interests.codes, np.diff(table.interests.starts)
        if self._n_codes + len(codes) > len(self._codes):
            self._codes = _grown(self._codes, self._n_codes + len(codes))
        self._codes[self._n_codes : self._n_codes + len(codes)] = codes
        self._spans[places] = np.stack((self._n_codes + table.interests.starts[:-1], lengths), axis=1)
        self._n_codes += len(codes)
        self._added["shown"][places] = table.values["active"]

    def set(self, name: str, rows: Rows, values: NDArray[Any]) -> None:
        """Write a MUTABLE column of rows of either part, each row once."""
        in_base = rows < self.n_base
        self._base[name][rows[in_base]] = values[in_base]
        self._added[name][rows[~in_base] - self.n_base] = values[~in_base]

    def add(self, name: str, rows: Rows, steps: NDArray[Any]) -> None:
        """Add to a MUTABLE column of rows of either part; a row may come several times."""
        in_base = rows < self.n_base
        np.add.at(self._base[name], rows[in_base], steps[in_base])
        np.add.at(self._added[name], rows[~in_base] - self.n_base, steps[~in_base])

    def hide_added(self, rows: Rows) -> None:
        """Show these appended rows to nobody any more."""
        self._added["shown"][rows - self.n_base] = False


class Part(Mapping[str, NDArray[Any]]):
    """The columns of one part of the rows, as masks read them: also `interest_starts` (n + 1,) and `interests`."""

    def __init__(self, columns: Columns, added: bool) -> None:
        self._columns = columns
        self._is_added = added

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in ("interest_starts", "interests"):
            return self._interests(name)
        return self._columns.added(name) if self._is_added else self._columns.base(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*STORED, *COUNTS, "interest_starts", "interests"))

    def __len__(self) -> int:
        return len(STORED) + len(COUNTS) + 2

    def _interests(self, name: str) -> NDArray[Any]:
        if not self._is_added:
            return self._columns.base_interests.starts if name == "interest_starts" else self._columns.base_interests.codes
        codes, starts, lengths = self._columns.interests_of(np.arange(self._columns.n_base, self._columns.n))
        return codes if name == "interests" else np.append(starts, lengths.sum())


def completeness(profile: Profile) -> float:
    """Share of the N_SAYABLE things a profile may say: age, gender, location, place, bio, interests."""
    return _n_said(profile) / N_SAYABLE


def seconds(moment: datetime | None) -> float:
    """Seconds since 1970; NaN for None."""
    return _NAN if moment is None else moment.timestamp()


_ATTRIBUTES = (
    *(name for name in STORED if name not in ("place", "seeks_max_chord")),
    "latitude",
    "longitude",
    "seeks_max_km",
)


def _attributes(profile: Profile, words: Vocabularies, seeks: int) -> tuple[float | int | bool, ...]:
    """The values of _ATTRIBUTES for one profile, in their order."""
    return (
        profile.id,
        _NAN if profile.age is None else profile.age,
        UNKNOWN if profile.gender is None else words.genders.add(profile.gender),
        UNKNOWN if profile.location is None else words.locations.add(profile.location),
        seeks,
        -_INF if profile.seeks_min_age is None else profile.seeks_min_age,
        _INF if profile.seeks_max_age is None else profile.seeks_max_age,
        profile.status is Status.ACTIVE,
        profile.incarnation,
        profile.created_at.timestamp(),
        seconds(profile.last_active_at),
        _n_said(profile),
        _NAN if profile.latitude is None else profile.latitude,
        _NAN if profile.longitude is None else profile.longitude,
        _INF if profile.seeks_max_km is None else profile.seeks_max_km,
    )


def _interest_codes(profile: Profile, words: Vocabularies) -> list[int]:
    return sorted(set(map(words.interests.add, profile.interests)))


def _n_said(profile: Profile) -> int:
    said = (
        profile.age is not None,
        profile.gender is not None,
        profile.location is not None,
        profile.latitude is not None,
        bool(profile.bio),
        bool(profile.interests),
    )
    return sum(said)


def _dtype(name: str) -> type[np.generic]:
    return STORED.get(name, np.int32)


def _spans(codes: NDArray[Any], starts: Rows, lengths: Rows) -> tuple[Codes, Rows, Rows]:
    """Spans of `codes` copied one after another: the copies, their starts in them, and their lengths."""
    new_starts = np.cumsum(lengths) - lengths
    places = np.repeat(starts - new_starts, lengths) + np.arange(int(lengths.sum()))
    return codes[places].astype(np.int32, copy=False), new_starts, lengths


def _grown(array: NDArray[Any], at_least: int) -> NDArray[Any]:
    """A copy with room for half as much again: n appends cost n copies in all, and readers keep the old array."""
    room = np.zeros((max(at_least, len(array) + len(array) // 2 + 64), *array.shape[1:]), array.dtype)
    room[: len(array)] = array
    return room
