"""What estimates of a ranker not yet served need: among whom the exploration slots of a slate were drawn.

Expands only, and rewrites nothing: the version before leaves both columns null, which says that nothing can be told of its draws.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade() -> None:
    op.add_column("impressions", sa.Column("hopefuls", sa.BigInteger))
    op.add_column("served_features", sa.Column("explorable", pg.ARRAY(sa.SmallInteger)))


def downgrade() -> None:
    op.drop_column("served_features", "explorable")
    op.drop_column("impressions", "hopefuls")
