"""Pacing with four worker processes: how much of the limit is used, and whether any window went above it."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select

from domain.ledger.store import reading
from domain.ledger.touches import touch
from ops.assembly import Parts
from ops.bench import crowd
from ops.bench.children import wait_for
from ops.bench.figures import Bar, BenchError, Figure
from ops.bench.ground import START, Ground

_PROCESSES = 4
#: Segments per second, and at once.
_RATE, _BURST = 100.0, 100
_SITES = 50
#: Seconds after the first call in which the burst is used up and the workers are warm.
_WARM = 3.0
#: Lengths of the windows looked at, in seconds.
WINDOWS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
#: Seconds by which a call may reach the provider later than another that was granted after it: such a jitter moves
#: calls into a window, it does not grant more of them.
JITTER = 0.05


def measure(ground: Ground) -> list[Figure]:
    """Two figures of one run: the share of the limit used, and the fullest window beside what is allowed in it."""
    seconds = ground.size.pick(40, 15, 5)
    times, cost = _arrivals(ground, seconds)
    ground.say(f"pacing: {len(times)} calls of {cost} segments in {times[-1] - times[0]:.1f} s")
    used = used_of(times, cost, times[0] + _WARM, seconds - _WARM)
    fullest = max(overfull(times, cost, window) for window in WINDOWS)
    what = f"segments per second that {_PROCESSES} worker processes sent : the limit of the sender"
    worst = f"the fullest of all windows of {WINDOWS[0]:g} to {WINDOWS[-1]:g} s : limit x window + burst"
    return [
        Figure("pacing, limit used", what, "segments/s", used, _RATE, 0.97, Bar.AT_LEAST, {}),
        Figure("pacing, fullest window", worst, "share", fullest, 1.0, 1.0, Bar.AT_MOST, {}),
    ]


def used_of(times: Sequence[float], cost: int, since: float, seconds: float) -> float:
    """Segments per second between `since` and `seconds` later; `times` ascend."""
    return cost * (bisect_left(times, since + seconds) - bisect_left(times, since)) / seconds


def overfull(times: Sequence[float], cost: int, window: float) -> float:
    """The fullest window of that many seconds, as a share of what the limit allows in it; `times` ascend."""
    allowed = _RATE * (window + JITTER) + _BURST
    most = max(bisect_right(times, begin + window) - place for place, begin in enumerate(times))
    return cost * most / allowed


def _arrivals(ground: Ground, seconds: int) -> tuple[list[float], int]:
    """When calls reached the provider, ascending, while more was due than the limit allows; and segments of each."""
    people = int(_RATE * (seconds + 2 * START / 10)) + 4 * _BURST
    with ground.sink() as sink:
        environ = ground.environ(ground.ledger(), sink, rate=_RATE, burst=_BURST)
        commands: dict[str, list[str]] = {f"worker-{n}": ["worker", "sms"] for n in range(_PROCESSES)}
        with ground.parts(environ) as parts:
            crowd.settle(parts.engine, parts.vault, datetime.now(UTC), sites=_SITES, reached=people)
            with ground.fleet(environ, {**commands, "clock": ["clock"]}) as started:
                crowd.plan(parts.engine, 1, people, datetime.now(UTC))
                wait_for("the first call", lambda: sink.count() > 0, START, started, poll=0.1)
                time.sleep(seconds)
                times = sorted(sink.times())
            _check_demand(parts, len(times), people)
            return times, _segments(parts)


def _check_demand(parts: Parts, sent: int, planned: int) -> None:
    with reading(parts.engine) as conn:
        left = conn.scalar(select(func.count()).where(touch.c.state == "planned")) or 0
    if not left:
        raise BenchError(f"pacing: all {planned} touches were sent ({sent} calls), so the limit was not what held them")


def _segments(parts: Parts) -> int:
    with reading(parts.engine) as conn:
        found = conn.scalars(select(touch.c.segments).where(touch.c.segments.is_not(None)).distinct()).all()
    if len(found) != 1:
        raise BenchError(f"pacing: the same text has {sorted(found)} segments")
    return int(found[0])
