"""Everyone's attributes, column by column: a base that does not change, and rows appended since.

Rows below `n_base` come from a bundle, mapped and shared between processes, or from a load of the database. A changed profile
gets a row of its own, so that vectors and rows stay aligned. What changes without a new row is held in memory: counts, and
when somebody was last active.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.population.table import STORED, Interests, Table, spans

Rows = NDArray[np.int64]
Codes = NDArray[np.int32]

COUNTS = ("n_likes_received", "n_passes_received", "n_likes_given", "n_passes_given")
MUTABLE = (*COUNTS, "last_active_at_s")


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
        # Starts and lengths, (n_added, 2), in the codes beside them: replaced together, so that a thread reads what fits.
        self._said = (np.zeros((0, 2), np.int64), np.zeros(0, np.int32))
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
        return self.gather((name,), rows)[name]

    def gather(self, names: Iterable[str], rows: Rows) -> dict[str, NDArray[Any]]:
        """Several columns of the same rows, by name."""
        in_base = rows < self.n_base
        if in_base.all():
            return {name: self._base[name].take(rows, axis=0).astype(_dtype(name), copy=False) for name in names}
        base, added = rows[in_base], rows[~in_base] - self.n_base
        gathered = {}
        for name in names:
            gathered[name] = found = np.empty((len(rows), *self._base[name].shape[1:]), _dtype(name))
            found[in_base] = self._base[name][base]
            found[~in_base] = self._added[name][added]
        return gathered

    def value(self, name: str, row: int) -> Any:
        """The value of one row of either part."""
        column, place = (self._base, row) if row < self.n_base else (self._added, row - self.n_base)
        return column[name].item(place)

    def interests_of(self, rows: Rows) -> tuple[Codes, Rows, Rows]:
        """(codes, starts, lengths): row i of `rows` has `codes[starts[i]:starts[i] + lengths[i]]`."""
        in_base = rows < self.n_base
        all_spans, all_codes = self._said
        base, added = rows[in_base], all_spans[rows[~in_base] - self.n_base]
        base_starts = self.base_interests.starts[base].astype(np.int64)
        base_lengths = self.base_interests.starts[base + 1].astype(np.int64) - base_starts
        parts = (
            spans(self.base_interests.codes, base_starts, base_lengths),
            spans(all_codes, added[:, 0], added[:, 1]),
        )
        starts, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        starts[in_base], lengths[in_base] = parts[0][1:]
        starts[~in_base], lengths[~in_base] = parts[1][1] + len(parts[0][0]), parts[1][2]
        return np.concatenate((parts[0][0], parts[1][0])), starts, lengths

    def named_by(self, rows: Rows) -> tuple[Codes, Rows, Rows]:
        """As `interests_of`, but perhaps within the codes of everyone: 20 µs for 500 rows of the base, where copies take 60."""
        if not (rows < self.n_base).all():
            return self.interests_of(rows)
        starts = self.base_interests.starts.take(rows)
        return self.base_interests.codes, starts, self.base_interests.starts.take(rows + 1) - starts

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
        if last - self.n_base > len(self._said[0]):
            self._added = {name: _grown(array, last - self.n_base) for name, array in self._added.items()}
            self._said = (_grown(self._said[0], last - self.n_base), self._said[1])
        self.n = last
        return np.arange(first, last)

    def fill(self, rows: Rows, table: Table) -> None:
        """Write people into appended rows, counts aside. Searches may be reading in other threads, so it is shown last."""
        places = rows - self.n_base
        self._added["shown"][places] = False
        for name, column in table.values.items():
            self._added[name][places] = column
        codes, lengths = table.interests.codes, np.diff(table.interests.starts)
        if self._n_codes + len(codes) > len(self._said[1]):
            self._make_room(len(codes))
        where, said = self._said
        said[self._n_codes : self._n_codes + len(codes)] = codes
        where[places] = np.stack((self._n_codes + table.interests.starts[:-1], lengths), axis=1)
        self._n_codes += len(codes)
        self._added["shown"][places] = table.values["active"]

    def _make_room(self, n_codes: int) -> None:
        """Interests anew, without those that nobody has any more, and with room for as many again and `n_codes`."""
        where, codes = self._said
        kept, starts, lengths = spans(codes, where[:, 0], where[:, 1])
        room = np.zeros(2 * len(kept) + n_codes + 64, np.int32)
        room[: len(kept)] = kept
        self._n_codes = len(kept)
        self._said = (np.stack((starts, lengths), axis=1), room)

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


def _dtype(name: str) -> type[np.generic]:
    return STORED.get(name, np.int32)


def _grown(array: NDArray[Any], at_least: int) -> NDArray[Any]:
    """A copy with room for half as much again: n appends cost n copies in all, and readers keep the old array."""
    room = np.zeros((max(at_least, len(array) + len(array) // 2 + 64), *array.shape[1:]), array.dtype)
    room[: len(array)] = array
    return room
