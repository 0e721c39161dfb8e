"""Fakes of the orchestrator's ports: people in memory, plug-ins that misbehave, clocks that are turned by hand."""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Floats, Found, Ids, Mask, RankingBatch, SourceQuery
from numpy.typing import NDArray

from service.domain import Impression, Profile, RecommendationRequest, Relations, ServedFeatures, Status
from service.errors import DatabaseUnavailable
from service.experiments.routing import Router
from service.fleet import keys
from service.fleet.tokens import Asked, Tokens
from service.fleet.wire import Command
from service.plugins import InstalledSource, LoadedRanker
from service.recommend.computation import Computation
from service.recommend.eligibility import ineligible_reason
from service.recommend.explaining import Explaining
from service.recommend.first_level import FirstLevel
from service.recommend.fragments import Fragments
from service.recommend.held import Slates
from service.recommend.once import Once
from service.recommend.orchestrator import Orchestrator, Parts, Policy
from service.recommend.performance import Performance
from service.recommend.pool_store import Pools
from service.recommend.pools import Lives, Pool, decode
from service.recommend.ports import Asking, LeaseOffice, Models, Replaced, SharedStore, TokenSource
from service.recommend.profiles import Faces, Truth
from service.recommend.rank_given import RankGiven
from service.recommend.ranking import Ranking
from service.recommend.renewals import Renewals
from service.recommend.retrieval import Retrieval
from service.recommend.settled import Settled
from service.recommend.shadow import RankingInShadow, Shadow
from service.recommend.stages import Breakers
from service.recommend.turns import Courses
from service.recommend.viewers import Viewers
from service.recommend.why import Why
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
        self.prepared_s = time.perf_counter()

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

    at_hand = profile

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
    """A PeopleStore; `down` makes it refuse."""

    def __init__(self, people: Iterable[Profile] = (), relations: Relations | None = None) -> None:
        self.people = {one.id: one for one in people}
        self.known_relations = relations or Relations()
        self.down = False
        self.reads: list[str] = []

    def _answer(self, read: str) -> None:
        self.reads.append(read)
        if self.down:
            raise DatabaseUnavailable

    async def viewer(self, person_id: int, /) -> tuple[Profile, Relations] | None:
        self._answer("viewer")
        found = self.people.get(person_id)
        return None if found is None else (found, self.known_relations)

    async def many(self, ids: Sequence[int], /) -> Mapping[int, Profile]:
        self._answer("profiles")
        return {one: self.people[one] for one in ids if one in self.people}


class MemoryRedis:
    """What replicas share, in a dictionary: a TokenSource, a SharedStore and a LeaseOffice. `away` makes it behave as a Redis
    that is not there. Nothing lapses but what a test takes away."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.away = False
        self.looks: list[tuple[str, ...]] = []
        self.strangers: list[int] = []
        self._numbers = itertools.count(1)

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools in it, by key."""
        found = {name: decode(value) for name, value in self.values.items() if ":pool:" in name}
        return {name: pool for name, pool in found.items() if pool is not None}

    def lose_pools(self) -> None:
        for name in self.pools:
            del self.values[name]

    async def read(
        self, viewer_id: int, extra_keys: Sequence[str], deadline: Deadline, is_stranger: bool = False
    ) -> tuple[Tokens, list[bytes | None]] | None:
        await asyncio.sleep(0)
        self.looks.append(tuple(extra_keys))
        self.strangers += [viewer_id] * is_stranger
        if self.away:
            return None
        names = (keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL)
        tokens = [self.values.setdefault(name, self._token()).decode() for name in names]
        return Tokens(*tokens), [self.values.get(name) for name in extra_keys]

    def begin_read(self, viewer_id: int) -> Asked | None:
        self.looks.append(())
        if self.away:
            return None
        names = (keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL)
        asked: Asked = asyncio.get_running_loop().create_future()
        asked.get_loop().call_soon(lambda: asked.set_result([self.values.get(name) for name in names]))
        return asked

    async def changed(self, viewer_ids: Collection[int]) -> bool:
        return self._replace(map(keys.version, viewer_ids))

    async def drop_pools(self, viewer_ids: Collection[int] | None) -> bool:
        return self._replace([keys.GENERATION_OF_ALL] if viewer_ids is None else map(keys.generation, viewer_ids))

    def prolonged(self, viewer_id: int) -> list[Command]:
        return [("GETEX", name) for name in (keys.version(viewer_id), keys.generation(viewer_id), keys.GENERATION_OF_ALL)]

    async def run(self, what: str, commands: Sequence[Command], deadline: Deadline) -> list[Any] | None:
        if self.away:
            return None
        return [await self._done(command) for command in commands]

    async def _done(self, command: Command) -> bytes | None:
        if command[0] == "SET":
            self.values[str(command[1])] = command[2]  # type: ignore[assignment]
        elif command[0] == "RELEASE":
            await self.release(str(command[1]), str(command[2]))
        elif command[0] == "GETEX":
            return self.values.get(str(command[1]))
        return b"OK"

    async def contend(self, key: str, owner: str, life_ms: int, names: Sequence[str]) -> tuple[bool, list[bytes | None]] | None:
        if self.away:
            return None
        is_mine = self.values.setdefault(key, owner.encode()) == owner.encode()
        return is_mine, [self.values.get(name) for name in names]

    def releasing(self, key: str, owner: str) -> list[Command]:
        return [("RELEASE", key, owner)]

    async def release(self, key: str, owner: str) -> None:
        if not self.away and self.values.get(key) == owner.encode():
            del self.values[key]

    def _replace(self, names: Iterable[str]) -> bool:
        if not self.away:
            self.values.update({name: self._token() for name in names})
        return not self.away

    def _token(self) -> bytes:
        return b"%016x" % next(self._numbers)


class KeptImpressions:
    def __init__(self) -> None:
        self.slates: list[Impression] = []
        self.features: list[ServedFeatures] = []

    def offer(self, impression: Impression | None, features: ServedFeatures | None) -> None:
        if impression is not None:
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
    """A whole orchestrator on fakes; each part is an attribute that a test may bend, before `build` makes another replica of
    them. `relate`, `change` and `erase` are writes with their aftermath."""

    def __init__(self, people: Iterable[Profile], relations: Relations | None = None, **sources: FakeSource) -> None:
        everyone = list(people)
        self.clock = FakeClock()
        self.database = FakeDatabase(everyone, relations)
        self.memory = FakePopulation(everyone, relations)
        self.redis = MemoryRedis()
        self.tokens: TokenSource = self.redis
        self.store: SharedStore = self.redis
        self.leases: LeaseOffice = self.redis
        self.lives = Lives(600, 600)
        self.router = Router("v1")
        self.replaced: Replaced | None = None
        self.news_live = True
        self.impressions = KeptImpressions()
        self.performance = Performance(self.clock.monotonic)
        self.sources = sources or {"explore": FakeSource()}
        self.rankers = {"v1": loaded("v1", FakeRanker()), "heuristic": loaded("heuristic", FakeRanker())}
        self.door = ThreadDoor(4)
        self.deadline_s = 2.0
        self.exploration_share = 0.0
        self.shadow_ranker = ""
        self.limiter = Limiter(8, 8, 1.0)
        self.truth = Truth(self.database, Breaker("database"), timeout_s=0.5)
        self.orchestrator = self.build()

    @property
    def current(self) -> Models:
        return Models(self.memory, self.rankers, self.replaced)

    def build(self, fragments_bytes: int = 1 << 20) -> Orchestrator:
        """A replica; `viewers`, `fragments`, `pools`, `slates`, `computation`, `renewals`, `shadow`, `rank_given` and `why` are
        then its own."""
        breakers = Breakers()
        installed = [InstalledSource(name, source, "fakes", "1") for name, source in self.sources.items()]
        retrieval = Retrieval(installed, self.door, breakers, source_k=200, pool_size=500)
        ranking = Ranking(self.door, breakers, fallback="heuristic", share=0.25)
        self.viewers = Viewers(self.truth, 1 << 20)
        self.fragments = Fragments(fragments_bytes, lambda: self.news_live)
        settled = Settled(self.fragments.drops)
        self.first = FirstLevel(self.fragments, self.viewers, settled)
        self.pools = Pools(self.store, self.tokens, self.lives, 1 << 20)
        once = Once(self.leases, self.pools)
        self.shadow = Shadow(self.shadow_ranker, 1.0, self.door, breakers, pause_s=0.0)
        in_shadow = RankingInShadow(ranking, self.shadow)
        self.computation = Computation(retrieval, in_shadow, self.pools, once, retrieval_share=0.6)
        self.slates = Slates(self.viewers, self.fragments, self.lives, 1 << 20)
        self.renewals = Renewals(self.computation, self.impressions, self.deadline_s, self.clock.now)
        parts = Parts(
            models=self,
            routing=self,
            tokens=self.tokens,
            courses=Courses(
                viewers=self.viewers,
                faces=Faces(self.truth, self.fragments, settled),
                pools=self.pools,
                computation=self.computation,
                explaining=Explaining(self.door, breakers, share=0.25),
                door=self.door,
                exploration_share=self.exploration_share,
            ),
            slates=self.slates,
            renewals=self.renewals,
            impressions=self.impressions,
            performance=self.performance,
            limiter=self.limiter,
            later=lambda work: work(),
            now=self.clock.now,
        )
        orchestrator = Orchestrator(parts, Policy(deadline_s=self.deadline_s, default_ranker="v1"))
        self.rank_given = RankGiven(
            models=self,
            courses=parts.courses,
            ranking=ranking,
            limiter=self.limiter,
            deadline_s=self.deadline_s,
            default_ranker="v1",
            now=self.clock.now,
        )
        self.why = Why(
            courses=parts.courses,
            retrieval=retrieval,
            ranking=ranking,
            limiter=self.limiter,
            plan=orchestrator.turn,
            deadline_s=self.deadline_s,
        )
        return orchestrator

    async def relate(self, relations: Relations, *people: int) -> None:
        """Commit what stands between people, the viewer 1 among them, and tell as a write does."""
        self.database.known_relations = relations
        await self.redis.changed([1, *people])

    async def change(self, profile: Profile) -> None:
        """Commit a profile, and tell as a write does."""
        self.database.people[profile.id] = profile
        await self.redis.changed([profile.id])
        self.first.changed([profile.id])

    async def erase(self, person_id: int) -> None:
        """Erase somebody, and tell as a write and the feed do."""
        del self.database.people[person_id]
        await self.redis.changed([person_id])
        self.first.erased([person_id])
