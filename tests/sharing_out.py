"""Which tests stay together when several processes share a run: those of a module, and all that want both cores.

The mark `xdist_group` would say the same beside each test, but pytest-xdist 3.8 does not see it under pytest 9.2.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

#: Their tests start whole fleets, private servers or runs, or a thousand requests: never two of them at the same time.
_WANT_BOTH_CORES = frozenset(
    {
        "tests/demo/test_rehearsal.py",
        "tests/demo/test_story.py",
        "tests/services/test_start.py",
        "tests/services/test_workers.py",
        "tests/web/test_spool_process.py",
    }
)


def share_of(nodeid: str) -> str:
    """What a test is done together with, by one worker: its module, whose fixtures are made once."""
    module = nodeid.partition("::")[0]
    return "both cores" if module in _WANT_BOTH_CORES else module


class Shares(LoadScopeScheduling):
    """Hands out one share at a time to whoever is free, those of the most tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
