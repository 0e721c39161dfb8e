"""Whom a name is of, without reading everybody: a name that nobody has took 0.8 s of a million people.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from service.repositories.online import create_index

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade() -> None:
    create_index("users_by_name", "users", "(lower(name) text_pattern_ops)")
    create_index("users_by_last_name", "users", "(lower(split_part(name, ' ', -1)) text_pattern_ops)")


def downgrade() -> None:
    op.drop_index("users_by_last_name")
    op.drop_index("users_by_name")
