"""Where people were found a moment ago."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.population.remembered import MOST, Remembered

ids = st.integers(1, 2**63 - 1)


@given(st.lists(st.dictionaries(ids, st.none(), max_size=6).map(list), max_size=5), st.lists(ids, max_size=6))
def test_each_is_found_in_whatever_part_and_nobody_else(parts: list[list[int]], others: list[int]) -> None:
    rows = {one: row for row, one in enumerate({one: None for part in parts for one in part})}
    remembered = Remembered()
    for part in parts:
        remembered.add(np.array(part, np.int64), np.array([rows[one] for one in part], np.int64))
        assert remembered.rows(np.array(part, np.int64)).tolist() == [rows[one] for one in part]
    asked = [*others, *rows]
    assert remembered.rows(np.array(asked, np.int64)).tolist() == [rows.get(one, -1) for one in asked]


def test_a_part_of_everyone_is_not_remembered_and_those_after_it_are() -> None:
    remembered = Remembered()
    remembered.add(np.arange(1, MOST + 2), np.arange(1, MOST + 2))
    remembered.add(np.array([9]), np.array([4]))
    assert remembered.rows(np.array([8, 9])).tolist() == [-1, 4]


def test_no_more_are_remembered_than_the_most() -> None:
    remembered = Remembered()
    for first in range(0, 3 * MOST, MOST // 2):
        remembered.add(np.arange(first, first + MOST // 2), np.arange(MOST // 2))
    assert int((remembered.rows(np.arange(3 * MOST)) >= 0).sum()) == MOST
