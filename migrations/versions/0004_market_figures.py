"""Figures of the market: how evenly people are shown, and how long newcomers wait.

Expands only: a table that the version before does not know of.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade() -> None:
    op.create_table(
        "market_figures",
        sa.Column("computed_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("figures", pg.JSONB, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("market_figures")
