"""What serves now: one population, and whatever was loaded from the same bundle, swapped as one."""

import time
from typing import Generic, TypeVar

import structlog

from service.metrics import POPULATION_NEWS, POPULATION_PEOPLE
from service.population.population import Population

_LOG = structlog.get_logger("amity.population")

C = TypeVar("C")


class PopulationHolder(Generic[C]):
    """`current` is the population, `companion` what belongs to the same bundle (its rankers).

    A request takes both once and keeps them to its end, so that a swap in between does not touch it. `overlay_max`: rows appended
    since the bundle was made from which on the log asks for a training. They are searched one by one: 10,000 take .7 ms more
    over both spaces.
    """

    def __init__(self, population: Population, companion: C, overlay_max: int = 50_000) -> None:
        self._overlay_max = overlay_max
        self._asked_for: str | None = ""
        self._pair = (population, companion)
        self.replaced: tuple[str | None, float] | None = None
        """The bundle that served before, and when it ceased to, in monotonic seconds."""
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
        self.replaced = (self.current.bundle_version, time.monotonic())
        self._pair = (population, companion)
        self.report()

    def report(self) -> None:
        """Tell the gauges how many people there are, and how much was appended since the base was made."""
        POPULATION_PEOPLE.labels("all").set(self.current.n_people)
        POPULATION_NEWS.set(self.current.memory.n_since)
        n_overlay = self.current.n_overlay
        POPULATION_PEOPLE.labels("overlay").set(n_overlay)
        if n_overlay > self._overlay_max and self._asked_for != self.current.bundle_version:
            self._asked_for = self.current.bundle_version
            _LOG.warning("many people joined or changed since the bundle; train a new one", n_overlay=n_overlay)
