"""Every touch that was there before has a note."""

from __future__ import annotations

from ops.migrations import online

revision = "ahead2"
down_revision = "ahead1"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    online.backfill("touch", "note = 'old'", "note IS NULL", batch=50)


def downgrade() -> None:
    """What was filled goes with its column."""
