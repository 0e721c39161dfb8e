"""Everyone's attributes, column by column, with room to grow.

Rows below `n_base` come from a bundle or a load of the database; later rows were appended since. Single values change in
place (counts, whether a row is shown); a changed profile gets a row of its own, so that vectors and rows stay aligned.
The columns are copied to memory, about 110 bytes a person, so that they can change; vectors stay apart and immutable.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile, Status
from service.features.geography import squared_chord_of_km, unit_vectors
from service.population.vocabulary import UNKNOWN, Vocabularies

STORED: dict[str, type[np.generic]] = {
    "id": np.int64,
    "age": np.float32,
    "gender": np.int32,
    "location": np.int32,
    "latitude": np.float64,
    "longitude": np.float64,
    "seeks_genders": np.int32,
    "seeks_min_age": np.float32,
    "seeks_max_age": np.float32,
    "seeks_max_km": np.float64,
    "active": np.bool_,
    "incarnation": np.int32,
    "created_at_s": np.float64,
    "last_active_at_s": np.float64,
    "completeness": np.float32,
}
COUNTS = ("n_likes_received", "n_passes_received", "n_likes_given", "n_passes_given")
"""Places are float64: kilometres must come out as they do for one pair, to the metre, or a pair at the very edge of a
preference would be judged differently by the mask and by the rule for one pair."""

_NAN = float("nan")
_INF = float("inf")


class Columns:
    """Growable columns, read as `columns["age"]`: a view of the rows there are now.

    Derived ones: `place` float64 (n, 3) on the unit sphere, `seeks_max_chord` float64 (squared chord), `shown` bool: active
    and not superseded by a later row or erased. Interests of row r: `interests[interest_starts[r]:][:n_interests[r]]`.
    """

    def __init__(self, stored: Mapping[str, NDArray[Any]], counts: Mapping[str, NDArray[Any]], interests: "Interests") -> None:
        self.n = len(stored["id"])
        self.n_base = self.n
        capacity = self.n + max(1024, self.n // 16)
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, dtype in STORED.items():
            self._put(name, np.asarray(stored[name], dtype), capacity)
        for name in COUNTS:
            self._put(name, np.asarray(counts[name], np.int32), capacity)
        self._put("place", unit_vectors(self["latitude"], self["longitude"]), capacity)
        self._put("seeks_max_chord", squared_chord_of_km(self["seeks_max_km"]), capacity)
        self._put("shown", self["active"], capacity)
        self._put("interest_starts", np.asarray(interests.indptr[:-1], np.int64), capacity)
        self._put("n_interests", np.diff(interests.indptr).astype(np.int64), capacity)
        self._codes = np.array(interests.codes, np.int32)
        self._n_codes = len(self._codes)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self.n]

    def at_present(self) -> "Columns":
        """The rows there are now, for a reader in another thread: rows appended later do not show in it."""
        return copy(self)

    @property
    def interests(self) -> NDArray[np.int32]:
        """Interest codes of everyone, one after another."""
        return self._codes[: self._n_codes]

    def append(self, profile: Profile, counts: Sequence[int], words: Vocabularies) -> int:
        """A new last row for a profile; gives its number."""
        row = self.n
        self._reserve(row + 1)
        self.n = row + 1
        self._fill(row, profile, words)
        for name, value in zip(COUNTS, counts, strict=True):
            self._arrays[name][row] = value
        return row

    def replace(self, row: int, profile: Profile, words: Vocabularies) -> None:
        """Write another profile over a row that was appended; its counts stay."""
        self._fill(row, profile, words)

    def hide(self, row: int) -> None:
        """Show this row to nobody any more."""
        self._arrays["shown"][row] = False

    def _fill(self, row: int, profile: Profile, words: Vocabularies) -> None:
        self._arrays["shown"][row] = False  # until all of it is written: searches may be reading in other threads
        for (name, _), value in zip(STORED.items(), attributes(profile, words), strict=True):
            self._arrays[name][row] = value
        self._arrays["place"][row] = unit_vectors(self._arrays["latitude"][row], self._arrays["longitude"][row])
        self._arrays["seeks_max_chord"][row] = squared_chord_of_km(float(self._arrays["seeks_max_km"][row]))
        codes = interest_codes(profile, words)
        if self._n_codes + len(codes) > len(self._codes):
            self._codes = _grown(self._codes, self._n_codes + len(codes))
        self._codes[self._n_codes : self._n_codes + len(codes)] = codes
        self._arrays["n_interests"][row] = 0  # no reader ever sees a span that reaches beyond the codes
        self._arrays["interest_starts"][row] = self._n_codes
        self._arrays["n_interests"][row] = len(codes)
        self._n_codes += len(codes)
        self._arrays["shown"][row] = self._arrays["active"][row]

    def _put(self, name: str, values: NDArray[Any], capacity: int) -> None:
        room = np.zeros((capacity, *values.shape[1:]), values.dtype)
        room[: self.n] = values
        self._arrays[name] = room

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self._arrays["id"]):
            self._arrays = {name: _grown(array, n_rows) for name, array in self._arrays.items()}


class Interests:
    """Interest codes by row, compressed: row r has `codes[indptr[r]:indptr[r + 1]]`, sorted."""

    def __init__(self, indptr: NDArray[np.int64], codes: NDArray[np.int32]) -> None:
        self.indptr = indptr
        self.codes = codes


def attributes(profile: Profile, words: Vocabularies) -> tuple[float | int | bool, ...]:
    """The values of the STORED columns for one profile, in their order; unseen texts get codes."""
    return (
        profile.id,
        _NAN if profile.age is None else profile.age,
        UNKNOWN if profile.gender is None else words.genders.add(profile.gender),
        UNKNOWN if profile.location is None else words.locations.add(profile.location),
        _NAN if profile.latitude is None else profile.latitude,
        _NAN if profile.longitude is None else profile.longitude,
        words.seeks.add(profile.seeks_genders),
        -_INF if profile.seeks_min_age is None else profile.seeks_min_age,
        _INF if profile.seeks_max_age is None else profile.seeks_max_age,
        _INF if profile.seeks_max_km is None else profile.seeks_max_km,
        profile.status is Status.ACTIVE,
        profile.incarnation,
        profile.created_at.timestamp(),
        _seconds(profile.last_active_at),
        completeness(profile),
    )


def interest_codes(profile: Profile, words: Vocabularies) -> list[int]:
    """Codes of a profile's interests, sorted, without repetition."""
    return sorted({words.interests.add(interest) for interest in profile.interests})


def completeness(profile: Profile) -> float:
    """Share of the six things a profile may say: age, gender, location, place, bio, interests."""
    said = (
        profile.age is not None,
        profile.gender is not None,
        profile.location is not None,
        profile.latitude is not None,
        bool(profile.bio),
        bool(profile.interests),
    )
    return sum(said) / len(said)


def _seconds(moment: datetime | None) -> float:
    return _NAN if moment is None else moment.timestamp()


def _grown(array: NDArray[Any], at_least: int) -> NDArray[Any]:
    """A copy with room for half as much again: n appends cost n copies in all, and readers keep the old array."""
    room = np.zeros((max(at_least, len(array) + len(array) // 2 + 64), *array.shape[1:]), array.dtype)
    room[: len(array)] = array
    return room
