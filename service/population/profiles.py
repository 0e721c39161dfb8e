"""Profiles of everyone as they were when they were loaded: bytes that are decoded when somebody is looked at."""

from collections.abc import Iterable
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain import Profile

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Profile)


class File(Protocol):
    """Where the same bytes can be read without leaving anything resident."""

    def read(self, start: int, end: int) -> bytes: ...

    def at_hand(self, start: int, end: int) -> bytearray | None:
        """Without waiting for a disk: None where that would be needed."""
        ...


class ProfileBytes:
    """Profiles one after another in MessagePack: the i-th is `data[offsets[i]:offsets[i + 1]]`, offsets int64 (n + 1,).

    About 250 bytes a person, mapped from a bundle or held in memory; decoding one takes about 3 µs. `file`, if given, holds the
    same data.
    """

    def __init__(self, offsets: NDArray[np.integer], data: bytes | memoryview, file: File | None = None) -> None:
        self.offsets = offsets
        self.data = memoryview(data)
        self._file = file

    @classmethod
    def of(cls, encoded: Iterable[bytes]) -> "ProfileBytes":
        parts = list(encoded)
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(offsets, b"".join(parts))

    def ordered(self, order: NDArray[np.int64]) -> "ProfileBytes":
        """The same profiles in another order."""
        data = self.data
        starts, ends = self.offsets[:-1][order], self.offsets[1:][order]
        offsets = np.zeros(len(order) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        return ProfileBytes(offsets, b"".join(data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def get(self, row: int) -> Profile:
        start, end = self._span(row)
        return decode(self.data[start:end] if self._file is None else self._file.read(start, end))

    def at_hand(self, row: int) -> Profile | None:
        """The same where it takes no waiting for a disk; else None."""
        start, end = self._span(row)
        found = self.data[start:end] if self._file is None else self._file.at_hand(start, end)
        return None if found is None else decode(found)

    def _span(self, row: int) -> tuple[int, int]:
        return int(self.offsets[row]), int(self.offsets[row + 1])


def decode(data: bytes | bytearray | memoryview) -> Profile:
    return _decoder.decode(data)


def encode(profile: Profile) -> bytes:
    return _encoder.encode(profile)
