"""Every metric by name. What each means to an operator, and what to do about it, says docs/observing.md."""

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from service.samples import GatheredHistogram, LoopCounter

REGISTRY = CollectorRegistry(auto_describe=True)

ProcessCollector(registry=REGISTRY)
"""`process_cpu_seconds_total`, `process_resident_memory_bytes` and the like, by the names that dashboards everywhere know."""

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

STAGE_SECONDS = GatheredHistogram(
    "amity_stage_seconds",
    "Time of one stage of a recommendation request, failed ones too.",
    ["stage", "outcome"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
REQUEST_SECONDS = GatheredHistogram(
    "amity_http_request_seconds",
    "Time of one HTTP request by route template, never by path.",
    ["method", "route", "status"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
RECOMMENDATIONS = LoopCounter(
    "amity_recommendations_total",
    "Recommendation answers by the ranker that really ranked them.",
    ["algorithm_version", "cached", "degraded"],
    registry=REGISTRY,
)
EXPERIMENT_ANSWERS = LoopCounter(
    "amity_experiment_answers_total",
    "Recommendation answers inside experiments.",
    ["experiment", "arm", "degraded"],
    registry=REGISTRY,
)
DEGRADED = Counter(
    "amity_degraded_total",
    "Things that were bent so that recommendations could be answered.",
    ["stage", "reason"],
    registry=REGISTRY,
)
UNEXPECTED_ERRORS = Counter(
    "amity_unexpected_errors_total",
    "Exceptions nobody foresaw, by the door that caught them: a stage, a request, a background task.",
    ["door", "type"],
    registry=REGISTRY,
)
"""The doors that catch what nobody foresaw: a stage and a request, which degrade; the answer's 500, where degrading is not
enough; a background task and the thread that sends traces, which go on. Two more catch and hand on: loading a plug-in, which
reports it as broken, and a worker thread, whose caller gets what was raised."""
POOL_LOOKUPS = LoopCounter("amity_pool_lookups_total", "Looks for a ranked pool.", ["outcome"], registry=REGISTRY)
"""`hit`, `stale` (served, and renewed by somebody), `miss`, `unusable` (damaged, dropped, or of a viewer who has changed), and
`unavailable` while Redis is away."""
POOL_RENEWALS = Counter(
    "amity_pool_renewals_total", "Renewals of stale pools that were asked for.", ["outcome"], registry=REGISTRY
)
"""`renewed`, `elsewhere` (another replica has done it or is at it, or Redis is away), `degraded` (not stored), `failed`,
`refused` (no room)."""
FIRST_LEVEL_BYTES = Gauge("amity_first_level_bytes", "Bytes held in process, counted.", ["kind"], registry=REGISTRY)
FIRST_LEVEL_LOOKUPS = LoopCounter(
    "amity_first_level_lookups_total", "Looks into what is held.", ["kind", "outcome"], registry=REGISTRY
)
IMPRESSIONS_DROPPED = Counter(
    "amity_impressions_dropped_total",
    "Slates whose impressions were not written.",
    ["arm"],
    registry=REGISTRY,
)
FEATURES_DROPPED = Counter("amity_served_features_dropped_total", "Pools whose features were not written.", registry=REGISTRY)
IMPRESSIONS_WRITTEN = Counter("amity_impressions_written_total", "Slates written.", registry=REGISTRY)
GUARDRAIL_ROUNDS = Counter(
    "amity_guardrail_rounds_total",
    "Looks at the guardrails of running experiments: done, elsewhere (not due: another replica has made it), failed.",
    ["outcome"],
    registry=REGISTRY,
)
GUARDRAIL_STOPS = Counter(
    "amity_guardrail_stops_total",
    "Arms of experiments that were ended since they surely broke a guardrail.",
    ["arm", "guardrail"],
    registry=REGISTRY,
)
MARKET_GINI = Gauge(
    "amity_market_exposure_gini",
    "Inequality of how often active people were shown in the last 7 days, 0 to 1; NaN while not known.",
    registry=REGISTRY,
)
MARKET_UNSHOWN = Gauge(
    "amity_market_unshown_share",
    "Share of the active people who were shown to nobody in the last 7 days, 0 to 1; NaN while not known.",
    registry=REGISTRY,
)
MARKET_NEWCOMER_HOURS = Gauge(
    "amity_market_newcomer_hours",
    "Hours within which that share of those who joined in the last 7 days had the event; NaN where fewer have.",
    ["event", "quantile"],
    registry=REGISTRY,
)
MARKET_COMPUTED = Gauge(
    "amity_market_computed_timestamp_seconds",
    "When the newest figures of the market were computed; NaN while there are none.",
    registry=REGISTRY,
)
MARKET_ROUNDS = Counter(
    "amity_market_rounds_total",
    "Looks at the figures of the market: done, elsewhere (not due: another replica has made it), failed.",
    ["outcome"],
    registry=REGISTRY,
)
REFUSED = Counter("amity_refused_total", "Requests refused for want of capacity.", ["reason"], registry=REGISTRY)
IN_FLIGHT = Gauge("amity_recommendations_in_flight", "Recommendation requests at work.", registry=REGISTRY)
SHADOW_CORRELATION = GatheredHistogram(
    "amity_shadow_rank_correlation",
    "Spearman's rank correlation of a pool's scores by the ranker in the shadow with those it was served by.",
    ["ranker", "against"],
    buckets=(-0.5, 0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0),
    registry=REGISTRY,
)
SHADOW_DRIFT = GatheredHistogram(
    "amity_shadow_score_drift",
    "Mean score of a pool by the ranker in the shadow less that by the one it was served by.",
    ["ranker", "against"],
    buckets=(-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    registry=REGISTRY,
)
SHADOW_SECONDS = GatheredHistogram(
    "amity_shadow_seconds",
    "Time in which the ranker in the shadow scored a pool.",
    ["ranker"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SHADOW_FAILURES = Counter(
    "amity_shadow_failures_total", "Pools that the ranker in the shadow did not score.", ["ranker", "reason"], registry=REGISTRY
)
"""The reasons of `degraded` for a ranker, and `no_room`: as many were waiting as may."""
TRACES = Counter(
    "amity_traces_total",
    "Traces: sent, failed (the collector did not take them), dropped (more were waiting than may).",
    ["outcome"],
    registry=REGISTRY,
)
THREADS_ABANDONED = Counter(
    "amity_threads_abandoned_total",
    "Calls that outlived their deadline and still hold a thread.",
    ["door"],
    registry=REGISTRY,
)
BREAKER_STATE = Gauge("amity_breaker_open", "1 while a breaker is open, else 0.", ["breaker"], registry=REGISTRY)
FEED_LAST_POLL = Gauge("amity_feed_last_poll_timestamp_seconds", "When the change feed was last read.", registry=REGISTRY)
FEED_LAG = Gauge(
    "amity_feed_lag_seconds",
    "Age of the oldest change that this replica has not applied; a long writing transaction holds the feed back.",
    registry=REGISTRY,
)
FEED_CHANGES = Counter("amity_feed_changes_total", "Changes applied from the feed.", ["entity"], registry=REGISTRY)
FEED_FAILURES = Counter("amity_feed_failures_total", "Reads of the change feed that failed.", registry=REGISTRY)
REDIS_REFUSED = Counter(
    "amity_redis_refused_total",
    "Commands that Redis was there for and refused: it is full, lacks a replica or disk, or may not be asked this.",
    ["command"],
    registry=REGISTRY,
)
NEWS_MESSAGES = Counter(
    "amity_news_messages_total",
    "Messages between replicas about people who changed: sent, unsent (Redis away), received, foreign (not understood).",
    ["outcome"],
    registry=REGISTRY,
)
NEWS_LAPSED = Counter(
    "amity_news_lapsed_total",
    "Times that news of other replicas stopped coming, and what rested on it was dropped.",
    registry=REGISTRY,
)
NEWS_LIVE = Gauge("amity_news_live", "1 while news from other replicas is known to arrive, else 0.", registry=REGISTRY)
POPULATION_PEOPLE = Gauge("amity_population_people", "People in memory.", ["part"], registry=REGISTRY)
POPULATION_NEWS = Gauge(
    "amity_population_relations_since", "Ordered pairs of whom the feed has brought news since the bundle.", registry=REGISTRY
)
SEARCHES = Counter("amity_searches_total", "Vector searches, by how they were planned.", ["space", "method"], registry=REGISTRY)
BUNDLE_CREATED = Gauge(
    "amity_bundle_created_timestamp_seconds",
    "When the bundle that serves was made; no sample while everyone is loaded from the database alone.",
    ["bundle_version"],
    registry=REGISTRY,
)
BUNDLE_LOADS = Counter("amity_bundle_loads_total", "Bundles loaded or refused.", ["outcome"], registry=REGISTRY)
