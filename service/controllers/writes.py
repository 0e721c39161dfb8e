"""What every write does after its commit and before its reply, so that the next request heeds it on every replica."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from service.domain import Interaction, Kind
from service.recommend.ports import TokenSource
from service.repositories.interactions import Recorded
from service.repositories.opinions import WITHDRAWS

_UNRELATED = frozenset({Kind.MESSAGE, Kind.VIEW})
"""They decide neither who may be shown to whom nor what anybody's taste is."""


class Feed(Protocol):
    """The change feed: `nudge` makes it look at once."""

    def nudge(self) -> None: ...


class Teller(Protocol):
    """Tells every replica whose profile has changed."""

    async def tell(self, people: Sequence[int]) -> None: ...


class Held(Protocol):
    """What this replica holds of viewers."""

    def drop(self, ids: Iterable[int]) -> None: ...


class Aftermath:
    """Redis being away costs a write its time limit, twice at most, and nothing else: the change feed brings the news a moment
    later."""

    def __init__(self, feed: Feed, tokens: TokenSource, news: Teller, viewers: Held) -> None:
        self._feed = feed
        self._tokens = tokens
        self._news = news
        self._viewers = viewers

    async def of_people(self, ids: Iterable[int]) -> None:
        """Profiles changed, came or went: what is held of these people goes, on every replica, as viewers and as those shown."""
        people = sorted(set(ids))
        self._feed.nudge()
        await asyncio.gather(self._tokens.changed(people), self._news.tell(people))

    async def of_interactions(self, interactions: Iterable[Interaction], recorded: Recorded) -> None:
        """Both persons' requests heed what stands between them now. Pools are checked against that, so they never show too many.
        After a withdrawal, or a like in the place of a pass, they may show too few: whoever may be seen again is not in the two
        persons' pools, which therefore go.

        Also after what changed nothing: it may repeat a write whose caller never heard how it went.
        """
        related = [given for given in interactions if given.kind not in _UNRELATED]
        people = {person for given in related for person in (given.actor_id, given.target_id)}
        pairs = {(given.actor_id, given.target_id) for given in related if given.kind in WITHDRAWS}
        seen_again = {person for pair in pairs.union(recorded.returned) for person in pair}
        self._feed.nudge()
        if not people:
            return
        self._viewers.drop(people)
        replaced, _ = await asyncio.gather(self._tokens.changed(sorted(people)), self._tokens.drop_pools(sorted(seen_again)))
        if (
            not replaced
        ):  # a Redis that lacks a replica or room on its disk refuses tokens, serves the old ones and passes on news
            await self._news.tell(sorted(people))
