"""The declared schema. Migrations build it; a test compares the two.

Foreign keys are absent where much is written: two of them cost about 20 µs an interaction, half of the import's budget. Writers
of interactions instead hold the advisory lock `WRITERS` shared, check that both people exist, and erasure holds it exclusively.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, UUID

metadata = MetaData()

Instant = DateTime(timezone=True)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False, server_default=text("1")),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("name", Text, nullable=False),
    Column("age", SmallInteger),
    Column("gender", Text),
    Column("location", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("bio", Text, nullable=False, server_default=text("''")),
    Column("interests", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("seeks_genders", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("seeks_min_age", SmallInteger),
    Column("seeks_max_age", SmallInteger),
    Column("seeks_max_km", Double),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("last_active_at", Instant),
    Column("updated_at", Instant, nullable=False, server_default=func.now()),
    CheckConstraint("id >= 1", name="users_id"),
    CheckConstraint("status in ('active', 'paused', 'banned')", name="users_status"),
    CheckConstraint("age between 18 and 120", name="users_age"),
    CheckConstraint("latitude between -90 and 90 and longitude between -180 and 180", name="users_place"),
    CheckConstraint("(latitude is null) = (longitude is null)", name="users_place_whole"),
)

last_name = func.split_part(users.c.name, literal_column("' '"), literal_column("-1"), type_=Text)
_BEGINS = {"lowered": "text_pattern_ops"}
Index("users_by_name", func.lower(users.c.name).label("lowered"), postgresql_ops=_BEGINS)
Index("users_by_last_name", func.lower(last_name).label("lowered"), postgresql_ops=_BEGINS)

# One row is one thing that stands. Family 1 (opinion: like, pass, and their withdrawal) and family 2 (block, unblock) keep one
# row a pair with event_key '', which the later occurred_at replaces; family 3 (message) and 4 (view) keep one row an event.
interactions = Table(
    "interactions",
    metadata,
    Column("actor_id", BigInteger, primary_key=True, autoincrement=False),
    Column("target_id", BigInteger, primary_key=True, autoincrement=False),
    Column("family", SmallInteger, primary_key=True, autoincrement=False),
    Column("event_key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("slate_id", UUID(as_uuid=True)),
    Column("recorded_at", Instant, nullable=False, server_default=func.now()),
    CheckConstraint("actor_id <> target_id", name="interactions_two_people"),
    Index(
        "interactions_received",
        "target_id",
        "family",
        "actor_id",
        postgresql_include=["kind"],  # so that a popular person's thousands of admirers are read from the index alone
    ),
)

matches = Table(
    "matches",
    metadata,
    Column("low_id", BigInteger, primary_key=True, autoincrement=False),
    Column("high_id", BigInteger, primary_key=True, autoincrement=False),
    Column("matched_at", Instant, nullable=False),
    CheckConstraint("low_id < high_id", name="matches_order"),
    Index("matches_by_high", "high_id"),
)

impressions = Table(
    "impressions",
    metadata,
    Column("served_at", Instant, primary_key=True),
    Column("slate_id", UUID(as_uuid=True), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("viewer_id", BigInteger, nullable=False),
    Column("algorithm_version", Text, nullable=False),
    Column("bundle_version", Text),
    Column("experiment", Text),
    Column("arm", Text),
    Column("pool_id", UUID(as_uuid=True), nullable=False),
    Column("candidate_ids", ARRAY(BigInteger), nullable=False),
    Column("scores", ARRAY(REAL), nullable=False),
    Column("propensities", ARRAY(REAL), nullable=False),
    Column("exploration", ARRAY(Boolean), nullable=False),
    Column("sources", JSONB, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("degraded", Boolean, nullable=False),
    Column("teams", ARRAY(SmallInteger)),  # of an interleaved slate: which ranker brought each, 0 or 1; -1: credited to none
    Column("generation_ms", REAL),
    Column("hopefuls", BigInteger),  # bit i: the i-th `explorable` row of the pool's features could be drawn; null: none was
    Index("impressions_by_viewer", "viewer_id", "served_at"),
    Index(
        "impressions_by_experiment",
        "experiment",
        "served_at",
        postgresql_where=text("experiment is not null"),  # rows outside of experiments, most of them, pay nothing for it
    ),
    postgresql_partition_by="RANGE (served_at)",
)

served_features = Table(
    "served_features",
    metadata,
    Column("computed_at", Instant, primary_key=True),
    Column("pool_id", UUID(as_uuid=True), primary_key=True),
    Column("names", ARRAY(Text), nullable=False),
    Column("candidate_ids", ARRAY(BigInteger), nullable=False),
    Column("matrix", LargeBinary, nullable=False),
    Column("explorable", ARRAY(SmallInteger)),  # rows of the explorable with the lowest lots, the lowest first
    Index("served_features_by_pool", "pool_id"),
    postgresql_partition_by="RANGE (computed_at)",
)

experiments = Table(
    "experiments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("status", Text, nullable=False, server_default=text("'draft'")),
    Column("definition", JSONB, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("started_at", Instant),
    Column("stopped_at", Instant),
    CheckConstraint("status in ('draft', 'running', 'stopped')", name="experiments_status"),
)

# Who belongs to which cluster, as it was when the experiment started: little-endian int64 and int32, each in zlib.
experiment_clusters = Table(
    "experiment_clusters",
    metadata,
    Column("experiment", Text, ForeignKey("experiments.name", ondelete="CASCADE"), primary_key=True),
    Column("ids", LargeBinary, nullable=False),
    Column("clusters", LargeBinary, nullable=False),
    Column("frozen_at", Instant, nullable=False, server_default=func.now()),
)

bundles = Table(
    "bundles",
    metadata,
    Column("version", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("published_at", Instant),
)

# The one pointer: at most one row.
live_bundle = Table(
    "live_bundle",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("version", Text, nullable=False),
    Column("activated_at", Instant, nullable=False, server_default=func.now()),
    CheckConstraint("one", name="live_bundle_one_row"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False),
    Column("erased_at", Instant, nullable=False, server_default=func.now()),
    Index("tombstones_by_age", "erased_at"),
)

# Written by triggers only, one row a statement: a batch of 10,000 interactions is one row of arrays.
changes = Table(
    "changes",
    metadata,
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")),
    Column("entity", Text, nullable=False),
    Column("ids", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("others", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("kinds", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("recorded_at", Instant, nullable=False, server_default=func.now()),
    Index("changes_in_commit_order", "xid", "change_id"),
    Index("changes_by_age", "recorded_at"),
)

# Where an import of a file stands, so that a run that was cut off goes on.
imports = Table(
    "imports",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("done_records", BigInteger, nullable=False),
    Column("state", JSONB, nullable=False),
    Column("updated_at", Instant, nullable=False, server_default=func.now()),
)

market_figures = Table(
    "market_figures",
    metadata,
    Column("computed_at", Instant, primary_key=True),
    Column("figures", JSONB, nullable=False),
)
"""How the market does, as it was computed every few minutes: `MarketFigures` of domain_market."""

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
)
"""Single facts about this database, such as `demo`: the seed and size of the demo population that fills it."""
