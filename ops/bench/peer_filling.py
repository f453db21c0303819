"""Fills the queue of a peer before its workers start: a mark, so many empty jobs, a mark."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

#: How each framework is told of a job.
_SENDERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "dramatiq": ("ops.bench.peer_dramatiq", lambda actor, *arguments: actor.send_with_options(args=arguments)),
    "celery": ("ops.bench.peer_celery", lambda task, *arguments: task.delay(*arguments)),
}


def main() -> None:
    """Fill, and print how many jobs were told of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=list(_SENDERS))
    parser.add_argument("--count", type=int, required=True)
    told = parser.parse_args()
    module, tell = _SENDERS[told.framework]
    # a framework that is not measured need not be installed
    peer = importlib.import_module(module)
    tell(peer.mark)
    for number in range(told.count):
        tell(peer.nothing, number)
    tell(peer.mark)
    sys.stdout.write(json.dumps({"told": told.count}))


if __name__ == "__main__":
    main()
