"""A pool made from scratch, once for all who want it: steps 4 to 6 of a request, retrieval, features and ranking."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import numpy as np
from amity_rankers.contract import Ids
from numpy.typing import NDArray

from service.domain import Degradation
from service.fleet.tokens import Tokens
from service.recommend.flights import Shared, SingleFlight
from service.recommend.identifiers import uuid7
from service.recommend.once import Lease, Once
from service.recommend.pool_store import Pools
from service.recommend.pools import Pool, PoolKey, ViewerMarks
from service.recommend.ports import Asking, EligiblePeople, Models, Trail
from service.recommend.ranking import Ranked, RankingTask, Ranks
from service.recommend.retrieval import Candidates, Retrieval
from service.recommend.selection import order
from service.recommend.served import Serving, served
from service.resilience import Deadline
from service.telemetry import stage

_OTHER_TWIN = 1 << 64
"""The lowest bit of an id above those that seeds are taken from: of chance, in a UUID of version 7."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """One pool to make. `generations` None: not to be stored. `shared`: whoever else wants the same may have it, and any but
    `instead_of` that somebody else has made meanwhile will do."""

    asking: Asking
    marks: ViewerMarks
    models: Models
    algorithm: str
    key: PoolKey
    generations: tuple[str, str] | None
    shared: bool
    instead_of: UUID | None = None
    pool_id: UUID | None = None
    """Of the pool, where it is known before: see `Computation.side_by_side`."""
    retrieval: "Shared[Retrieved] | None" = None

    def suits(self, pool: Pool) -> bool:
        """Whether a pool found meanwhile is what was to be made."""
        made_for = (pool.generations, pool.viewer_digest, pool.bundle_version)
        wanted = (self.generations, self.marks.digest, self.models.population.bundle_version)
        return made_for == wanted and pool.pool_id != self.instead_of


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A pool and what was bent for it; `features` for whom it was made, and the viewer's `tokens` as they stood when it was
    stored. `is_new` False: somebody else has made it."""

    pool: Pool
    degraded: tuple[Degradation, ...] = ()
    features: Serving | None = None
    tokens: Tokens | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Retrieved:
    """Whom the sources found for one asking, as memory stood then, and what was bent for it."""

    people: EligiblePeople
    found: Candidates
    incarnations: NDArray[np.int32]
    degraded: tuple[Degradation, ...]


class Computation:
    """Makes pools, and stores those that are what they should be."""

    def __init__(
        self,
        retrieval: Retrieval,
        ranking: Ranks,
        pools: Pools,
        once: Once,
        retrieval_share: float,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self._retrieval = retrieval
        self._ranking = ranking
        self._pools = pools
        self._once = once
        self._share = retrieval_share
        self._new_id = new_id
        self._flights: SingleFlight[Made] = SingleFlight()
        self.sources = retrieval.configuration
        """The source configuration in words."""

    async def make(self, job: Job, deadline: Deadline, trail: Trail) -> Made:
        """The pool, and its features and tokens for the one caller for whom it was made: another may have come since the tokens
        were read."""
        if job.shared:
            flight = (job.key, job.generations, job.marks.digest, job.instead_of)
            with stage("awaited") if self._flights.flies(flight) else nullcontext():
                made, leads = await self._flights.run(flight, lambda: self._make_once(job, deadline))
        else:
            made, leads = await self._make(job, deadline), True
        trail.extend(made.degraded)
        return made if leads else replace(made, features=None, tokens=None)

    def side_by_side(self, first: Job, second: Job) -> tuple[Job, Job]:
        """Two jobs of one asking that differ in their ranker: candidates are looked for once, for whichever is made first. Their
        pools' ids differ in what no seed is taken from, so that each can be drawn again, and both explore alike."""
        retrieval: Shared[Retrieved] = Shared()
        pool_id = self._new_id()
        twin = UUID(int=pool_id.int ^ _OTHER_TWIN)
        return replace(first, pool_id=pool_id, retrieval=retrieval), replace(second, pool_id=twin, retrieval=retrieval)

    async def renew(self, job: Job, deadline: Deadline) -> Made | None:
        """The pool made in the place of a stale one; None when another replica is at it, or Redis is away."""
        async with self._once.lease(job.key) as lease:
            if not lease.is_mine:
                return None
            if lease.found is not None and job.suits(lease.found):
                return Made(lease.found, is_new=False)
            return await self._make(job, deadline, lease)

    async def _make_once(self, job: Job, deadline: Deadline) -> Made:
        """One computation in the fleet. Another replica's is waited for, for a moment."""
        if job.generations is None:
            return await self._make(job, deadline)
        async with self._once.lease(job.key) as lease:
            found = lease.found if lease.found is not None and job.suits(lease.found) else None
            if found is None and lease.is_mine is False:
                with stage("awaited"):
                    found = await self._once.awaited(job.key, job.suits, deadline)
            return Made(found, is_new=False) if found is not None else await self._make(job, deadline, lease)

    async def _make(self, job: Job, deadline: Deadline, lease: Lease | None = None) -> Made:
        trail, pool_id = Trail(), job.pool_id or self._new_id()
        retrieving = partial(self._retrieve, job, seed_of(pool_id), deadline.part(self._share))
        retrieved = await (retrieving() if job.retrieval is None else job.retrieval.get(retrieving))
        trail.extend(retrieved.degraded)
        found = retrieved.found
        task = RankingTask(job.asking.viewer.id, found.ids, retrieved.people, job.models.rankers, job.algorithm)
        ranked = await self._ranking.rank(task, deadline, trail)
        best_first = order(found.ids, ranked.scores) if ranked.names else np.arange(len(found.ids))
        pool = _pool(pool_id, job, found, ranked, best_first, retrieved.incarnations)
        stored = None
        if job.generations is not None and not trail.degraded:
            with stage("store"):
                stored = await self._pools.write(job.key, pool, lease.giving_up if lease is not None else ())
            if lease is not None:
                lease.is_over = stored is not None
        tokens = None if stored is None else stored.tokens
        return Made(pool, tuple(trail.degraded), partial(served, pool, ranked, best_first, task), tokens)

    async def _retrieve(self, job: Job, seed: int, deadline: Deadline) -> Retrieved:
        trail, asking = Trail(), job.asking
        with stage("retrieval") as retrieval:
            people = job.models.population.eligible(asking)
            found = await self._retrieval.find(people, asking.now_s, seed, deadline, trail)
            retrieval.preceded_by("mask", people.prepared_s, {"amity.n_eligible": people.n_eligible})
            incarnations = people.incarnations(found.ids)
            retrieval.tell(people.searches() | {"amity.n_candidates": len(found.ids)})
        return Retrieved(people, found, incarnations, tuple(trail.degraded))


def seed_of(pool_id: UUID) -> int:
    """What the sources of a pool drew by: asked again with it, they draw the same."""
    return pool_id.int & 0x7FFF_FFFF_FFFF_FFFF


def _pool(pool_id: UUID, job: Job, found: Candidates, ranked: Ranked, best_first: Ids, incarnations: NDArray[np.int32]) -> Pool:
    return Pool(
        pool_id=pool_id,
        algorithm_version=ranked.algorithm_version,
        bundle_version=job.models.population.bundle_version,
        source_names=found.source_names,
        ids=found.ids.take(best_first).astype("<i8", copy=False).tobytes(),
        scores=ranked.scores.take(best_first).astype("<f4", copy=False).tobytes(),
        found_by=found.found_by.take(best_first).astype("<u8", copy=False).tobytes(),
        viewer_digest=job.marks.digest,
        opinions=job.marks.opinions,
        generations=job.generations or ("", ""),
        created_at_s=job.asking.now_s,
        incarnations=b"" if (incarnations == 1).all() else incarnations[best_first].astype("<i4", copy=False).tobytes(),
    )
