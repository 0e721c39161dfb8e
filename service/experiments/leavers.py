"""Who was erased since maps of clusters were frozen: an id that is used again is somebody new, who is in none of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from service.domain_experiments import ClusterMap

BEFORE = timedelta(hours=1)
"""A map is begun to be made before its experiment starts, ten minutes at most, and by another clock than the database's."""
OVERLAP = timedelta(minutes=1)
"""Erasures are committed some milliseconds after the time they bear; what was read already is read again this far back."""


class Leavers:
    """What is known of erasures. `erased_since` gives ids and times from a time on, and raises DatabaseUnavailable."""

    def __init__(self, erased_since: Callable[[datetime], Awaitable[Sequence[tuple[int, datetime]]]]) -> None:
        self._erased_since = erased_since
        self._since: datetime | None = None
        self._erased: dict[int, datetime] = {}

    async def look(self, first_start: datetime) -> bool:
        """Catch up, so that maps of experiments which started from then on can be told apart; whether anybody is new."""
        since = first_start - BEFORE
        known = self._since is not None and self._since <= since
        latest = max(self._erased.values(), default=since)
        found = dict(await self._erased_since(max(latest - OVERLAP, since) if known else since))
        is_news = any(self._erased.get(who) != at for who, at in found.items())
        self._since = min(since, self._since) if known and self._since else since
        self._erased |= found
        return is_news

    def forget(self) -> None:
        """There is no map that it matters for."""
        self._since = None
        self._erased = {}

    def out_of(self, clusters: ClusterMap, started_at: datetime) -> ClusterMap:
        """The map without them; the same where none of them is in it."""
        since = started_at - BEFORE
        gone = np.sort(np.array([who for who, at in self._erased.items() if at >= since], np.int64))
        places = np.searchsorted(clusters.ids, gone)
        within = places < len(clusters.ids)
        found = places[within][clusters.ids[places[within]] == gone[within]]
        return ClusterMap(np.delete(clusters.ids, found), np.delete(clusters.clusters, found)) if len(found) else clusters
