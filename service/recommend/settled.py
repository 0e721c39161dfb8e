"""Profiles that need not be read, since memory has them as the database does."""

from collections.abc import Sequence
from weakref import ref

from service.domain import Profile
from service.recommend.drops import Drops
from service.recommend.ports import Population


class Settled:
    """Everyone of whom nothing was told since the change feed had brought all there was. What writers tell nobody of shows when
    the feed brings it, as with what is held.

    Of a slate among a million people, of whom hardly anybody is held, this takes .25 ms where a read of PostgreSQL took 1.6
    (by turns, busy machine): a twentieth of the processor's time for a miss, and half of its reads.
    """

    def __init__(self, drops: Drops) -> None:
        """`drops`: of those of whom something is told, from whatever side."""
        self._drops = drops
        self._memory: ref[Population] | None = None
        self._since = 0

    def caught_up(self, memory: Population, since: int) -> None:
        """`memory` has all that was committed when the clock of drops showed `since`."""
        self._memory, self._since = ref(memory), since

    def of(self, ids: Sequence[int], memory: Population) -> dict[int, Profile]:
        """Those of `ids` whom `memory` has at hand as they are."""
        if self._memory is None or self._memory() is not memory:
            return {}
        is_fresh, since = self._drops.is_fresh, self._since
        known = ids if is_fresh(ids, since) else [one for one in ids if is_fresh((one,), since)]
        return {one: profile for one in known if (profile := memory.at_hand(one)) is not None}
