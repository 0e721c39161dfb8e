"""Who was erased since a time, without reading all tombstones: replicas ask twice a second while an experiment by clusters runs.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from service.repositories.online import create_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade() -> None:
    create_index("tombstones_by_age", "tombstones", "(erased_at)")


def downgrade() -> None:
    op.drop_index("tombstones_by_age")
