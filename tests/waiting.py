"""Waiting for a state that nobody signals, with a deadline on which no behaviour depends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds until a test gives up, however loaded the machine is.
DEADLINE = 60.0

#: Seconds between two looks.
_PAUSE = 0.01


def wait_until(is_so: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait until something is so; fail at the deadline."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, "the state did not come"
        pause.wait(_PAUSE)
