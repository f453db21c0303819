"""Notes are found by an index."""

from __future__ import annotations

from ops.migrations import online

revision = "ahead3"
down_revision = "ahead2"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    online.create_index("ix_touch_note", "touch", ["note"], where="note IS NOT NULL")


def downgrade() -> None:
    online.drop_index("ix_touch_note", "touch")
