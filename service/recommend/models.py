"""Where people and rankers of the live bundle are taken from, as one."""

from collections.abc import Mapping

from service.plugins import LoadedRanker
from service.population.holder import PopulationHolder
from service.recommend.ports import Models, Replaced


class LiveModels:
    """The ModelSource of a replica: the population that a holder has, with the rankers loaded from the same bundle."""

    def __init__(self, holder: PopulationHolder[Mapping[str, LoadedRanker]]) -> None:
        self._holder = holder

    @property
    def current(self) -> Models:
        replaced = self._holder.replaced
        return Models(*self._holder.pair, None if replaced is None else Replaced(*replaced))
