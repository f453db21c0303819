"""Names that are one test's own: of a database, a virtual host, or the prefix of its keys in Redis."""

from __future__ import annotations

import os
import uuid

#: Which process of a run shared out among several this is (`gw0`, `gw1`, …); `alone` where there is one.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")


def own_name(kind: str, worker: str = WORKER) -> str:
    """A name nobody else has, in letters that every server takes; what is left behind tells whose it was."""
    return f"reactivate_{kind}_{worker}_{uuid.uuid4().hex[:12]}"
