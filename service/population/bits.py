"""Sets of rows as bitmaps: what a mask is made of.

Row r is bit r % 64 of word r // 64. A bitmap is padded with zeros to whole blocks of 512 rows, so that block b is the words
[8 b, 8 b + 8) and `words.reshape(-1, 8)` has one line a block. A million rows are 125 KB: joining two takes about 5 µs.
The bytes of a word are read in the machine's order, which must be little-endian, as on every machine that numpy's wheels serve.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Octets = NDArray[np.uint8]

BLOCK_ROWS = 512
WORD_ROWS = 64
BLOCK_WORDS = BLOCK_ROWS // WORD_ROWS

_ONE = np.uint64(1)
_IN_WORD = np.uint64(WORD_ROWS - 1)


def n_words(n_rows: int) -> int:
    """Words of a bitmap over `n_rows` rows, whole blocks."""
    return -(-n_rows // BLOCK_ROWS) * BLOCK_WORDS


def pack(mask: Mask) -> Words:
    """The bitmap of a mask, bool (n,)."""
    words = np.zeros(n_words(len(mask)), np.uint64)
    packed = np.packbits(mask, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def unpack(words: Words, n_rows: int) -> Mask:
    """The first `n_rows` of a bitmap, bool (n_rows,)."""
    return np.unpackbits(words.view(np.uint8), count=n_rows, bitorder="little").view(np.bool_)


def count(words: Words) -> int:
    """How many rows are in the set: 15 µs for a million."""
    return int(np.add.reduce(np.bitwise_count(words), dtype=np.int32))


def rows_of(words: Words) -> Rows:
    """The rows in the set, ascending, int64: 20 µs for a hundred of a million, 130 µs for 15,000, 0.5 ms for most of them."""
    octets = words.view(np.uint8)
    if count(words) > len(octets):  # an eighth of the rows: numpy's search for bits is without branches then, and faster on all
        return np.flatnonzero(np.unpackbits(octets, bitorder="little").view(np.bool_))
    return _in(*_filled(octets))[1]


def sift(words: Words, passes: Callable[[Rows], Mask]) -> None:
    """Keep of the set, in place, those rows that pass: `passes` gets all, ascending, int64 (k,), and says which, bool (k,).

    It takes half as long as listing them and clearing those that fail, since the octets that hold them are found once.
    """
    octets = words.view(np.uint8)
    filled, flags = _filled(octets)
    at, rows = _in(filled, flags)
    flags[at] = passes(rows)
    octets[filled] = np.packbits(flags, bitorder="little")


def _filled(octets: Octets) -> tuple[Rows, Mask]:
    """Where octets are not empty, int64 (k,), and their bits, bool (8 k,)."""
    filled = (octets != 0).nonzero()[0]  # of numbers instead of truths numpy finds them four times as slowly
    return filled, np.unpackbits(octets.take(filled), bitorder="little").view(np.bool_)


def _in(filled: Rows, flags: Mask) -> tuple[Rows, Rows]:
    """Which of the bits of filled octets are set, and which rows these are."""
    at = flags.nonzero()[0]
    return at, (filled << 3).take(at >> 3) + (at & 7)


def test(words: Words, rows: NDArray[np.integer]) -> Mask:
    """Which of `rows`, integers (k,), are in the set, bool (k,)."""
    octets = words.view(np.uint8).take(rows >> 3)
    return np.asarray((octets >> (rows & 7).astype(np.uint8)) & 1, np.uint8).view(np.bool_)


def mark(words: Words, rows: ArrayLike) -> None:
    """Put rows into the set, in place; in any order, and repeated ones too."""
    at, bits = by_word(np.asarray(rows))
    words[at] |= bits


def clear(words: Words, rows: ArrayLike) -> None:
    """Take rows out of the set, in place; in any order, and repeated ones too."""
    at, bits = _split(np.asarray(rows))
    np.bitwise_and.at(words, at, ~bits)


def nth(words: Words, ranks: ArrayLike) -> Rows:
    """The rows of the given ranks in the set, int64 (k,), rank 0 being the first row: for drawing without listing everyone.

    Raises IndexError for a rank that the set does not reach.
    """
    wanted = np.asarray(ranks, np.int64)
    reached = np.bitwise_count(words).cumsum(dtype=np.int64)
    # Read without its sign a negative rank is beyond every set, and so in no word, like those that are.
    at = reached.view(np.uint64).searchsorted(wanted.view(np.uint64), side="right")
    chosen = words.take(at)
    # The bits of all chosen words one after another; from where each word's end, its rank counts back.
    places = np.bitwise_count(chosen).cumsum(dtype=np.int64)
    places += wanted - reached.take(at)
    found = np.unpackbits(chosen.view(np.uint8), bitorder="little").view(np.bool_).nonzero()[0]
    return at * WORD_ROWS + (found.take(places) & (WORD_ROWS - 1))


def by_word(rows: NDArray[np.integer]) -> tuple[Rows, Words]:
    """The words that rows fall in, each once, and in each all of their bits."""
    if not len(rows):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    if (rows[1:] < rows[:-1]).any():
        rows = np.sort(rows)
    at, bits = _split(rows)
    first = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
    return at[first], np.bitwise_or.reduceat(bits, first)


def _split(rows: NDArray[np.integer]) -> tuple[Rows, Words]:
    """The word of each row, and in it its bit."""
    at = rows.astype(np.int64, copy=False)
    return at >> 6, _ONE << (at.astype(np.uint64) & _IN_WORD)
