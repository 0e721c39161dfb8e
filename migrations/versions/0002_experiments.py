"""What experiments need: maps of clusters, teams of interleaved slates, and how long a slate took.

Expands only: the version before writes and reads on as it did. Slates wait to be written while the index is made, which reads
every impression once and holds nothing yet, since none was shown in an experiment so far: about 25 s for 10 million of them.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("impressions", sa.Column("teams", pg.ARRAY(sa.SmallInteger)))
    op.add_column("impressions", sa.Column("generation_ms", pg.REAL))
    op.create_index(
        "impressions_by_experiment",
        "impressions",
        ["experiment", "served_at"],
        postgresql_where=sa.text("experiment is not null"),
    )
    op.create_table(
        "experiment_clusters",
        sa.Column("experiment", sa.Text, sa.ForeignKey("experiments.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        sa.Column("clusters", sa.LargeBinary, nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    op.drop_table("experiment_clusters")
    op.drop_index("impressions_by_experiment", "impressions")
    op.drop_column("impressions", "generation_ms")
    op.drop_column("impressions", "teams")
