"""Notes are called remarks; code before this release does not know the word."""

from __future__ import annotations

from alembic import op

revision = "ahead4"
down_revision = "ahead3"
branch_labels = None
depends_on = None
kind = "contract"
needs = "ahead3"


def upgrade() -> None:
    op.alter_column("touch", "note", new_column_name="remark")


def downgrade() -> None:
    op.alter_column("touch", "remark", new_column_name="note")
