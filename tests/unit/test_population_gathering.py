"""Short ways to the same: admirers looked for one by one or in a set, the calibration by one logarithm."""

import numpy as np
import pytest
from amity_rankers import calibration

from service.population.viewer import _among

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("n_admirers", [0, 1, 8, 9, 40])
def test_who_is_among_the_admirers_does_not_depend_on_their_number(n_admirers: int) -> None:
    ids, some = np.arange(100, 200), RNG.choice(np.arange(50, 250), n_admirers, replace=False)
    np.testing.assert_array_equal(_among(ids, some.tolist()), np.isin(ids, some))


def test_calibration_is_the_formula_to_the_bit() -> None:
    x = np.concatenate((RNG.normal(0, 12, 2000), [0.0, -0.0, 30.0, -30.0]))
    within = np.clip(x, -30.0, 30.0)
    bent = 0.3 + 1.7 * np.logaddexp(0.0, within) - 0.9 * np.logaddexp(0.0, -within)
    np.testing.assert_array_equal(calibration.apply((0.9, 1.7, 0.3), x), 1.0 / (1.0 + np.exp(-np.clip(bent, -30.0, 30.0))))
