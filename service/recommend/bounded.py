"""Memory of what was read or made before, bounded in bytes: what was not used for long goes first.

Each has a second chance: a use is only noted, and whose turn it is to go after it was used stays for another round. Putting it
last at each use writes to its neighbours, which the processor has not at hand among 10,000 slates.
"""

from collections import OrderedDict
from collections.abc import Callable, KeysView
from typing import Generic, TypeVar

from service.metrics import FIRST_LEVEL_BYTES, FIRST_LEVEL_LOOKUPS

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 200
"""What an entry costs beside its value: its place in the dictionary, its key, its size. Measured over 100,000."""


class _Entry(Generic[V]):
    __slots__ = ("size", "used", "value")

    def __init__(self, value: V, size: int) -> None:
        self.value = value
        self.size = size
        self.used = False


class Bounded(Generic[K, V]):
    """Values by key, at most `max_bytes` together by `size_of` and ENTRY_BYTES each. Belongs to the event loop.

    `name` is what its gauge of bytes and its counters of hits and misses call it.
    """

    __slots__ = ("_entries", "_hits", "_max_bytes", "_misses", "_size_of", "n_bytes")

    def __init__(self, name: str, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.n_bytes = 0
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._max_bytes = max_bytes
        self._size_of = size_of
        # Looked up when somebody asks: told at each put, a slate's worth of people takes 30 us.
        FIRST_LEVEL_BYTES.labels(name).set_function(lambda: self.n_bytes)
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
        found.used = True
        return found.value

    def peek(self, key: K) -> V | None:
        """The value, without its being a use."""
        found = self._entries.get(key)
        return None if found is None else found.value

    def count(self, is_hit: bool, n: int = 1) -> None:
        (self._hits if is_hit else self._misses).count(n)

    def put(self, key: K, value: V) -> None:
        """Keep a value; one that alone is larger than everything may be is not kept."""
        self.pop(key)
        size = self._size_of(value) + ENTRY_BYTES
        if size > self._max_bytes:
            return
        while self.n_bytes + size > self._max_bytes:
            self._let_one_go()
        self._entries[key] = _Entry(value, size)
        self.n_bytes += size

    def pop(self, key: K) -> V | None:
        """Forget a value."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        self.n_bytes -= found.size
        return found.value

    def clear(self) -> None:
        self._entries.clear()
        self.n_bytes = 0

    def _let_one_go(self) -> None:
        while True:
            key, entry = self._entries.popitem(last=False)
            if not entry.used:
                self.n_bytes -= entry.size
                return
            entry.used = False
            self._entries[key] = entry
