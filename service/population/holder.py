"""What serves now: one population, and whatever was loaded from the same bundle, swapped as one."""

from typing import Generic, TypeVar

from service.population.population import Population
from service.telemetry import POPULATION_PEOPLE

C = TypeVar("C")


class PopulationHolder(Generic[C]):
    """`current` is the population, `companion` what belongs to the same bundle (its rankers).

    A request takes both once and keeps them to its end, so that a swap in between does not touch it.
    """

    def __init__(self, population: Population, companion: C) -> None:
        self._pair = (population, companion)
        self.report()

    @property
    def current(self) -> Population:
        return self._pair[0]

    @property
    def companion(self) -> C:
        return self._pair[1]

    @property
    def pair(self) -> tuple[Population, C]:
        return self._pair

    def swap(self, population: Population, companion: C) -> None:
        """Put another bundle's population and companion in the place of both."""
        self._pair = (population, companion)
        self.report()

    def report(self) -> None:
        """Tell the gauges how many people there are, and how many rows were appended since the base was made."""
        POPULATION_PEOPLE.labels("all").set(self.current.n_people)
        POPULATION_PEOPLE.labels("overlay").set(self.current.n_overlay)
