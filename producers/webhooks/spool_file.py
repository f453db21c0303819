"""A spool file: sealed records behind one another, how far they were taken, and whose process it belongs to.

    magic (8 bytes) | taken up to (8) | record | record | …        record: length (4) | received, µs (8) | sealed bytes

Whoever holds the file's lock (flock) owns it; the lock of a process that dies is free at once. Nothing is ever cut off
a file that was left behind: what is damaged in it is stepped over, and keeps the file from being deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUFFIX: Final = ".spool"
_MAGIC: Final = b"RSPOOL1\n"
_TAKEN: Final = struct.Struct(">Q")
_HEAD: Final = struct.Struct(">IQ")
_START: Final = len(_MAGIC) + _TAKEN.size
#: Bytes of one record, far above any webhook's body: a longer one is a torn write.
_LONGEST: Final = 4 * 1024 * 1024
#: What the head of a record looks like: a length up to `_LONGEST`, an instant between 1978 and 2112.
_HEADS: Final = re.compile(rb"(?=\x00[\x00-\x40]..\x00[\x01-\x0f]......)", re.DOTALL)


class NoSpoolFileError(Exception):
    """The file does not begin like a spool file."""


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed record, and the instant (microseconds since 1970) it was received."""

    micros: int
    sealed: bytes

    @property
    def size(self) -> int:
        """Bytes it takes in a file."""
        return _HEAD.size + len(self.sealed)

    def __bytes__(self) -> bytes:
        return _HEAD.pack(len(self.sealed), self.micros) + self.sealed


class SpoolFile:
    """An open, locked file. Not for two threads at once, but for reading behind what another one appends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.taken = self.end = _START
        """Where the first record not taken begins, and where the last one ends."""
        self.is_kept = False
        """Whether something in it was not taken: then it is never deleted, and the mark on disk stays before it."""
        # two numbers, for two threads: one appends, the other takes
        self._appended = self._advanced = 0
        # where what can be read goes on, by where it ceases
        self._gaps: dict[int, int] = {}

    @classmethod
    def create(cls, directory: Path) -> SpoolFile:
        """A new, empty file in `directory`, on disk before it is returned. Raises OSError."""
        make_directory(directory)
        while True:
            path = directory / f"{time.time_ns():020d}-{os.urandom(4).hex()}{SUFFIX}"
            file = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            try:
                fcntl.flock(file._descriptor, fcntl.LOCK_EX)
                if os.fstat(file._descriptor).st_nlink:
                    file._begin()
                    _sync_directory(directory)
                    return file
                # a neighbour took the empty file for one that a dead process left
                file.close()
            except BaseException:
                file.remove()
                raise

    @classmethod
    def adopt(cls, path: Path, opens: Callable[[Record], bool]) -> SpoolFile | None:
        """A file that a process left behind; None: it is another living process's, or gone.

        Args:
            opens: whether the seal of what looks like a record is whole; asked only where the file is damaged.

        Raises:
            NoSpoolFileError: it is something else.
            OSError: it cannot be read.
        """
        try:
            file = cls(path, os.open(path, os.O_RDWR))
        except FileNotFoundError:
            return None
        try:
            try:
                fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            if not os.fstat(file._descriptor).st_nlink:
                file.close()
                return None
            file._measure(opens)
        except BaseException:
            file.close()
            raise
        return file

    @property
    def is_drained(self) -> bool:
        """Whether every record was taken."""
        return self.taken >= self.end

    @property
    def count(self) -> int:
        """Records not taken yet."""
        return self._appended - self._advanced

    @property
    def torn(self) -> int:
        """Bytes behind the last whole record; 0 = it ends as it should."""
        return os.fstat(self._descriptor).st_size - self.end

    def append(self, records: Sequence[Record]) -> None:
        """Write the records and wait for the disk. Raises OSError; then the file is as it was before."""
        data = b"".join(bytes(each) for each in records)
        try:
            _write(self._descriptor, data, self.end)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.end)
            raise
        self._appended += len(records)
        self.end += len(data)

    def records(self) -> Iterator[Record]:
        """The records not taken yet, in order."""
        position = self.taken
        while position < self.end:
            position = self._gaps.get(position, position)
            record = self._at(position)
            if record is None:
                return
            yield record
            position += record.size

    def advance(self, records: Sequence[Record]) -> None:
        """Remember that these, the first ones, were taken; unflushed: taking one again is harmless. Raises OSError."""
        for each in records:
            self.taken = self._gaps.get(self.taken, self.taken) + each.size
        self._advanced += len(records)
        if not self.is_kept:
            os.pwrite(self._descriptor, _TAKEN.pack(self.taken), len(_MAGIC))

    def close(self) -> None:
        """Let the file go; whoever comes next may adopt it."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete the file and let it go."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _begin(self) -> None:
        _write(self._descriptor, _MAGIC + _TAKEN.pack(_START), 0)
        os.fsync(self._descriptor)

    def _measure(self, opens: Callable[[Record], bool]) -> None:
        """Find the last whole record, what is damaged before it, and how far they were taken."""
        header = os.pread(self._descriptor, _START, 0)
        if len(header) < _START:
            # its process died while it made the file: nothing was ever kept in it
            self._begin()
            return
        if not header.startswith(_MAGIC):
            raise NoSpoolFileError(str(NoSpoolFileError.__doc__))
        (taken,) = _TAKEN.unpack_from(header, len(_MAGIC))
        while True:
            record = self._at(self.end)
            if record is None or not self._is_followed(record, opens):
                further = self._next_whole(opens)
                if further is None:
                    break
                self._gaps[self.end], self.end = further, further
                continue
            self.end += record.size
            self._appended += 1
            # a mark that is no boundary was torn, too: taking everything again is harmless
            if self.end == taken:
                self.taken, self._advanced = taken, self._appended
        self.is_kept = bool(self._gaps) or self._is_damaged_at_end(opens)

    def _is_followed(self, record: Record, opens: Callable[[Record], bool]) -> bool:
        """Whether its length is right: another record follows, or nothing; or else its seal is whole."""
        behind = os.pread(self._descriptor, _HEAD.size, self.end + record.size)
        return not behind or _HEADS.match(behind) is not None or opens(record)

    def _next_whole(self, opens: Callable[[Record], bool]) -> int | None:
        """Where the next record begins that is surely one, for its seal is whole."""
        for found in _HEADS.finditer(self._rest(), 1):
            record = self._at(self.end + found.start())
            if record is not None and opens(record):
                return self.end + found.start()
        return None

    def _is_damaged_at_end(self, opens: Callable[[Record], bool]) -> bool:
        """Whether something was kept behind the last record, or may have been.

        Not so: what a power cut leaves of a write that was never answered for, a beginning or a stretch of zeros.
        """
        rest = self._rest()
        if len(rest) <= _HEAD.size or not rest.strip(b"\0"):
            return False
        length, micros = _HEAD.unpack_from(rest)
        is_beginning = len(rest) - _HEAD.size < length <= _LONGEST
        return not is_beginning or opens(Record(micros, rest[_HEAD.size :]))

    def _rest(self) -> bytes:
        return os.pread(self._descriptor, self.torn, self.end)

    def _at(self, position: int) -> Record | None:
        head = os.pread(self._descriptor, _HEAD.size, position)
        if len(head) < _HEAD.size:
            return None
        length, micros = _HEAD.unpack(head)
        if not 0 < length <= _LONGEST:
            return None
        sealed = os.pread(self._descriptor, length, position + _HEAD.size)
        return Record(micros, sealed) if len(sealed) == length else None


def keep_aside(directory: Path, record: Record) -> None:
    """A file of its own, of the same kind, with this record: moved back, it is taken again. Raises OSError."""
    make_directory(directory)
    # named like any other, after its reception, and by its content: set aside twice, it is there once
    name = f"{record.micros * 1000:020d}-{hashlib.sha256(bytes(record)).hexdigest()[:8]}"
    part = directory / f".{name}.part"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(descriptor, _MAGIC + _TAKEN.pack(_START) + bytes(record), 0)
        os.fsync(descriptor)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    part.rename(directory / f"{name}{SUFFIX}")
    _sync_directory(directory)


def move(path: Path, directory: Path) -> None:
    """Move a file into another directory, over none that is there. It needs no space. Raises OSError."""
    make_directory(directory)
    target = directory / path.name
    while target.exists():
        target = directory / f"{path.stem[:64]}-{os.urandom(4).hex()}{SUFFIX}"
    path.rename(target)
    _sync_directory(directory)


def make_directory(directory: Path) -> None:
    """Make a directory for us alone, unless it is there. Raises OSError."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_directory(directory.parent)


def _write(descriptor: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
