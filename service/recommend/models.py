"""Where people and rankers of the live bundle are taken from, as one."""

from collections.abc import Mapping

from service.plugins import LoadedRanker
from service.population.holder import PopulationHolder
from service.recommend.ports import Models, Replaced


class LiveModels:
    """The ModelSource of a replica: the population that a holder has, with the rankers loaded from the same bundle."""

    def __init__(self, holder: PopulationHolder[Mapping[str, LoadedRanker]]) -> None:
        self._holder = holder
        self._made = self._make()

    @property
    def current(self) -> Models:
        """The same object until the next swap."""
        if self._made.population is not self._holder.current:
            self._made = self._make()
        return self._made

    def _make(self) -> Models:
        replaced = self._holder.replaced
        return Models(*self._holder.pair, None if replaced is None else Replaced(*replaced))
