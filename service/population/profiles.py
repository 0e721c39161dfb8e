"""Profiles of everyone as they were when they were loaded: bytes that are decoded when somebody is looked at."""

import mmap
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain import Profile

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Profile)


_READ_AT_MOST = 512
"""A look at a mapped profile brings 64 KB of its neighbours into memory: after so many looks, 32 MB, all of them are given back.
They stay in the system's cache, and coming back from there takes 2 µs."""


class ProfileBytes:
    """Profiles one after another in MessagePack: the i-th is `data[offsets[i]:offsets[i + 1]]`, offsets int64 (n + 1,).

    About 250 bytes a person, mapped from a bundle or held in memory; decoding one takes about 3 µs.
    """

    def __init__(self, offsets: NDArray[np.int64], data: bytes | memoryview) -> None:
        self.offsets = offsets
        self.data = memoryview(data)
        self._n_read = 0

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
        self._n_read += 1
        if self._n_read % _READ_AT_MOST == 0 and isinstance(self.data.obj, mmap.mmap):
            self.data.obj.madvise(mmap.MADV_DONTNEED)
        return decode(self.data[int(self.offsets[row]) : int(self.offsets[row + 1])])


def decode(data: bytes | memoryview) -> Profile:
    return _decoder.decode(data)


def encode(profile: Profile) -> bytes:
    return _encoder.encode(profile)
