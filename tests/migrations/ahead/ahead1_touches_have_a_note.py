"""Touches have a note, which only newer code writes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ops.migrations.steps import steps

revision = "ahead1"
# after whatever is newest
down_revision = steps()[-1].revision
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.add_column("touch", sa.Column("note", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("touch", "note")
