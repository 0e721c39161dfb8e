"""Which row stands for which person: sorted ids of the base, and whoever was put elsewhere since."""

import numpy as np
from numpy.typing import NDArray

from service.population.bits import Words, mark, n_words, test

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]


class Directory:
    """`ids`: int64 (n,), sorted, unique; `rows`: the row of each. Both may be mapped; neither is changed."""

    def __init__(self, ids: Ids, rows: NDArray[np.integer]) -> None:
        self.base_ids = ids
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
        """Where a person is now; None for the unknown and the erased."""
        row = int(self.rows(np.array([person_id], np.int64))[0])
        return row if row >= 0 else None

    def rows(self, ids: Ids) -> Rows:
        """Rows of people, int64 (n,); -1 for the unknown and the erased."""
        place = np.searchsorted(self.base_ids, ids)
        in_base = place < len(self.base_ids)
        in_base[in_base] = self.base_ids[place[in_base]] == ids[in_base]
        rows = np.full(len(ids), -1, np.int64)
        rows[in_base] = self.base_rows[place[in_base]]
        if self._elsewhere or self._n_gone:
            stays = in_base.copy()
            stays[in_base] = ~test(self._left, rows[in_base])
            for index in np.flatnonzero(~stays).tolist():
                rows[index] = self._elsewhere.get(int(ids[index]), -1)
        return rows

    def rank(self, person_id: int) -> int | None:
        """The place of an id among the base's, whatever became of the person; None when it is not one of them."""
        place = int(np.searchsorted(self.base_ids, person_id))
        return place if place < len(self.base_ids) and self.base_ids[place] == person_id else None

    def ids(self) -> Ids:
        """Ids of everyone, int64 (n_people,), in no particular order."""
        stays = ~test(self._left, np.asarray(self.base_rows, np.int64))
        return np.concatenate((self.base_ids[stays], np.fromiter(self._elsewhere, np.int64, len(self._elsewhere))))

    def put(self, person_id: int, row: int) -> None:
        """From now on this row, appended to the base, stands for the person."""
        if person_id not in self._elsewhere:
            rank = self.rank(person_id)
            if rank is None:
                self._n_new += 1
            else:
                base_row = self.base_rows[rank : rank + 1].astype(np.int64)
                self._n_gone -= int(test(self._left, base_row)[0])
                mark(self._left, base_row)
        self._elsewhere[person_id] = row

    def forget(self, person_id: int) -> None:
        """The person, who is here, is gone."""
        rank = self.rank(person_id)
        was_elsewhere = self._elsewhere.pop(person_id, None) is not None
        if rank is None:
            self._n_new -= int(was_elsewhere)
        else:
            mark(self._left, self.base_rows[rank : rank + 1].astype(np.int64))
            self._n_gone += 1

    def is_elsewhere(self, ids: Ids) -> list[int]:
        """Those of `ids` whose rows were appended since the base was made."""
        return [person_id for person_id in ids.tolist() if person_id in self._elsewhere]
