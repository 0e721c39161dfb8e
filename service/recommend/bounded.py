"""Memory of what was read or made before, bounded in bytes: what was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable, KeysView
from typing import Generic, TypeVar

from service.telemetry import FIRST_LEVEL_BYTES, FIRST_LEVEL_LOOKUPS

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 200
"""What an entry costs beside its value: its place in the dictionary, its key, its size. Measured over 100,000."""


class Bounded(Generic[K, V]):
    """Values by key, at most `max_bytes` together by `size_of` and ENTRY_BYTES each. Belongs to the event loop.

    `name` is what its gauge of bytes and its counters of hits and misses call it.
    """

    __slots__ = ("_entries", "_gauge", "_hits", "_max_bytes", "_misses", "_size_of", "n_bytes")

    def __init__(self, name: str, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.n_bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._gauge = FIRST_LEVEL_BYTES.labels(name)
        self._hits, self._misses = (FIRST_LEVEL_LOOKUPS.labels(name, outcome) for outcome in ("hit", "miss"))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def keys(self) -> KeysView[K]:
        """What is held now and later: a view, to look into it often."""
        return self._entries.keys()

    def get(self, key: K) -> V | None:
        """The value, used just now; counts nothing, since whether it can be used is for the caller to say."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value, without making it the last used."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def count(self, is_hit: bool, n: int = 1) -> None:
        (self._hits if is_hit else self._misses).count(n)

    def put(self, key: K, value: V) -> None:
        """Keep a value; one that alone is larger than everything may be is not kept."""
        self.pop(key)
        size = self._size_of(value) + ENTRY_BYTES
        if size > self._max_bytes:
            return
        self._entries[key] = (value, size)
        self.n_bytes += size
        while self.n_bytes > self._max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self.n_bytes -= gone
        self._gauge.set(self.n_bytes)

    def pop(self, key: K) -> V | None:
        """Forget a value."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        self.n_bytes -= found[1]
        self._gauge.set(self.n_bytes)
        return found[0]

    def clear(self) -> None:
        self._entries.clear()
        self.n_bytes = 0
        self._gauge.set(0)
