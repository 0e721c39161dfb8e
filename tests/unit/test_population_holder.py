"""What serves now says when too much was appended to it."""

import gc
from weakref import ref

import pytest
from structlog.testing import capture_logs

from service.population.build import StandingPairs, build
from service.population.holder import PopulationHolder
from service.population.population import Population
from tests.population_people import person, tastes


def population(n_joined: int) -> Population:
    first = [person(one) for one in (1, 2)]
    made = build(first, StandingPairs.none(), tastes(first))
    made.apply_profiles([person(10 + one) for one in range(n_joined)])
    return made


@pytest.mark.parametrize(("n_joined", "n_warnings"), [(3, 0), (4, 1)])
def test_more_appended_than_allowed_is_logged_once_a_bundle(n_joined: int, n_warnings: int) -> None:
    with capture_logs() as logs:
        holder = PopulationHolder(population(n_joined), None, overlay_max=3)
        holder.report()
    assert [entry["n_overlay"] for entry in logs] == [n_joined] * n_warnings


def test_a_population_that_is_replaced_is_let_go_without_the_garbage_collector() -> None:
    holder = PopulationHolder(population(2), None)
    replaced = ref(holder.current)
    gc.disable()  # which does not look at what a replica had loaded when it started
    try:
        holder.swap(population(1), None)
        assert replaced() is None
    finally:
        gc.enable()
