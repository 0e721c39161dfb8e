"""Confidence sequences: how wide they are, and that they hold at every look."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.experiments import sequences

ALPHA, TUNED = 0.05, 0.2
errors = st.floats(1e-3, 1.0)


def test_width_is_that_of_the_published_formula() -> None:
    """Waudby-Smith et al., theorem 2.2, written as there: σ̂ · sqrt(2 (tρ² + 1) / (t²ρ²) · log(sqrt(tρ² + 1) / α))."""
    t, sigma, rho = 5_000, 1.7, 0.03
    published = sigma * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / ALPHA))
    assert sequences.half_width(sigma / math.sqrt(t), rho * sigma, ALPHA) == pytest.approx(published)


@given(se=errors, shrink=st.floats(0.1, 0.99))
def test_more_information_narrows(se: float, shrink: float) -> None:
    assert sequences.half_width(se * shrink, TUNED, ALPHA) < sequences.half_width(se, TUNED, ALPHA)


@given(se=errors, factor=st.floats(0.01, 100))
def test_scale_does_not_matter(se: float, factor: float) -> None:
    scaled = sequences.half_width(se * factor, TUNED * factor, ALPHA)
    assert scaled == pytest.approx(factor * sequences.half_width(se, TUNED, ALPHA))


@given(se=errors, freedoms=st.sampled_from([8.0, 40.0, math.inf]))
def test_p_value_reaches_alpha_where_the_interval_reaches_zero(se: float, freedoms: float) -> None:
    half = sequences.half_width(se, TUNED, ALPHA, freedoms)
    if half < 30 * se:
        assert sequences.p_value(half, se, TUNED, freedoms) == pytest.approx(ALPHA, rel=1e-6)
    assert sequences.p_value(0.0, se, TUNED, freedoms) == 1.0


def test_few_degrees_of_freedom_widen_and_many_do_not() -> None:
    normal = sequences.half_width(0.05, TUNED, ALPHA)
    few, some, many = (sequences.half_width(0.05, TUNED, ALPHA, freedoms) for freedoms in (9, 50, 1e7))
    assert few > some > normal == many


def test_without_information_nothing_is_known() -> None:
    assert sequences.half_width(math.inf, TUNED, ALPHA) == math.inf
    assert sequences.p_value(0.3, math.inf, TUNED) == 1.0


def test_wanted_standard_error_sees_the_effect_four_times_in_five() -> None:
    se = sequences.se_to_see(0.05, TUNED, ALPHA)
    seen = np.random.default_rng(5).normal(0.05, se, 20_000) > sequences.half_width(se, TUNED, ALPHA)
    assert seen.mean() == pytest.approx(0.8, abs=0.01)


def test_intervals_of_a_stream_hold_at_all_looks_together() -> None:
    """400 streams of a thousand skewed observations each, looked at after every tenth from the 50th on."""
    rng = np.random.default_rng(11)
    values = rng.exponential(1.0, (400, 1_050))
    n = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / n
    errors = np.sqrt(np.maximum(np.cumsum(values**2, axis=1) / n - means**2, 0) / n)
    half = np.array([[sequences.half_width(float(se), TUNED, ALPHA) for se in row[50::10]] for row in errors])
    missed = (np.abs(means[:, 50::10] - 1.0) > half).any(axis=1)
    assert missed.mean() <= ALPHA


def test_freedoms_of_equal_arms_are_those_of_both() -> None:
    found = sequences.freedoms(np.array([0.2, 0.2]), np.array([11, 11]))
    assert found == pytest.approx(20)
