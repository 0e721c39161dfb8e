"""Bitmaps of what people are: one for each frequent value, one for each bound of a number.

Made once, when a base is loaded. A question then joins a few of them, whatever the number of people who pass.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.population.bits import Mask, Words, by_word, mark, n_words, pack, rows_of

Numbers = NDArray[np.floating[Any]]

MAX_EXACT_LEVELS = 128
"""Distinct values up to which every bound has its bitmap: all ages have, at 16 bytes a person for 128 of them."""

_SPARSE = 64
"""A value that fewer than one row in 64 has is kept as a list of rows, which is at most half as large as its bitmap."""

_PATCH_ROWS = 3
"""Where a listed value has so many rows or more in each word of the bitmap that it touches, the words are kept, 12 bytes each,
and not the rows, 4 each. Rows are in the order of places, and so are cities: 230 of 300 are joined in 0.3 ms at 10,000,000 rows,
where row by row takes 18."""

_CHUNK_ROWS = 1 << 16
"""Rows compared with all bounds at a time: 256 KB of float32 stay in the second-level cache meanwhile."""

_PART_ROWS = 1 << 18
"""Rows whose codes are sorted at a time: a third faster than all at once, and it needs 30 MB, not 100 bytes a person."""

_SAMPLE = 1 << 16
"""Values from which quantiles are taken: they need not be exact, only to part the rows evenly."""


class Categories:
    """Who has which of many codes, one code a row or several. Codes outside [0, n_codes), -1 for unknown say, nobody has."""

    def __init__(self, codes: NDArray[np.integer], n_rows: int, starts: NDArray[np.integer] | None = None) -> None:
        """`codes` (n_rows,), or with `starts` (n_rows + 1,) several a row, each once: `codes[starts[r]:starts[r + 1]]`."""
        self._n_rows = n_rows
        self._n_by_code: NDArray[np.int64] = np.bincount(codes[codes >= 0]) if len(codes) else np.zeros(0, np.int64)
        self._is_listed = self._n_by_code * _SPARSE < n_rows
        self._bitmaps = {code: np.zeros(n_words(n_rows), np.uint64) for code in np.flatnonzero(~self._is_listed).tolist()}
        self._starts = np.concatenate(([0], np.cumsum(np.where(self._is_listed, self._n_by_code, 0))))
        self._rows = np.empty(self._starts[-1], np.int32)
        filled = self._starts[:-1].copy()
        for first in range(0, n_rows, _PART_ROWS):
            last = min(first + _PART_ROWS, n_rows)
            rows = np.arange(first, last, dtype=np.int32)
            if starts is None:
                self._take_in(codes[first:last], rows, filled)
            else:
                rows = np.repeat(rows, np.diff(starts[first : last + 1]))
                self._take_in(codes[starts[first] : starts[last]], rows, filled)
        self._patches = self._patched() if starts is None else {}
        self._without = pack(codes < 0) if starts is None and (codes < 0).any() else None

    @property
    def n_codes(self) -> int:
        """One more than the largest code that somebody has."""
        return len(self._n_by_code)

    def any_of(self, codes: Iterable[int]) -> Words:
        """Rows that have one of `codes`. Not to be written to: it may be one of those kept."""
        wanted = {int(code) for code in codes if 0 <= code < self.n_codes}
        bitmaps = [self._bitmaps[code] for code in wanted if code in self._bitmaps]
        patches = [self._patches[code] for code in wanted if code in self._patches]
        lists = [self._list(code) for code in wanted if code not in self._bitmaps and code not in self._patches]
        if len(bitmaps) == 1 and not (lists or patches):
            return bitmaps[0]
        found = self._listed(lists)
        for bitmap in bitmaps:
            found |= bitmap
        for at, words in patches:
            found[at] |= words
        return found

    def accepted(self, accepted: Mask) -> Words:
        """Rows whose code is accepted, bool (n,) by code, and those without one. For one code a row.

        Joins whichever are fewer: the codes accepted or the others. Codes beyond `accepted` are not accepted. Padding may be set.
        """
        table = np.zeros(self.n_codes, np.bool_)
        table[: len(accepted)] = accepted[: self.n_codes]
        wanted = np.flatnonzero(table & (self._n_by_code > 0))
        others = np.flatnonzero(~table & (self._n_by_code > 0))
        if len(others) <= len(wanted):
            return ~self.any_of(others.tolist())
        found = self.any_of(wanted.tolist())
        return found if self._without is None else found | self._without

    def _list(self, code: int) -> NDArray[np.int32]:
        return self._rows[self._starts[code] : self._starts[code + 1]]

    def _patched(self) -> dict[int, tuple[NDArray[np.int32], Words]]:
        """By code, where rows lie close together: the words that they touch, ascending, and what they set there. Their lists
        go."""
        patches: dict[int, tuple[NDArray[np.int32], Words]] = {}
        for code in np.flatnonzero(np.diff(self._starts) >= _PATCH_ROWS).tolist():
            rows = self._list(code)
            if _PATCH_ROWS * (1 + np.count_nonzero(np.diff(rows >> 6))) <= len(rows):
                at, words = by_word(rows)
                patches[code] = (at.astype(np.int32), words)
        n_rows = np.diff(self._starts)
        is_left = np.ones(len(n_rows), np.bool_)
        is_left[list(patches)] = False
        self._rows = self._rows[np.repeat(is_left, n_rows)]
        self._starts = np.concatenate(([0], np.cumsum(np.where(is_left, n_rows, 0))))
        return patches

    def _listed(self, lists: Sequence[NDArray[np.int32]]) -> Words:
        """Rows in any of the lists. Beyond one row in 64, marking bytes and packing them is faster than joining bits of words."""
        if sum(map(len, lists)) * _SPARSE < self._n_rows:
            words = np.zeros(n_words(self._n_rows), np.uint64)
            for rows in lists:
                mark(words, rows)
            return words
        flags = np.zeros(self._n_rows, np.bool_)
        for rows in lists:
            flags[rows] = True
        return pack(flags)

    def _take_in(self, codes: NDArray[np.integer], rows: NDArray[np.int32], filled: NDArray[np.int64]) -> None:
        """Add some rows: a code and a row for each entry, rows ascending. `filled`: where each code's list goes on."""
        order = _order_of(codes)
        rows = rows[order]
        n_by_code = np.bincount(codes[codes >= 0], minlength=self.n_codes)
        ends = np.cumsum(n_by_code) + (len(codes) - int(n_by_code.sum()))
        for code, bitmap in self._bitmaps.items():
            mark(bitmap, rows[ends[code] - n_by_code[code] : ends[code]])
        n_listed = np.where(self._is_listed, n_by_code, 0)
        before = np.cumsum(n_listed) - n_listed
        listed = rows[ends[-1] - int(n_by_code.sum()) :][np.repeat(self._is_listed, n_by_code)] if len(ends) else rows[:0]
        self._rows[np.repeat(filled - before, n_listed) + np.arange(len(listed))] = listed
        filled += n_listed


class Cumulative:
    """Who has a number of at least t, for every t that occurs; with more than 128 of these, for some of them, and the rows
    between two are looked up. NaN is unknown. Always exactly what comparing `values` gives.

    What is returned is not to be written to: it may be one of the bitmaps kept. In `not_below` and `not_above` padding is set.
    """

    def __init__(self, values: Numbers) -> None:
        self._levels, self._is_exact = levels(values, MAX_EXACT_LEVELS)
        self._values = values[:0].copy() if self._is_exact else values
        self._planes = planes_at_least(values, self._levels)
        self._nobody = np.zeros(n_words(len(values)), np.uint64)
        self._unknown = ~self.known
        self._all_known = not np.isnan(values).any()

    @property
    def known(self) -> Words:
        """Rows whose number is known."""
        return self._plane(0)

    def at_least(self, bound: float) -> Words:
        """Rows of at least `bound`."""
        limit = self._values.dtype.type(bound)
        plane = int(np.searchsorted(self._levels, limit, side="left"))
        if self._is_exact or plane == 0 or (plane < len(self._levels) and self._levels[plane] == limit):
            return self._plane(plane)
        rows = self._between(plane)
        return self._with(plane, rows[self._values[rows] >= limit])

    def above(self, bound: float) -> Words:
        """Rows of more than `bound`."""
        limit = self._values.dtype.type(bound)
        plane = int(np.searchsorted(self._levels, limit, side="right"))
        if self._is_exact or plane == 0:
            return self._plane(plane)
        rows = self._between(plane)
        return self._with(plane, rows[self._values[rows] > limit])

    def at_most(self, bound: float) -> Words:
        """Rows of at most `bound`."""
        return self.known & ~self.above(bound)

    def not_below(self, bound: float) -> Words:
        """Rows of at least `bound`, and the unknown."""
        return self.at_least(bound) if self._all_known else self.at_least(bound) | self._unknown

    def not_above(self, bound: float) -> Words:
        """Rows of at most `bound`, and the unknown."""
        return ~self.above(bound)

    def _plane(self, at: int) -> Words:
        return self._planes[at] if at < len(self._planes) else self._nobody

    def _between(self, plane: int) -> NDArray[np.int64]:
        return rows_of(self._plane(plane - 1) & ~self._plane(plane))

    def _with(self, plane: int, rows: NDArray[np.int64]) -> Words:
        words = self._plane(plane).copy()
        mark(words, rows)
        return words


def levels(values: Numbers, most: int) -> tuple[Numbers, bool]:
    """The distinct known values, ascending, and True; or when there are more than `most`, about `most` of their quantiles, with
    -inf in front so that nobody is below the first, and False."""
    found = np.empty(0, values.dtype)
    for start in range(0, len(values), _CHUNK_ROWS):
        chunk = np.unique(values[start : start + _CHUNK_ROWS])
        found = np.union1d(found, chunk[~np.isnan(chunk)])
        if len(found) > most:
            break
    else:
        return found, True
    sample = np.sort(values[:: len(values) // _SAMPLE + 1])
    sample = sample[~np.isnan(sample)]
    if not len(sample):
        sample = found
    steps = np.unique(sample[np.linspace(0, len(sample) - 1, most - 1).astype(np.int64)])
    return np.unique(np.concatenate((np.array([-np.inf], values.dtype), steps))), False


def planes_at_least(values: Numbers, thresholds: Numbers) -> NDArray[np.uint64]:
    """The bitmap of `values >= threshold` for each threshold, uint64 (len(thresholds), n_words): 80 for a million in 20 ms."""
    planes = np.zeros((len(thresholds), n_words(len(values))), np.uint64)
    octets = planes.view(np.uint8)
    for start in range(0, len(values), _CHUNK_ROWS):
        chunk = np.ascontiguousarray(values[start : start + _CHUNK_ROWS])
        for plane, threshold in zip(octets, thresholds, strict=True):
            packed = np.packbits(chunk >= threshold, bitorder="little")
            plane[start // 8 : start // 8 + len(packed)] = packed
    return planes


def _order_of(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The stable order of codes of at least -1, by 16 bits at a time: numpy sorts these in linear time, 5 million in 0.1 s."""
    shifted = codes.astype(np.uint32) + np.uint32(1)
    order = np.argsort(shifted.astype(np.uint16), kind="stable")
    if len(codes) and shifted.max() > np.iinfo(np.uint16).max:
        order = order[np.argsort((shifted >> np.uint32(16)).astype(np.uint16)[order], kind="stable")]
    return order
