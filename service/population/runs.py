"""News of ordered pairs, in sorted runs that are merged as they grow: a log-structured store of numpy arrays.

Chosen over a dict of pairs (110 bytes an entry, 3 ms of Python for 10,000) and over a table of hashes, whose growth stops
everybody for 100 ms at a million: a batch becomes one sorted run, 9 bytes an entry, and one person's part of a run lies
together. Runs at least double in size from the newest to the oldest, so that a million entries are some ten runs. What a merge
of two large ones moves is spread over the batches that follow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.population.standing import Keys, States, folded, overlaid

_AT_ONCE = 32_768
"""Entries that are merged in one go: 0.5 ms."""

_SMALL = 4_096
"""Two runs that are together no larger than this are merged whatever their sizes: 0.05 ms, and fewer runs to search."""

_STEPS = 4
"""Entries moved in each unfinished merge for every one added. With 2 a merge ends before its turn comes again; more is reserve
for batches of different sizes."""

_SHIFT = 32


def pair_keys(owners: NDArray[np.int64], others: NDArray[np.int64]) -> Keys:
    """One key for an ordered pair of codes below 2**31, so that the keys of one owner lie together."""
    return (owners << _SHIFT) | others


def other_codes(keys: Keys) -> NDArray[np.int64]:
    return keys & ((1 << _SHIFT) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """`keys` int64 (n,), sorted, each once; `said` uint8 (n,)."""

    keys: Keys
    said: States

    def clear(self, keys: Keys) -> None:
        """Say nothing of these keys any more; they stay until the next merge."""
        place = self.keys.searchsorted(keys)
        there = place < len(self.keys)
        there[there] = self.keys[place[there]] == keys[there]
        self.said[place[there]] = 0


class _Merge:
    """Two neighbouring runs on their way to be one. Until it is done both serve."""

    def __init__(self, older: _Run, newer: _Run) -> None:
        self.older = older
        self.newer = newer
        n = len(older.keys) + len(newer.keys)
        self._made = _Run(np.empty(n, np.int64), np.empty(n, np.uint8))
        self._n_older = self._n_newer = self._n_made = 0

    def advance(self, n: int) -> _Run | None:
        """Move about `n` entries; the merged run when all are."""
        while n > 0 and self._n_left:
            n -= self._slice(min(n, _AT_ONCE))
        return None if self._n_left else self.made

    @property
    def _n_left(self) -> int:
        return len(self.older.keys) - self._n_older + len(self.newer.keys) - self._n_newer

    @property
    def made(self) -> _Run:
        """What is merged by now; its arrays are shared."""
        return _Run(self._made.keys[: self._n_made], self._made.said[: self._n_made])

    def _slice(self, n: int) -> int:
        one, two = self.older.keys[self._n_older :][:n], self.newer.keys[self._n_newer :][:n]
        if len(one) and len(two):  # up to the smaller of their ends, so that whatever comes later has larger keys
            upto = min(one[-1], two[-1])
            one = one[: one.searchsorted(upto, "right")]
            two = two[: two.searchsorted(upto, "right")]
        keys = np.concatenate((one, two))
        said = np.concatenate(
            (
                self.older.said[self._n_older : self._n_older + len(one)],
                self.newer.said[self._n_newer : self._n_newer + len(two)],
            )
        )
        order = keys.argsort(kind="stable")  # 4 ns an entry: it finds the two runs
        keys, said = folded(keys[order], said[order])
        if not said.all():
            keys, said = keys[said > 0], said[said > 0]
        part = slice(self._n_made, self._n_made + len(keys))
        self._made.keys[part], self._made.said[part] = keys, said
        self._n_made += len(keys)
        self._n_older += len(one)
        self._n_newer += len(two)
        return len(order)


class Runs:
    """News by key. Entries take 9 bytes, those that are being merged twice that."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._merges: list[_Merge] = []

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self._runs)

    def add(self, keys: Keys, said: States) -> None:
        """News of sorted keys, each once, newer than all that was added before."""
        self._runs.append(_Run(keys, said))
        for merge in list(self._merges):
            self._advance(merge, _STEPS * len(keys))
        self._begin_merges()

    def find(self, keys: Keys) -> States:
        """What all the news of these keys, best sorted, comes to; 0 where there is none."""
        found = np.zeros(len(keys), np.uint8)
        for run in self._runs:
            place = run.keys.searchsorted(keys)
            place[place == len(run.keys)] = 0
            hit = np.flatnonzero(run.keys[place] == keys)
            if len(hit):
                found[hit] = overlaid(found[hit], run.said[place[hit]])
        return found

    def of(self, owner: int) -> tuple[Keys, States]:
        """All keys of one owner with what is said of them, sorted."""
        bounds = np.array((owner << _SHIFT, (owner + 1) << _SHIFT), np.int64)
        parts = []
        for run in self._runs:
            start, stop = run.keys.searchsorted(bounds)
            if start != stop:
                parts.append((run.keys[start:stop], run.said[start:stop]))
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.uint8)
        if len(parts) == 1:
            return parts[0]
        keys = np.concatenate([part[0] for part in parts])
        order = keys.argsort(kind="stable")
        return folded(keys[order], np.concatenate([part[1] for part in parts])[order])

    def clear(self, keys: Keys) -> None:
        """Forget what was said of these keys."""
        for run in self._runs:
            run.clear(keys)
        for merge in self._merges:
            merge.made.clear(keys)

    def _begin_merges(self) -> None:
        """Merge every run with the older one before it that is not twice as large, from the newest on; small ones at once."""
        place = len(self._runs) - 1
        while place > 0:
            older, newer = self._runs[place - 1], self._runs[place]
            n = len(older.keys) + len(newer.keys)
            due = n <= _SMALL or len(older.keys) < 2 * len(newer.keys)
            if due and not (self._merging(older) or self._merging(newer)):
                merge = _Merge(older, newer)
                self._merges.append(merge)
                self._advance(merge, n if n <= _AT_ONCE else 0)
            place = min(place, len(self._runs)) - 1

    def _merging(self, run: _Run) -> bool:
        return any(run is merge.older or run is merge.newer for merge in self._merges)

    def _advance(self, merge: _Merge, n: int) -> None:
        made = merge.advance(n)
        if made is None:
            return
        self._merges.remove(merge)
        place = next(index for index, run in enumerate(self._runs) if run is merge.older)
        self._runs[place : place + 2] = [made] if len(made.keys) else []  # all of it may have been erased since
