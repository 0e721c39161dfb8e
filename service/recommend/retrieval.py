"""The sources side by side, and the merging of what they found."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from amity_rankers.contract import CandidateSource, Found, Ids, SourceQuery
from numpy.typing import NDArray

from service.domain import Degradation
from service.errors import PluginBroken, StageBroken, StageFailed
from service.recommend.ports import EligiblePeople, NamedSource, Trail
from service.recommend.stages import Breakers, enter
from service.resilience import Deadline
from service.threads import ThreadDoor

MAX_SOURCES = 64
"""Provenance is a bit a source in 64."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Whom the sources found: `ids` int64 (n,), unique, in the order of merging; `found_by` uint64 (n,), bit i for the i-th of
    `source_names`."""

    ids: Ids
    found_by: NDArray[np.uint64]
    source_names: tuple[str, ...]


class Retrieval:
    """Asks every source in a thread of its own, at most two calls of one source at once."""

    def __init__(
        self, sources: Sequence[NamedSource], door: ThreadDoor, breakers: Breakers, source_k: int, pool_size: int
    ) -> None:
        if len(sources) > MAX_SOURCES:
            raise PluginBroken(f"{len(sources)} candidate sources are installed, and at most {MAX_SOURCES} can be used")
        self._sources: dict[str, CandidateSource] = {named.name: named.source for named in sources}
        self._door = door
        self._breakers = breakers
        self._source_k = source_k
        self._pool_size = pool_size

    @property
    def configuration(self) -> str:
        """The sources with their versions and sizes, in words: part of the key of what they found."""
        versions = (f"{name}={source.version}" for name, source in sorted(self._sources.items()))
        return f"{','.join(versions)};k={self._source_k};pool={self._pool_size}"

    async def prepare(self, people: EligiblePeople, deadline: Deadline) -> None:
        """Make the mask that all sources share."""
        await prepare(people, self._door, deadline)

    async def find(self, people: EligiblePeople, now_s: float, seed: int, deadline: Deadline, trail: Trail) -> Candidates:
        """Whom the sources find before the deadline. A failed one is named in the trail; when all fail, chance serves."""
        query = SourceQuery(self._source_k, now_s, seed)
        names = sorted(self._sources)
        answers = await asyncio.gather(*(self._ask(name, people, query, deadline) for name in names))
        found = {name: answer for name, answer in zip(names, answers, strict=True) if not isinstance(answer, Degradation)}
        trail.degraded.extend(answer for answer in answers if isinstance(answer, Degradation))
        if not found:
            trail.bend("retrieval", "no_source", "random")
            return chance(people, seed, self._pool_size)
        return merge(found, people, self._pool_size)

    async def _ask(self, name: str, people: EligiblePeople, query: SourceQuery, deadline: Deadline) -> Ids | Degradation:
        source, key = self._sources[name], f"source:{name}"

        async def work() -> Ids:
            return checked(await self._door.call(key, source.find, people, query, deadline=deadline), query.k)

        try:
            return await enter(key, self._breakers[key], work)
        except StageFailed as exc:
            return Degradation(key, exc.reason, None)


async def prepare(people: EligiblePeople, door: ThreadDoor, deadline: Deadline) -> None:
    """Find out who is eligible, in a thread where there are so many people that it takes a while. Where no thread comes free in
    time, whoever asks first finds out: .5 ms for a million people."""
    if not people.is_prepared:
        with suppress(StageFailed):
            await door.call("mask", people.prepare, deadline=deadline)


def checked(found: Found, k: int) -> Ids:
    """The ids that a source returned, at most k. Raises StageBroken when they are no ids."""
    ids = np.asarray(found.ids)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise StageBroken("a source returned no one-dimensional array of integers")
    return ids[:k].astype(np.int64)


def merge(found: Mapping[str, Ids], people: EligiblePeople, pool_size: int) -> Candidates:
    """Each source's first, then each one's second, and so on, sources in the order of their names, up to `pool_size`.

    So the result does not depend on who answered first, and no source crowds out another. Whoever several found stands
    where the first of them put him and bears the names of all. Ids that are not eligible are dropped: a source's mistakes
    must not leak.
    """
    names = tuple(sorted(found))
    ids = np.concatenate([found[name] for name in names])
    ranks = np.concatenate([np.arange(len(found[name])) for name in names])
    sources = np.repeat(np.arange(len(names), dtype=np.uint64), [len(found[name]) for name in names])
    order = np.lexsort((sources, ranks))
    order = order[people.contains(ids[order])]
    unique, first, inverse = np.unique(ids[order], return_index=True, return_inverse=True)
    bits = np.zeros(len(unique), np.uint64)
    np.bitwise_or.at(bits, inverse, np.left_shift(np.uint64(1), sources[order]))
    by_place = np.argsort(first)[:pool_size]
    return Candidates(unique[by_place], bits[by_place], names)


def chance(people: EligiblePeople, seed: int, pool_size: int) -> Candidates:
    """Random eligible people, for when no source answers."""
    ids = people.draw(pool_size, seed)
    return Candidates(ids, np.ones(len(ids), np.uint64), ("random",))
