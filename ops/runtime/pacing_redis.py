"""Pacing for the whole fleet: hierarchical GCRA in one Redis call; without Redis a small local slice, never open."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.runtime import metrics
from ops.runtime.pacing import Ask, Cell, Grant
from ops.runtime.pacing_local import LocalPacer, charges_of, micros

log = structlog.get_logger(__name__)

#: The part of each limit that one process allows itself while Redis is away: up to ten workers stay under the limit.
SLICE = 0.1
#: Seconds before Redis is tried again, and seconds a call may take.
_REST, _TIMEOUT = 1.0, 0.5
#: A cell at rest is forgotten after a day: also a simulation that stands still must not lose its cells.
_KEEP_MS = 86_400_000

#: ARGV: now in microseconds or '', kept milliseconds, number of asks, and in one text the numbers of all asks: of each
#: how many cells it has, and per cell the index of its key, increment and capacity. An argument for every number would
#: cost the client more than all else it does here. Answers microseconds to wait per ask; 0 = granted.
#: Lua's numbers are doubles: microseconds since 1970 stay exact far below 2^53.
_SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local arrivals, changed, answers = {}, {}, {}
for i, key in ipairs(KEYS) do
  arrivals[i] = tonumber(redis.call('GET', key) or '0')
end
local numbers = string.gmatch(ARGV[4], '%d+')
for ask = 1, tonumber(ARGV[3]) do
  local wait, taken = 0, {}
  for cell = 1, tonumber(numbers()) do
    local index = tonumber(numbers())
    local arrival = math.max(arrivals[index], now) + tonumber(numbers())
    wait = math.max(wait, arrival - tonumber(numbers()) - now)
    taken[cell] = {index, arrival}
  end
  if wait <= 0 then
    for _, pair in ipairs(taken) do
      arrivals[pair[1]] = pair[2]
      changed[pair[1]] = true
    end
  end
  answers[ask] = math.max(wait, 0)
end
for index in pairs(changed) do
  local ahead = math.ceil((arrivals[index] - now) / 1000)
  redis.call('SET', KEYS[index], string.format('%.0f', arrivals[index]),
             'PX', string.format('%.0f', ahead + tonumber(ARGV[2])))
end
return answers
"""


class RedisPacer:
    """Limits shared by every process that uses the same Redis and prefix. Safe to share between threads."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        """Opens no connection yet. Raises ValueError if `redis_url` is none."""
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # the caller's other choice is better than waiting: its local slice
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_SCRIPT)
        self._prefix = prefix
        self._slice = LocalPacer()
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self.is_falling_back = False

    def take(self, asks: Sequence[Ask], now: datetime | None = None) -> list[Grant]:
        """Answer each ask, in order, in one round trip; `now` None means Redis server time."""
        if not asks:
            return []
        keys, arguments = self._arguments(asks, now)
        if time.monotonic() >= self._resting_until:
            try:
                waits = self._script(keys=keys, args=arguments)
            except redis.RedisError as error:
                self._fall_back(type(error).__name__)
            else:
                self._recover()
                return [Grant(granted=wait == 0, retry_after=timedelta(microseconds=int(wait))) for wait in waits]
        return self._slice.take([_sliced(ask) for ask in asks], now)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        self._slice.close()

    def _arguments(self, asks: Sequence[Ask], now: datetime | None) -> tuple[list[str], list[int | str]]:
        indexes: dict[str, int] = {}
        numbers: list[int] = []
        for ask in asks:
            charges = charges_of(ask)
            numbers.append(len(charges))
            for key, increment, capacity in charges:
                numbers += (indexes.setdefault(key, len(indexes) + 1), increment, capacity)
        arguments = ["" if now is None else micros(now), _KEEP_MS, len(asks), " ".join(map(str, numbers))]
        return [self._prefix + "pace:" + key for key in indexes], arguments

    def _fall_back(self, error: str) -> None:
        with self._lock:
            self._resting_until = time.monotonic() + _REST
            # a restarted Redis would otherwise fail once for every pooled connection
            self._redis.connection_pool.disconnect()
            if not self.is_falling_back:
                self.is_falling_back = True
                metrics.pacing_fallback.set(1)
                log.warning("pacing.fallback", error=error)

    def _recover(self) -> None:
        if not self.is_falling_back:
            return
        with self._lock:
            self.is_falling_back = False
            metrics.pacing_fallback.set(0)
            log.info("pacing.recovered")


def _sliced(ask: Ask) -> Ask:
    return replace(ask, cells=tuple(_slice(cell) for cell in ask.cells))


def _slice(cell: Cell) -> Cell:
    # the reserve stays whole: a tenth of it would be no token at all, and answers would wait in line behind outreach
    return replace(cell, per_second=cell.per_second * SLICE, burst=max(1, int(cell.burst * SLICE)))
