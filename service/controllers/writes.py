"""What every write does after its commit, so that this replica and the pools of all of them know at once."""

from collections.abc import Iterable
from typing import Protocol

from service.domain import Interaction
from service.recommend.ports import PoolStore
from service.repositories.interactions import Recorded
from service.repositories.opinions import WITHDRAWS


class Feed(Protocol):
    """The change feed: `nudge` makes it look at once."""

    def nudge(self) -> None: ...


class Aftermath:
    """Called after a commit and before the reply."""

    def __init__(self, feed: Feed, pools: PoolStore) -> None:
        self._feed = feed
        self._pools = pools

    async def of_people(self, ids: Iterable[int]) -> None:
        """Profiles changed: their own pools rest on what they were. Others' pools are checked against profiles as they are."""
        self._feed.nudge()
        await self._pools.invalidate(sorted(ids))

    async def of_interactions(self, interactions: Iterable[Interaction], recorded: Recorded) -> None:
        """A pool is checked against what stands, so it never shows too many. After a withdrawal, or a like in the place of a
        pass, it may show too few: whoever may be seen again is not in the two persons' pools, which therefore go. Plain likes
        keep the pools of those with a long history and spare them a computation each time.

        Also after a withdrawal that changed nothing: it may repeat one whose caller never heard how it went.
        """
        self._feed.nudge()
        pairs = {(given.actor_id, given.target_id) for given in interactions if given.kind in WITHDRAWS}
        people = {person for pair in pairs.union(recorded.returned) for person in pair}
        if people:
            await self._pools.invalidate(sorted(people))
