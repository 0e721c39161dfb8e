"""Whom the sources find, merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import Ids, SourceQuery
from numpy.typing import NDArray

from service.errors import PluginBroken
from service.recommend.ports import EligiblePeople, NamedSource, Trail
from service.recommend.sources import Question, Sources
from service.recommend.stages import Breakers
from service.resilience import Deadline
from service.telemetry import tell
from service.threads import ThreadDoor

MAX_SOURCES = 64
"""Provenance is a bit a source in 64."""

_BITS = np.uint64(1) << np.arange(MAX_SOURCES, dtype=np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Whom the sources found: `ids` int64 (n,), unique, in the order of merging; `found_by` uint64 (n,), bit i for the i-th of
    `source_names`."""

    ids: Ids
    found_by: NDArray[np.uint64]
    source_names: tuple[str, ...]


class Retrieval:
    """Asks every source, and makes one list of what they found."""

    def __init__(
        self, sources: Sequence[NamedSource], door: ThreadDoor, breakers: Breakers, source_k: int, pool_size: int
    ) -> None:
        if len(sources) > MAX_SOURCES:
            raise PluginBroken(f"{len(sources)} candidate sources are installed, and at most {MAX_SOURCES} can be used")
        self._versions = {named.name: named.source.version for named in sources}
        self._sources = Sources(sources, door, breakers)
        self._source_k = source_k
        self._pool_size = pool_size

    @property
    def configuration(self) -> str:
        """The sources with their versions and sizes, in words: part of the key of what they found."""
        versions = (f"{name}={version}" for name, version in sorted(self._versions.items()))
        return f"{','.join(versions)};k={self._source_k};pool={self._pool_size}"

    async def find(self, people: EligiblePeople, now_s: float, seed: int, deadline: Deadline, trail: Trail) -> Candidates:
        """Whom the sources find before the deadline. A failed one is named in the trail; when all fail, chance serves."""
        found = await self.lists(people, now_s, seed, deadline, trail)
        if not found:
            trail.bend("retrieval", "no_source", "random")
            return chance(people, seed, self._pool_size)
        return self.merged(found, people)

    def merged(self, found: Mapping[str, Ids], people: EligiblePeople) -> Candidates:
        """The sources' lists as one, as long as a pool."""
        return merge(found, people, self._pool_size)

    async def lists(self, people: EligiblePeople, now_s: float, seed: int, deadline: Deadline, trail: Trail) -> dict[str, Ids]:
        """Each source's own list, best first, by its name, before they are merged."""
        answers = await self._sources.ask(Question(people, SourceQuery(self._source_k, now_s, seed), deadline))
        trail.degraded.extend(degradation for _, degradation in sorted(answers.failed.items()))
        return answers.found


def merge(found: Mapping[str, Ids], people: EligiblePeople, pool_size: int) -> Candidates:
    """Each source's first, then each one's second, and so on, sources in the order of their names, up to `pool_size`.

    So the result does not depend on who answered first, and no source crowds out another. Whoever several found stands
    where the first of them put him and bears the names of all. Ids that are not eligible are dropped: a source's mistakes
    must not leak.
    """
    names = tuple(sorted(found))
    ids = np.concatenate([found[name] for name in names])
    # One number says where a find stands among all: the place in its own list, then the source. Of one id the lowest leads.
    n, lengths = len(names), [len(found[name]) for name in names]
    places = np.concatenate([np.arange(at, at + n * length, n) for at, length in enumerate(lengths)])
    by_id = ids.argsort()
    ids = ids.take(by_id)
    is_first = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=is_first[1:])
    first = is_first.nonzero()[0]
    unique = ids.take(first)
    there = people.contains(unique).nonzero()[0]
    tell({"amity.n_found": len(ids), "amity.n_unique": len(unique), "amity.n_eligible": len(there)})
    if not len(ids):
        return Candidates(unique, np.empty(0, np.uint64), names)
    leading = np.minimum.reduceat(places.take(by_id), first)
    found_by = np.bitwise_or.reduceat(_BITS[:n].repeat(lengths).take(by_id), first)
    best = there.take(leading.take(there).argsort()[:pool_size])
    return Candidates(unique.take(best), found_by.take(best), names)


def chance(people: EligiblePeople, seed: int, pool_size: int) -> Candidates:
    """Random eligible people, for when no source answers."""
    ids = people.draw(pool_size, seed)
    return Candidates(ids, np.ones(len(ids), np.uint64), ("random",))
