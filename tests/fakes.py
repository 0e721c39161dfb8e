"""Fakes of the orchestrator's ports: people in memory, plug-ins that misbehave, clocks that are turned by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Floats, Found, Ids, Mask, RankingBatch, SourceQuery
from numpy.typing import NDArray

from service.domain import Impression, Profile, RecommendationRequest, Relations, ServedFeatures, Status
from service.errors import DatabaseUnavailable
from service.plugins import InstalledSource, LoadedRanker
from service.recommend.computation import Computation
from service.recommend.eligibility import ineligible_reason
from service.recommend.orchestrator import Orchestrator, Parts, Policy
from service.recommend.performance import Performance
from service.recommend.pools import Pool, PoolKey, PoolRead
from service.recommend.ports import Asking, Models
from service.recommend.profiles import Truth
from service.recommend.ranking import Ranking
from service.recommend.retrieval import Retrieval
from service.recommend.stages import Breakers
from service.resilience import Breaker, Deadline, Limiter
from service.threads import ThreadDoor

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def person(person_id: int, **changes: Any) -> Profile:
    values: dict[str, Any] = {"name": f"P{person_id}", "age": 30, "created_at": NOW - timedelta(days=person_id)}
    return Profile(id=person_id, **(values | changes))


class FakeClock:
    """Monotonic seconds, and the wall clock that goes with them."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def monotonic(self) -> float:
        return self.elapsed_s

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)


class FakePeople:
    """The contract's People over a dictionary; every inner product is the id, so that the youngest ids are worst."""

    def __init__(self, viewer_id: int, ids: Iterable[int], incarnations: Mapping[int, int] | None = None) -> None:
        self.viewer_id = viewer_id
        self._ids = np.array(sorted(ids), np.int64)
        self._incarnations = incarnations or {}
        self.n_eligible = len(self._ids)
        self.liked_by = np.empty(0, np.int64)
        self.is_prepared = True

    def prepare(self) -> None:
        """It is known from the start."""

    def searches(self) -> dict[str, str | int | float]:
        return {}

    def search(self, space: str, query: Floats, k: int) -> Found:
        return Found(self._ids[::-1][:k], np.linspace(1, 0, min(k, self.n_eligible), dtype=np.float32))

    def viewer_vector(self, space: str) -> Floats | None:
        return None

    def draw(self, k: int, seed: int) -> Ids:
        return np.random.default_rng(seed).choice(self._ids, min(k, self.n_eligible), replace=False)

    def newest(self, k: int, since_s: float, seed: int) -> tuple[Ids, NDArray[np.float64]]:
        return self._ids[:k], np.full(min(k, self.n_eligible), since_s)

    def eligible_ids(self) -> Ids:
        return self._ids

    def column(self, name: str) -> NDArray[Any]:
        return np.full(self.n_eligible, np.nan)

    def contains(self, ids: Ids) -> Mask:
        return np.isin(ids, self._ids)

    def incarnations(self, ids: Ids) -> NDArray[np.int32]:
        return np.array([self._incarnations.get(one, 1) for one in ids.tolist()], np.int32)

    def features(self, ids: Ids, names: tuple[str, ...]) -> Floats:
        return np.repeat(ids.astype(np.float32)[:, None], len(names), axis=1)


class FakePopulation:
    """What memory knows, judged by the rule for one pair."""

    def __init__(self, people: Iterable[Profile] = (), relations: Relations | None = None) -> None:
        self.people = {one.id: one for one in people}
        self.known_relations = relations or Relations()
        self.bundle_version: str | None = "b1"

    @property
    def n_people(self) -> int:
        return len(self.people)

    def profile(self, person_id: int) -> Profile | None:
        return self.people.get(person_id)

    def relations(self, person_id: int) -> Relations:
        return self.known_relations

    def eligible(self, asking: Asking) -> FakePeople:
        request = RecommendationRequest(
            viewer_id=asking.viewer.id,
            filters=asking.filters,
            exclude_seen=asking.exclude_seen,
            exclude_ids=asking.without,
        )
        now = datetime.fromtimestamp(asking.now_s, UTC)
        fine = (
            one.id
            for one in self.people.values()
            if ineligible_reason(asking.viewer, one, asking.relations, request, now) is None
        )
        return FakePeople(asking.viewer.id, fine, {one.id: one.incarnation for one in self.people.values()})

    def similar(self, one: Profile, hidden: frozenset[int], k: int) -> Found:
        ids = [
            other.id
            for other in self.people.values()
            if other.id != one.id and other.id not in hidden and other.status is Status.ACTIVE
        ]
        return Found(np.array(ids[:k], np.int64), np.linspace(1, 0, len(ids[:k]), dtype=np.float32))


class FakeDatabase:
    """ViewerStore and RelationStore; `down` makes it refuse."""

    def __init__(self, people: Iterable[Profile] = (), relations: Relations | None = None) -> None:
        self.people = {one.id: one for one in people}
        self.known_relations = relations or Relations()
        self.down = False
        self.reads: list[str] = []

    def _answer(self, read: str) -> None:
        self.reads.append(read)
        if self.down:
            raise DatabaseUnavailable

    async def get(self, person_id: int, /) -> Profile | None:
        self._answer("viewer")
        return self.people.get(person_id)

    async def many(self, ids: Sequence[int], /) -> Mapping[int, Profile]:
        self._answer("profiles")
        return {one: self.people[one] for one in ids if one in self.people}

    async def relations(self, viewer_id: int, /) -> Relations:
        self._answer("relations")
        return self.known_relations


class MemoryPools:
    """A PoolStore in a dictionary; `away` makes it behave as a Redis that is not there."""

    def __init__(self) -> None:
        self.stored: dict[str, Pool] = {}
        self.generation: dict[int | None, int] = {}
        self.away = False

    def generations(self, key: PoolKey) -> tuple[str, str]:
        return str(self.generation.get(None, 0)), str(self.generation.get(key.viewer_id, 0))

    async def read(self, key: PoolKey, deadline: Deadline) -> PoolRead:
        if self.away:
            return PoolRead(None, None)
        pool = self.stored.get(key.pool)
        fresh = pool is not None and pool.generations == self.generations(key)
        return PoolRead(pool if fresh else None, self.generations(key))

    async def read_generations(self, key: PoolKey, deadline: Deadline) -> PoolRead:
        return PoolRead(None, None if self.away else self.generations(key))

    async def write(self, key: PoolKey, pool: Pool) -> None:
        self.stored[key.pool] = pool

    async def invalidate(self, viewer_ids: Sequence[int] | None) -> bool:
        for viewer_id in [None] if viewer_ids is None else viewer_ids:
            self.generation[viewer_id] = self.generation.get(viewer_id, 0) + 1
        return not self.away


class KeptImpressions:
    def __init__(self) -> None:
        self.slates: list[Impression] = []
        self.features: list[ServedFeatures] = []

    def offer(self, impression: Impression, features: ServedFeatures | None) -> None:
        self.slates.append(impression)
        if features is not None:
            self.features.append(features)


class FakeSource:
    """Finds everyone, the largest ids first, or does what it is told; counts how often it was asked."""

    contract_version = CONTRACT_VERSION
    version = "1"

    def __init__(self, finding: Callable[[Any, SourceQuery], Any] | None = None) -> None:
        self._finding = finding
        self.asked = 0

    def find(self, people: Any, query: SourceQuery) -> Any:
        self.asked += 1
        return self._finding(people, query) if self._finding else people.search("mutual", None, query.k)


class FakeRanker:
    """Scores by id, the larger the better, or as it is told; counts how often it was asked."""

    def __init__(self, scoring: Callable[[RankingBatch], Any] | None = None) -> None:
        self._scoring = scoring
        self.asked = 0

    def score(self, batch: RankingBatch) -> Any:
        self.asked += 1
        if self._scoring:
            return self._scoring(batch)
        return (batch.features[:, 0] / (1 + np.abs(batch.features[:, 0]))).astype(np.float32)


def loaded(name: str, ranker: FakeRanker | None, inline: bool = True) -> LoadedRanker:
    return LoadedRanker(
        name=name,
        version="1",
        distribution="fakes",
        distribution_version="1",
        required_features=("forward_affinity",),
        needs_bundle=False,
        inline=inline,
        ranker=ranker,
        problem=None if ranker else "no bundle",
    )


class World:
    """A whole orchestrator on fakes; each part is an attribute that a test may bend."""

    def __init__(self, people: Iterable[Profile], relations: Relations | None = None, **sources: FakeSource) -> None:
        everyone = list(people)
        self.clock = FakeClock()
        self.database = FakeDatabase(everyone, relations)
        self.memory = FakePopulation(everyone, relations)
        self.pools = MemoryPools()
        self.impressions = KeptImpressions()
        self.performance = Performance(self.clock.monotonic)
        self.sources = sources or {"explore": FakeSource()}
        self.rankers = {"v1": loaded("v1", FakeRanker()), "heuristic": loaded("heuristic", FakeRanker())}
        self.door = ThreadDoor(4)
        self.deadline_s = 2.0
        self.exploration_share = 0.0
        self.limiter = Limiter(8, 8, 1.0)
        self.truth = Truth(self.database, self.database, Breaker("database"), timeout_s=0.5)
        self.orchestrator = self.build()

    @property
    def current(self) -> Models:
        return Models(self.memory, self.rankers)

    def build(self) -> Orchestrator:
        breakers = Breakers()
        installed = [InstalledSource(name, source, "fakes", "1") for name, source in self.sources.items()]
        retrieval = Retrieval(installed, self.door, breakers, source_k=200, pool_size=500)
        ranking = Ranking(self.door, breakers, fallback="heuristic", share=0.25)
        parts = Parts(
            models=self,
            truth=self.truth,
            pools=self.pools,
            computation=Computation(retrieval, ranking, self.pools, retrieval_share=0.6),
            impressions=self.impressions,
            performance=self.performance,
            limiter=self.limiter,
            door=self.door,
            now=self.clock.now,
        )
        return Orchestrator(
            parts, Policy(deadline_s=self.deadline_s, default_ranker="v1", exploration_share=self.exploration_share)
        )
