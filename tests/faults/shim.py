"""The fleet's command with crash points in it: `REACTIVATE_CRASH_AT=send.claim.after:3 python -m tests.faults.shim …`.

The product itself knows nothing of them: the functions through which it commits, publishes, calls and flushes are
wrapped here, before its command runs. `REACTIVATE_CRASH_AT=POINT[:NTH]` kills the process when it passes the point for
the NTH time; `REACTIVATE_CRASH_BOARD=FILE:SLOT` lets a harness say so while the process runs.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

from ops.cli.main import main
from ops.runtime.pacing_redis import RedisPacer
from producers.webhooks import spool_file
from tests.faults.points import Board
from workers.asking import AskWorker
from workers.send import SendWorker

CRASH_AT, BOARD = "REACTIVATE_CRASH_AT", "REACTIVATE_CRASH_BOARD"

#: Whose function names a place: the innermost that decided to do it; else the innermost of the runtime.
_DECIDE, _RUNTIME = ("workers.", "producers."), "ops."
_PLUMBING = frozenset({"producers.webhooks.edge"})


def run(arguments: list[str]) -> None:
    """Run `reactivate` with these arguments, with crash points where the environment wants them."""
    board, crash_at = os.environ.pop(BOARD, ""), os.environ.pop(CRASH_AT, "")
    if board:
        path, _, slot = board.rpartition(":")
        install(Board(Path(path)), int(slot))
    elif crash_at:
        own = Board.create(Path(tempfile.mkdtemp(prefix="reactivate-points-")) / "board")
        point, _, nth = crash_at.partition(":")
        own.arm(0, point, int(nth or 1))
        install(own, 0)
    main(arguments, prog_name="reactivate")


def install(board: Board, slot: int) -> None:
    """Wrap what the process does, each before and after."""
    passes = functools.partial(board.passes, slot)
    _wrap_commits(passes)
    for owner, method, kind in (
        (BlockingChannel, "basic_publish", "publish"),
        (BlockingChannel, "basic_ack", "ack"),
        (RedisPacer, "take", "pace"),
    ):
        setattr(owner, method, _wrapped(getattr(owner, method), kind, passes))
    spool_file.os = _Flushing(passes)  # type: ignore[attr-defined] # its module, seen through ours
    SendWorker._call_one = _wrapped_call(SendWorker._call_one, passes)  # type: ignore[method-assign]
    AskWorker._ask_one = _wrapped_call(AskWorker._ask_one, passes)  # type: ignore[method-assign]


Passes = Callable[[str, str, str], None]


def _wrapped(function: Callable[..., Any], kind: str, passes: Passes) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        place = _place(sys._getframe(1))
        passes(kind, place, "before")
        result = function(*args, **kwargs)
        passes(kind, place, "after")
        return result

    return wrapper


def _wrapped_call(function: Callable[..., Any], passes: Passes) -> Callable[..., Any]:
    async def wrapper(worker: Any, *call: Any) -> Any:
        place = "asking" if isinstance(worker, AskWorker) else worker._channel.name
        passes("call", place, "before")
        result = await function(worker, *call)
        passes("call", place, "after")
        return result

    return wrapper


def _wrap_commits(passes: Passes) -> None:
    mine = threading.local()

    def note(conn: Connection) -> None:
        mine.reads = conn.get_execution_options().get("reading", False)

    def do_commit(dialect: Any, connection: Any) -> None:
        if getattr(mine, "reads", False):
            plain(dialect, connection)
            return
        place = _place(sys._getframe(1))
        passes("commit", place, "before")
        plain(dialect, connection)
        passes("commit", place, "after")

    plain = DefaultDialect.do_commit
    event.listen(Engine, "commit", note)
    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


class _Flushing:
    """The module `os`, with points around its flush to the disk."""

    def __init__(self, passes: Passes) -> None:
        self.fsync = _wrapped(os.fsync, "flush", passes)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _place(frame: FrameType | None) -> str:
    fallback = ""
    while frame is not None:
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname.replace(".<locals>", "")
        if not function.rpartition(".")[2].startswith("<") and module not in _PLUMBING:
            if module.startswith(_DECIDE):
                return f"{module}.{function}"
            if module.startswith(_RUNTIME) and not fallback:
                fallback = f"{module}.{function}"
        frame = frame.f_back
    return fallback or "elsewhere"


if __name__ == "__main__":
    run(sys.argv[1:])
