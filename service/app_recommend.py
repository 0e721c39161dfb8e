"""The parts that answer requests, and what they share with other replicas: built in the order in which they need one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from service.controllers.writes import Aftermath
from service.experiments.registry import Registry
from service.fleet.client import Fleet
from service.fleet.leases import Leases
from service.fleet.news import News
from service.fleet.tokens import ViewerTokens
from service.plugins import Installed, InstalledSource, load_sources
from service.population.feed import ChangeFeed
from service.population.loader import Origin
from service.recommend.computation import Computation
from service.recommend.explaining import Explaining
from service.recommend.first_level import FirstLevel
from service.recommend.fragments import Fragments
from service.recommend.held import Slates
from service.recommend.identifiers import uuid7
from service.recommend.impressions import ImpressionQueue
from service.recommend.once import Once
from service.recommend.orchestrator import Orchestrator, Parts, Policy, now_utc
from service.recommend.performance import Performance
from service.recommend.pool_store import Pools
from service.recommend.pools import Lives
from service.recommend.ports import ModelSource
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
from service.resilience import Breaker, Limiter
from service.settings import Settings

_LOG = structlog.get_logger("amity.app")

FRAGMENTS, VIEWERS, SLATES, POOLS = 1 / 8, 3 / 8, 3 / 8, 1 / 8
"""Shares of the memory for what is held. Slates are what a hit is served from; a pool is needed only for another limit, or when
something has changed."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shared:
    """What replicas share, and what rests on it."""

    fleet: Fleet
    tokens: ViewerTokens
    lives: Lives
    truth: Truth
    fragments: Fragments
    settled: Settled
    viewers: Viewers
    news: News
    registry: Registry

    @classmethod
    def of(cls, settings: Settings, fleet: Fleet, origin: Origin, feed: ChangeFeed, registry: Registry) -> "Shared":
        """Connects to nothing. The feed tells of its changes from now on."""

        def told(people: Sequence[int]) -> None:
            feed.nudge()
            if not people:
                registry.nudge()

        lives = Lives(settings.pool_ttl_s, settings.pool_stale_s)
        n_bytes = settings.first_level_mb << 20
        truth = Truth(origin.users, Breaker("database"), settings.database_timeout_ms / 1000)
        fragments = Fragments(int(FRAGMENTS * n_bytes), lambda: news.is_live)
        viewers = Viewers(truth, int(VIEWERS * n_bytes))
        settled = Settled(fragments.drops)
        first = FirstLevel(fragments, viewers, settled)
        news = News(fleet, (first.changed, told), first.lost)
        feed.audience = first
        return cls(
            fleet=fleet,
            tokens=ViewerTokens(fleet, lives.token_s),
            lives=lives,
            truth=truth,
            fragments=fragments,
            settled=settled,
            viewers=viewers,
            news=news,
            registry=registry,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answering:
    """What answers requests; `renewals` and `shadow` are to be kept running."""

    orchestrator: Orchestrator
    renewals: Renewals
    breakers: Breakers
    performance: Performance
    shadow: Shadow
    rank_given: RankGiven
    why: Why
    sources: Installed[InstalledSource]

    @classmethod
    def of(
        cls, settings: Settings, shared: Shared, origin: Origin, models: ModelSource, impressions: ImpressionQueue
    ) -> "Answering":
        breakers, performance, n_bytes = Breakers(), Performance(), settings.first_level_mb << 20
        pools = Pools(shared.fleet, shared.tokens, shared.lives, int(POOLS * n_bytes))
        sources = _sources(settings)
        named = list(sources.by_name.values())
        retrieval = Retrieval(named, origin.door, breakers, settings.source_k, settings.pool_size)
        ranking = Ranking(origin.door, breakers, settings.fallback_ranker, settings.ranking_share)
        shadow = Shadow(settings.shadow_ranker, settings.shadow_share, origin.door, breakers)
        once = Once(Leases(shared.fleet), pools)
        computation = Computation(retrieval, RankingInShadow(ranking, shadow), pools, once, settings.retrieval_share, uuid7)
        deadline_s = settings.deadline_ms / 1000
        parts = Parts(
            models=models,
            routing=shared.registry,
            tokens=shared.tokens,
            courses=Courses(
                viewers=shared.viewers,
                faces=Faces(shared.truth, shared.fragments, shared.settled),
                pools=pools,
                computation=computation,
                explaining=Explaining(origin.door, breakers, settings.ranking_share),
                door=origin.door,
                exploration_share=settings.exploration_share,
            ),
            slates=Slates(shared.viewers, shared.fragments, shared.lives, int(SLATES * n_bytes)),
            renewals=Renewals(computation, impressions, deadline_s, now_utc),
            impressions=impressions,
            performance=performance,
            limiter=Limiter(settings.max_in_flight, settings.max_queued, deadline_s),
        )
        orchestrator = Orchestrator(parts, Policy(deadline_s=deadline_s, default_ranker=settings.default_ranker))
        return cls(
            orchestrator=orchestrator,
            renewals=parts.renewals,
            breakers=breakers,
            performance=performance,
            shadow=shadow,
            sources=sources,
            rank_given=RankGiven(
                models=models,
                courses=parts.courses,
                ranking=ranking,
                limiter=parts.limiter,
                deadline_s=deadline_s,
                default_ranker=settings.default_ranker,
                now=now_utc,
            ),
            why=Why(
                courses=parts.courses,
                retrieval=retrieval,
                ranking=ranking,
                limiter=parts.limiter,
                plan=orchestrator.turn,
                deadline_s=deadline_s,
            ),
        )


def _sources(settings: Settings) -> Installed[InstalledSource]:
    """The installed sources; those that cannot be used are named in the log."""
    sources = load_sources(settings)
    for problem in sources.problems:
        _LOG.warning("source left out", source=problem.name, reason=problem.reason)
    return sources


def aftermath(shared: Shared, feed: ChangeFeed) -> Aftermath:
    return Aftermath(feed, shared.tokens, shared.news, shared.viewers)


def injected(shared: Shared, answering: Answering, origin: Origin, models: ModelSource, feed: ChangeFeed) -> dict[str, Any]:
    """What handlers get, by name."""
    return {
        "orchestrator": answering.orchestrator,
        "rank_given": answering.rank_given,
        "why": answering.why,
        "performance": answering.performance,
        "models": models,
        "breakers": answering.breakers,
        "sources": answering.sources,
        "users": origin.users,
        "interactions": origin.interactions,
        "aftermath": aftermath(shared, feed),
    }
