"""Child processes of a comparison: our own workers, the frameworks compared with, the sink; all end in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ops
from ops.bench.figures import BenchError
from ops.services.process import Account, Process

#: Where our packages lie: children run in a directory of their own.
ROOT = Path(ops.__file__).parents[1] if ops.__file__ else Path.cwd()
_numbers = count(1)
_POLL = 0.02


def python(module: str, *arguments: str) -> list[str]:
    """The command line of one of our modules, under this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings of the fleet that belong to somebody else, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REACTIVATE_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}


@contextmanager
def running(
    argvs: Mapping[str, Sequence[str]], environ: Mapping[str, str], directory: Path
) -> Iterator[dict[str, Process]]:
    """Processes by name for as long as the block lasts, ended by their ids, together."""
    started: dict[str, Process] = {}
    try:
        for name, argv in argvs.items():
            started[name] = start_one(name, argv, environ, directory)
        yield started
    finally:
        _end(list(started.values()))


def start_one(name: str, argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> Process:
    """Start one process in a folder of its own, where it leaves its log."""
    home = directory / f"{name}-{next(_numbers)}"
    home.mkdir(parents=True)
    return Process(name, argv, directory=home, account=Account(), environ=environment(environ))


def together(argvs: Sequence[Sequence[str]], environ: Mapping[str, str], seconds: float) -> list[dict[str, Any]]:
    """Run processes at the same time to their ends; the JSON object that each printed.

    Raises:
        BenchError: one failed, or did not end within `seconds`.
    """
    with ExitStack() as ending:
        started = []
        for argv in argvs:
            process = subprocess.Popen(  # noqa: S603 - our own modules
                argv, env=environment(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            ending.callback(process.wait)
            ending.callback(process.kill)
            started.append(process)
        try:
            said = [process.communicate(timeout=seconds)[0] for process in started]
        except subprocess.TimeoutExpired:
            raise BenchError(f"{argvs[0][2]} did not end within {seconds:.0f} s") from None
        if any(process.returncode for process in started):
            raise BenchError(f"{argvs[0][2]} failed; what it wrote is above")
        return [json.loads(text) for text in said]


def wait_for(
    what: str, is_there: Callable[[], bool], seconds: float, processes: Mapping[str, Process], poll: float = _POLL
) -> None:
    """Wait for a state. Raises BenchError when it does not come, or a process it needs has ended."""
    deadline = time.monotonic() + seconds
    while not is_there():
        for name, process in processes.items():
            if not process.is_running():
                raise BenchError(f"{what}: the process {name} ended; its log ends with:\n{_tail(process)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(poll)


def _tail(process: Process) -> str:
    return "\n".join(process.log.read_text(errors="replace").splitlines()[-8:])


def _end(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.is_running():
            os.kill(process.pid, signal.SIGTERM)
    for process in processes:
        process.stop()
