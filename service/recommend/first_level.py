"""All that a replica holds of people, and who tells it to let go: news, the change feed, and writes of its own."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.recommend.fragments import Fragments
from service.recommend.ports import Population
from service.recommend.settled import Settled
from service.recommend.viewers import Viewers

Ids = NDArray[np.int64]


class FirstLevel:
    """The audience of the change feed and the listener of news. Slates and pools need no telling: they are looked at on each
    use, with what they were made of."""

    def __init__(self, fragments: Fragments, viewers: Viewers, settled: Settled) -> None:
        self._fragments = fragments
        self._viewers = viewers
        self._settled = settled

    @property
    def now(self) -> int:
        """Ticks with everything that is told of people."""
        return self._fragments.drops.now

    def changed(self, people: Sequence[int]) -> None:
        """These people are, or seek, something else than before, or are new."""
        self._fragments.drop(people)
        self._viewers.drop(people)

    def erased(self, people: Sequence[int]) -> None:
        self._fragments.drop(people)
        self._viewers.erased(people)

    def related(self, people: Iterable[int]) -> None:
        """Something else stands between these people than before."""
        self._viewers.drop(people)

    def heard(self, actors: Ids, targets: Ids, kinds: NDArray[np.int8]) -> None:
        """Interactions that were committed: whoever is held should know of them by now."""
        self._viewers.heard(actors, targets, kinds)

    def lost(self) -> None:
        """News may have been missed."""
        self._fragments.clear()
        self._viewers.clear()

    def caught_up(self, people: Population, since: int) -> None:
        """Memory has all that was committed of profiles when `now` was `since`."""
        self._settled.caught_up(people, since)
