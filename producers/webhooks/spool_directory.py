"""A spool's directory: the files in it, those set aside in `failed/` to be tried again, and whether it can be written.

Several processes may share one: a file may be gone as soon as it was seen.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from producers.webhooks.spool_file import SUFFIX, Record, keep_aside, make_directory, move

_log = structlog.get_logger(__name__)

_FAILED: Final = "failed"
#: Bytes to try with: enough to need room on the disk.
_PROBE: Final = b"x" * 4096


class SpoolDirectory:
    """Where a spool keeps its files. It is made once something is kept there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failed = path / _FAILED

    @property
    def files(self) -> list[Path]:
        """Spool files of living and of dead processes, oldest first."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    @property
    def set_aside(self) -> list[Path]:
        """Files set aside, oldest first."""
        return sorted(self._failed.glob(f"*{SUFFIX}"))

    def keep_aside(self, record: Record) -> bool:
        """Keep a copy of this record in `failed/`; whether there was room for it."""
        try:
            keep_aside(self._failed, record)
        except OSError as error:
            _log.error("spool_not_set_aside", code=error.errno)
            return False
        return True

    def put_aside(self, path: Path) -> None:
        """Move a whole file to `failed/`; one that cannot be moved stays where it is, and is adopted again."""
        try:
            move(path, self._failed)
        except OSError as error:
            _log.error("spool_not_set_aside", code=error.errno)

    def take_back(self) -> int:
        """Move what was set aside back, to be tried again; how many files. Raises OSError."""
        found = self.set_aside
        for path in found:
            with suppress(FileNotFoundError):
                # not there any more: a neighbour has moved it
                move(path, self.path)
        return len(found)

    def trouble(self) -> str | None:
        """Why nothing could be kept now, or None. It tries to write."""
        probe = self.path / f".probe-{os.getpid()}-{threading.get_ident()}"
        try:
            make_directory(self.path)
            try:
                probe.write_bytes(_PROBE)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            return f"the spool cannot be written ({error.strerror})"
        return None
