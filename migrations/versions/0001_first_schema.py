"""The first schema: people, what they do, what they were shown, and the feed of changes.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
phase = "expand"

INSTANT = sa.DateTime(timezone=True)
TABLES = (
    "users",
    "interactions",
    "matches",
    "impressions",
    "served_features",
    "experiments",
    "bundles",
    "live_bundle",
    "tombstones",
    "changes",
    "imports",
    "facts",
)

# A statement that touches a million rows becomes a hundred changes: no reader has to hold an array of any size.
CHUNK = 10_000

USERS_CHANGED = f"""
create function amity_users_changed() returns trigger language plpgsql as $$
begin
    insert into changes (entity, ids)
    select case tg_op when 'DELETE' then 'erasure' else 'user' end, array_agg(id)
    from (select id, (row_number() over () - 1) / {CHUNK} as chunk from touched) numbered
    group by chunk order by chunk;
    return null;
end $$
"""

INTERACTIONS_CHANGED = f"""
create function amity_interactions_changed() returns trigger language plpgsql as $$
begin
    insert into changes (entity, ids, others, kinds)
    select 'interaction', array_agg(actor_id), array_agg(target_id), array_agg(kind)
    from (select actor_id, target_id, kind, (row_number() over () - 1) / {CHUNK} as chunk from touched) numbered
    group by chunk order by chunk;
    return null;
end $$
"""

# The argument of the trigger is the entity. Readers look at the table itself. By row, since an upsert of one row fires the
# triggers of both statements.
TABLE_CHANGED = """
create function amity_table_changed() returns trigger language plpgsql as $$
begin
    insert into changes (entity) values (tg_argv[0]);
    return null;
end $$
"""

# Transition tables allow one event a trigger. Erasure deletes interactions, and says so by the deleted user.
TRIGGERS = (
    "create trigger users_inserted after insert on users referencing new table as touched "
    "for each statement execute function amity_users_changed()",
    "create trigger users_updated after update on users referencing new table as touched "
    "for each statement execute function amity_users_changed()",
    "create trigger users_deleted after delete on users referencing old table as touched "
    "for each statement execute function amity_users_changed()",
    "create trigger interactions_inserted after insert on interactions referencing new table as touched "
    "for each statement execute function amity_interactions_changed()",
    "create trigger interactions_updated after update on interactions referencing new table as touched "
    "for each statement execute function amity_interactions_changed()",
    "create trigger live_bundle_changed after insert or update or delete on live_bundle "
    "for each row execute function amity_table_changed('bundle')",
    "create trigger experiments_changed after insert or update or delete on experiments "
    "for each row execute function amity_table_changed('experiment')",
)


def upgrade() -> None:
    create_users()
    create_interactions()
    create_impressions()
    create_registry()
    create_feed()
    create_records()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    for function in ("amity_users_changed", "amity_interactions_changed", "amity_table_changed"):
        op.execute(f"drop function {function}()")


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("incarnation", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'active'")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("age", sa.SmallInteger),
        sa.Column("gender", sa.Text),
        sa.Column("location", sa.Text),
        sa.Column("latitude", sa.Double),
        sa.Column("longitude", sa.Double),
        sa.Column("bio", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("interests", pg.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("seeks_genders", pg.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("seeks_min_age", sa.SmallInteger),
        sa.Column("seeks_max_age", sa.SmallInteger),
        sa.Column("seeks_max_km", sa.Double),
        sa.Column("created_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("last_active_at", INSTANT),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("id >= 1", name="users_id"),
        sa.CheckConstraint("status in ('active', 'paused', 'banned')", name="users_status"),
        sa.CheckConstraint("age between 18 and 120", name="users_age"),
        sa.CheckConstraint("latitude between -90 and 90 and longitude between -180 and 180", name="users_place"),
        sa.CheckConstraint("(latitude is null) = (longitude is null)", name="users_place_whole"),
    )
    op.create_table(
        "tombstones",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
        sa.Column("erased_at", INSTANT, nullable=False, server_default=sa.func.now()),
    )


def create_interactions() -> None:
    op.create_table(
        "interactions",
        sa.Column("actor_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("target_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("family", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("event_key", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("slate_id", pg.UUID(as_uuid=True)),
        sa.Column("recorded_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("actor_id <> target_id", name="interactions_two_people"),
    )
    op.create_index(
        "interactions_received",
        "interactions",
        ["target_id", "family", "actor_id"],
        postgresql_include=["kind"],
    )
    op.create_table(
        "matches",
        sa.Column("low_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("high_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("matched_at", INSTANT, nullable=False),
        sa.CheckConstraint("low_id < high_id", name="matches_order"),
    )
    op.create_index("matches_by_high", "matches", ["high_id"])


def create_impressions() -> None:
    """Partitioned by day. The default partition takes what no day's does, so that no write is ever refused."""
    op.create_table(
        "impressions",
        sa.Column("served_at", INSTANT, primary_key=True),
        sa.Column("slate_id", pg.UUID(as_uuid=True), primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("viewer_id", sa.BigInteger, nullable=False),
        sa.Column("algorithm_version", sa.Text, nullable=False),
        sa.Column("bundle_version", sa.Text),
        sa.Column("experiment", sa.Text),
        sa.Column("arm", sa.Text),
        sa.Column("pool_id", pg.UUID(as_uuid=True), nullable=False),
        sa.Column("candidate_ids", pg.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("scores", pg.ARRAY(pg.REAL), nullable=False),
        sa.Column("propensities", pg.ARRAY(pg.REAL), nullable=False),
        sa.Column("exploration", pg.ARRAY(sa.Boolean), nullable=False),
        sa.Column("sources", pg.JSONB, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("degraded", sa.Boolean, nullable=False),
        postgresql_partition_by="RANGE (served_at)",
    )
    op.create_index("impressions_by_viewer", "impressions", ["viewer_id", "served_at"])
    op.create_table(
        "served_features",
        sa.Column("computed_at", INSTANT, primary_key=True),
        sa.Column("pool_id", pg.UUID(as_uuid=True), primary_key=True),
        sa.Column("names", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("candidate_ids", pg.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("matrix", sa.LargeBinary, nullable=False),
        postgresql_partition_by="RANGE (computed_at)",
    )
    op.create_index("served_features_by_pool", "served_features", ["pool_id"])
    op.execute("create table impressions_default partition of impressions default")
    op.execute("create table served_features_default partition of served_features default")


def create_registry() -> None:
    op.create_table(
        "experiments",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'draft'")),
        sa.Column("definition", pg.JSONB, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("started_at", INSTANT),
        sa.Column("stopped_at", INSTANT),
        sa.CheckConstraint("status in ('draft', 'running', 'stopped')", name="experiments_status"),
    )
    op.create_table(
        "bundles",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("metrics", pg.JSONB, nullable=False),
        sa.Column("published_at", INSTANT),
    )
    op.create_table(
        "live_bundle",
        sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("activated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("one", name="live_bundle_one_row"),
    )


def create_feed() -> None:
    xid = sa.text("(pg_current_xact_id()::text)::bigint")
    op.create_table(
        "changes",
        sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("xid", sa.BigInteger, nullable=False, server_default=xid),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("ids", pg.ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("others", pg.ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("kinds", pg.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("recorded_at", INSTANT, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("changes_in_commit_order", "changes", ["xid", "change_id"])
    op.create_index("changes_by_age", "changes", ["recorded_at"])
    # Uncompressed, which halves the trigger's time: 0.7 instead of 1.5 µs a row of a statement of 100,000. Kinds shrink well.
    op.execute("alter table changes alter column ids set storage external, alter column others set storage external")
    for statement in (USERS_CHANGED, INTERACTIONS_CHANGED, TABLE_CHANGED, *TRIGGERS):
        op.execute(statement)


def create_records() -> None:
    op.create_table(
        "imports",
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("done_records", sa.BigInteger, nullable=False),
        sa.Column("state", pg.JSONB, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", pg.JSONB, nullable=False),
    )
