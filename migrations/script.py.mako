"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
phase = "expand"


def upgrade() -> None:
    ${upgrades if upgrades else "raise SystemExit('write the migration')"}


def downgrade() -> None:
    ${downgrades if downgrades else "raise SystemExit('write the way back')"}
