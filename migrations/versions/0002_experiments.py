"""What experiments need: maps of clusters, teams of interleaved slates, and how long a slate took.

The version before writes and reads on as it did. The index reads every impression once, about 25 s for 10 million of them, and
holds nothing yet, since none was shown in an experiment so far.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from service.repositories.online import create_index

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade() -> None:
    create_index("impressions_by_experiment", "impressions", "(experiment, served_at) where experiment is not null")
    op.add_column("impressions", sa.Column("teams", pg.ARRAY(sa.SmallInteger)))
    op.add_column("impressions", sa.Column("generation_ms", pg.REAL))
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
