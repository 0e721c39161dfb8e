"""Which row stands for which person: sorted ids of the base, and whoever was put elsewhere since."""

from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from service.population.bits import WORD_ROWS, Words, mark, n_words, test
from service.population.ids import SortedIds

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]

_IN_ORDER_FROM = 2_000
"""Ids looked up at once from which sorting them first pays: neighbours share their way. 10,000 of a million take half."""

_TOGETHER_FROM = 8
"""Ids looked up at once from which numpy pays: one by one takes 2 µs each, and any few together 16."""


class Directory:
    """`ids`: int64 (n,), sorted, unique; `rows`: the row of each. Both may be mapped; neither is changed."""

    def __init__(self, ids: Ids, rows: NDArray[np.integer]) -> None:
        self.base_ids = ids
        self._sorted = SortedIds(ids)
        self.base_rows = rows
        self._elsewhere: dict[int, int] = {}
        # Rows of the base that stand for nobody any more: their people are elsewhere, or gone.
        self._left: Words = np.zeros(n_words(len(ids)), np.uint64)
        self._n_gone = 0
        self._n_new = 0

    @property
    def n_people(self) -> int:
        return len(self.base_ids) - self._n_gone + self._n_new

    def row(self, person_id: int) -> int | None:
        """Where a person is now; None for the unknown and the erased. 2 µs."""
        rank = self.rank(person_id)
        if rank is not None:
            row = int(self.base_rows[rank])
            if not int(self._left[row // WORD_ROWS]) >> row % WORD_ROWS & 1:
                return row
        return self._elsewhere.get(person_id)

    def rows(self, ids: Ids) -> Rows:
        """Rows of people, int64 (n,); -1 for the unknown and the erased. 10,000 of a million take 1.2 ms, and 1.9 when all of
        them are elsewhere."""
        if len(ids) < _TOGETHER_FROM:
            found = map(self.row, ids.tolist())
            return np.fromiter((-1 if row is None else row for row in found), np.int64, len(ids))
        if len(ids) < _IN_ORDER_FROM:
            return self._rows(ids)
        order = ids.argsort()
        rows = np.empty(len(ids), np.int64)
        rows[order] = self._rows(ids[order])
        return rows

    def rank(self, person_id: int) -> int | None:
        """The place of an id among the base's, whatever became of the person; None when it is not one of them."""
        place = int(self.base_ids.searchsorted(person_id))
        return place if place < len(self.base_ids) and self.base_ids[place] == person_id else None

    def ranks(self, ids: Ids) -> NDArray[np.int64]:
        """The rank of each, int64 (n,); -1 for who is not of the base."""
        return self._sorted.places(ids)

    def ids(self) -> Ids:
        """Ids of everyone, int64 (n_people,), in no particular order."""
        stays = ~test(self._left, np.asarray(self.base_rows, np.int64))
        return np.concatenate((self.base_ids[stays], np.fromiter(self._elsewhere, np.int64, len(self._elsewhere))))

    def put(self, ids: Ids, rows: Rows) -> None:
        """From now on these rows, appended to the base, stand for these people, each named once."""
        known = self._rows_elsewhere(ids) >= 0
        places = self.ranks(ids)
        left = self.base_rows[places[(places >= 0) & ~known]].astype(np.int64)
        # Before their rows in the base are left, so that a look-up in another thread finds everybody here or there.
        self._elsewhere.update(zip(ids.tolist(), rows.tolist(), strict=True))
        self._n_new += int(((places < 0) & ~known).sum())
        self._n_gone -= int(test(self._left, left).sum())
        mark(self._left, left)

    def forget(self, person_id: int) -> None:
        """The person, who is here, is gone."""
        rank = self.rank(person_id)
        was_elsewhere = self._elsewhere.pop(person_id, None) is not None
        if rank is None:
            self._n_new -= int(was_elsewhere)
        else:
            mark(self._left, self.base_rows[rank : rank + 1].astype(np.int64))
            self._n_gone += 1

    def elsewhere(self, ids: Ids) -> Ids:
        """Those of `ids` whose rows were appended since the base was made, in their order."""
        return ids[self._rows_elsewhere(ids) >= 0]

    def _rows(self, ids: Ids) -> Rows:
        places = self.ranks(ids)
        in_base = places >= 0
        rows = np.full(len(ids), -1, np.int64)
        rows[in_base] = self.base_rows[places[in_base]]
        if self._elsewhere or self._n_gone:
            in_base[in_base] = ~test(self._left, rows[in_base])
            rows[~in_base] = self._rows_elsewhere(ids[~in_base])
        return rows

    def _rows_elsewhere(self, ids: Ids) -> Rows:
        return np.fromiter(map(self._elsewhere.get, ids.tolist(), repeat(-1)), np.int64, len(ids))
