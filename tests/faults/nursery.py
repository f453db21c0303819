"""The nursery: one process that has read all of the program, and from which the fleet's processes are forked at once.

Reading the program takes two seconds of a processor; a campaign that kills a thousand processes cannot wait for that
a thousand times. Each child is a process of its own in every respect, and dies with the nursery.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1


class Nursery:
    """The harness's side: asks for processes, and learns how they ended."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._codes: dict[int, int] = {}
        # the thread of the faults asks as well as the one that watches
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
        """Start `reactivate` with these arguments; its process id."""
        return int(self._ask({"start": list(arguments), "environ": dict(environ), "log": str(log)})["pid"])

    def code_of(self, pid: int) -> int | None:
        """How a process ended: its exit code, or minus the signal's number; None while it runs."""
        if pid not in self._codes:
            self._codes |= {int(child): code for child, code in self._ask({"ended": True})["codes"].items()}
        return self._codes.get(pid)

    def _ask(self, question: dict[str, object]) -> dict[str, dict[str, int]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery ended; see {self._log.name}")
        answer: dict[str, dict[str, int]] = json.loads(line)
        return answer


def _serve() -> tuple[list[str], Mapping[str, str], str] | None:
    """Answer until the pipe closes; in a child, returns what it is to run."""
    children: set[int] = set()
    parent = os.getpid()
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            pid = os.fork()
            if pid == 0:
                _die_with(parent)
                return question["start"], question["environ"], question["log"]
            children.add(pid)
            answer: dict[str, object] = {"pid": pid}
        else:
            codes = {pid: os.waitstatus_to_exitcode(status) for pid, status in _ended(children)}
            children -= set(codes)
            answer = {"codes": codes}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def _ended(children: set[int]) -> list[tuple[int, int]]:
    waited = [os.waitpid(pid, os.WNOHANG) for pid in sorted(children)]
    return [(pid, status) for pid, status in waited if pid]


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(environ: Mapping[str, str], log: str) -> None:
    """In a child: an environment and standard streams of its own."""
    os.environ.clear()
    os.environ.update(environ)
    nothing, to_log = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(to_log, 1)
    os.dup2(to_log, 2)
    os.closerange(3, max(nothing, to_log) + 1)


if __name__ == "__main__":
    from tests.faults import shim

    wanted = _serve()
    if wanted is not None:
        arguments, environ, log = wanted
        _become(environ, log)
        shim.run(arguments)
