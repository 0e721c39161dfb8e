"""What features gather of people is what each of them is: among few and many admirers, by any road to a column."""

import numpy as np
import pytest
from amity_rankers import calibration

from service.population.columns import COUNTS, TOGETHER, Columns
from service.population.table import STORED, Interests
from service.population.viewer import _among

RNG = np.random.default_rng(5)


def columns_of(n: int) -> Columns:
    base = {name: RNG.integers(0, 100, (n, 3) if name == "place" else n).astype(kind) for name, kind in STORED.items()}
    base |= {name: RNG.integers(0, 100, n).astype(np.int8) for name in COUNTS}
    return Columns(base, Interests(np.zeros(n + 1, np.int64), np.zeros(0, np.int32)))


@pytest.mark.parametrize("n_admirers", [0, 1, 8, 9, 40])
def test_who_is_among_the_admirers_does_not_depend_on_their_number(n_admirers: int) -> None:
    ids, some = np.arange(100, 200), RNG.choice(np.arange(50, 250), n_admirers, replace=False)
    np.testing.assert_array_equal(_among(ids, some.tolist()), np.isin(ids, some))


def test_columns_gathered_together_are_those_taken_one_by_one_also_after_a_change() -> None:
    columns, rows = columns_of(50), RNG.permutation(50)[:20]
    columns.add("n_likes_given", np.array([rows[3], rows[3]]), np.array([1, 1]))
    columns.set("n_likes_received", rows[:2], np.array([700, 800], np.int32))
    for name, values in columns.gather((*TOGETHER, "place"), rows).items():
        assert values.dtype == STORED.get(name, np.int32)
        np.testing.assert_array_equal(values, columns.take(name, rows))
        np.testing.assert_array_equal(values, columns.base(name)[rows])


def test_a_twin_counts_for_itself() -> None:
    columns, row = columns_of(5), np.array([2])
    twin, before = columns.twin(), int(columns.value("n_likes_given", 2))
    twin.add("n_likes_given", row, np.array([3]))
    assert columns.gather(TOGETHER, row)["n_likes_given"] == before == twin.gather(TOGETHER, row)["n_likes_given"] - 3


def test_calibration_is_the_formula_to_the_bit() -> None:
    x = np.concatenate((RNG.normal(0, 12, 2000), [0.0, -0.0, 30.0, -30.0]))
    within = np.clip(x, -30.0, 30.0)
    bent = 0.3 + 1.7 * np.logaddexp(0.0, within) - 0.9 * np.logaddexp(0.0, -within)
    np.testing.assert_array_equal(calibration.apply((0.9, 1.7, 0.3), x), 1.0 / (1.0 + np.exp(-np.clip(bent, -30.0, 30.0))))
