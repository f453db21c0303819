"""Spelling: names of settings that nobody reads, and the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from channels.kit.discovery import providers
from ops.runtime.settings import NAMES

_PREFIX = "REACTIVATE_"
#: Of the tests' own servers; no command reads them.
_FOREIGN = "REACTIVATE_TEST_"


def misspelt(names: Iterable[str]) -> Iterator[str]:
    """A sentence for every name that looks like a setting of ours and is none."""
    known = NAMES | {setting.name for channel in providers().values() for setting in channel.settings}
    for name in sorted(names):
        if not name.startswith(_PREFIX) or name.startswith(_FOREIGN) or name in known:
            continue
        # by what follows the prefix, which alone would make any two alike
        near = get_close_matches(name.removeprefix(_PREFIX), sorted(each.removeprefix(_PREFIX) for each in known), n=1)
        told = f": did you mean {_PREFIX}{near[0]}?" if near else ", and nobody reads it"
        yield f"{name} is no setting{told}"
