"""A file to import, plain or gzip: its checksum, its lines, how far it was read, and what may be wrong with it."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

#: A longer line is no resource but a mistake; it is rejected without being held in memory.
LONGEST_LINE: Final = 16 * 1024 * 1024

#: What reading a damaged or vanishing file raises.
DAMAGE: Final = (EOFError, zlib.error, OSError)

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"


class ImportProblem(Exception):  # noqa: N818 (its text is what a person reads)
    """The import cannot go on. The text has one `file[:line]: reason` per line; what was committed stays taken."""


class SourceFile:
    """One file, opened for streaming."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.size = path.stat().st_size
            self._raw = path.open("rb")
        except OSError as error:
            raise ImportProblem(f"{path.name}: {(error.strerror or 'cannot be read').lower()}") from None
        try:
            self.stream = self._decompressed()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self._raw.close()

    @property
    def position(self) -> int:
        """Bytes of the file read so far, compressed as it lies on disk."""
        # a CSV reader that reached the end has closed the stream with it
        return self.size if self._raw.closed else self._raw.tell()

    def checksum(self, meaning: str) -> str:
        """SHA-256 over the bytes and over `meaning`, the configuration by which they are read."""
        digest = hashlib.sha256(meaning.encode())
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def lines(self) -> Iterator[bytes | None]:
        """Every line without its end; None for one that is longer than a line can be.

        Raises:
            ImportProblem: the compressed stream is damaged; names the last good line.
        """
        number = 0
        try:
            for line in self._limited():
                yield line.removeprefix(_BOM) if number == 0 and line is not None else line
                number += 1
        except DAMAGE:
            raise self.damaged(number) from None

    def text(self, encoding: str) -> IO[str]:
        """The file as text for a CSV reader; bytes that are not `encoding` become lone surrogates."""
        return io.TextIOWrapper(self.stream, encoding=encoding, errors="surrogateescape", newline="")

    def damaged(self, line: int) -> ImportProblem:
        """What to say when the stream breaks off after `line`."""
        return ImportProblem(
            f"{self.path.name}:{line}: the file is damaged after this line; what came before is taken, "
            "import the whole file again when it is mended"
        )

    def _decompressed(self) -> io.BufferedReader | gzip.GzipFile:
        start = self._raw.read(2)
        self._raw.seek(0)
        if start == _GZIP:
            return gzip.GzipFile(fileobj=self._raw, mode="rb")
        if self.path.suffix == ".gz" and start:
            raise ImportProblem(f"{self.path.name}: is named .gz, but is not gzip; unpack or rename it")
        return self._raw

    def _limited(self) -> Iterator[bytes | None]:
        while line := self.stream.readline(LONGEST_LINE):
            if len(line) < LONGEST_LINE or line.endswith(b"\n"):
                yield line.rstrip(b"\r\n")
                continue
            while line and not line.endswith(b"\n"):
                line = self.stream.readline(LONGEST_LINE)
            yield None
