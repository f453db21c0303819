"""Breakers for the whole fleet: states in Redis, compared and set; without Redis each process goes by its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.runtime import metrics
from ops.runtime.breaker import Breaker, Phase
from ops.runtime.breakers import Change, Changed, LocalStore

log = structlog.get_logger(__name__)

#: Seconds before Redis is tried again, and seconds a call may take.
_REST, _TIMEOUT = 1.0, 0.5
#: How often a change is tried again that another process came before.
_MOST_TRIES = 20
#: A provider nobody asked for a day starts anew.
_KEEP_MS = 86_400_000

_READ = """
local time = redis.call('TIME')
local answer = {time[1], time[2]}
for i, key in ipairs(KEYS) do
  answer[i + 2] = redis.call('GET', key) or ''
end
return answer
"""

#: ARGV: kept milliseconds, then per key the value it must have and the new one. Answers 1, or 0 and changes nothing.
_SWAP = """
for i, key in ipairs(KEYS) do
  if (redis.call('GET', key) or '') ~= ARGV[2 * i] then return 0 end
end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[2 * i + 1], 'PX', ARGV[1])
end
return 1
"""


class RedisStore:
    """States shared by every process that uses the same Redis and prefix. Safe to share between threads.

    While Redis is away, and for what it forgot, each process goes on from what it last knew: none stops sending, none
    takes an open breaker for a closed one, but each has to find out by itself what changes.
    """

    def __init__(self, redis_url: str, prefix: str) -> None:
        """Opens no connection yet. Raises ValueError if `redis_url` is none."""
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._read = self._redis.register_script(_READ)
        self._swap = self._redis.register_script(_SWAP)
        self._prefix = prefix + "breaker:"
        self._own = LocalStore()
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self.is_falling_back = False

    def change(self, names: Sequence[str], change: Change, now: datetime | None) -> Changed:
        """See `Store.change`."""
        if time.monotonic() >= self._resting_until:
            try:
                done = self._change(names, change, now)
            except redis.RedisError as error:
                self._fall_back(type(error).__name__)
            else:
                self._recover()
                if done is not None:
                    self._own.keep(done.after)
                    return done
        return self._own.change(names, change, now)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()

    def _change(self, names: Sequence[str], change: Change, now: datetime | None) -> Changed | None:
        """None where others came before every time."""
        keys = [self._prefix + name for name in names]
        for _ in range(_MOST_TRIES):
            seconds, micros, *found = self._read(keys=keys)
            at = int(seconds) + int(micros) / 1_000_000 if now is None else now.timestamp()
            before = {name: _loaded(text) or self._own.known(name) for name, text in zip(names, found, strict=True)}
            after = {name: change(name, state, at) for name, state in before.items()}
            if self._is_set(names, found, before, after):
                return Changed(before, after, at)
        log.warning("breaker.contended")
        return None

    def _is_set(
        self, names: Sequence[str], found: Sequence[str], before: Mapping[str, Breaker], after: Mapping[str, Breaker]
    ) -> bool:
        changed = [
            (name, text)
            for name, text in zip(names, found, strict=True)
            # what Redis forgot and we know it is told
            if after[name] != before[name] or (not text and after[name] != Breaker())
        ]
        if not changed:
            return True
        values = [part for name, text in changed for part in (text, _dumped(after[name]))]
        return bool(self._swap(keys=[self._prefix + name for name, _ in changed], args=[_KEEP_MS, *values]))

    def _fall_back(self, error: str) -> None:
        with self._lock:
            self._resting_until = time.monotonic() + _REST
            self._redis.connection_pool.disconnect()
            if not self.is_falling_back:
                self.is_falling_back = True
                metrics.breaker_fallback.set(1)
                log.warning("breaker.fallback", error=error)

    def _recover(self) -> None:
        if self.is_falling_back:
            with self._lock:
                self.is_falling_back = False
                metrics.breaker_fallback.set(0)
                log.info("breaker.recovered")


def _dumped(state: Breaker) -> str:
    return json.dumps(astuple(state))


def _loaded(text: str) -> Breaker | None:
    if not text:
        return None
    try:
        phase, since, rest, taken_until, passed, calls = json.loads(text)
        return Breaker(Phase(phase), since, rest, taken_until, passed, tuple((a, b, c) for a, b, c in calls))
    except (ValueError, TypeError):
        # written by another version: what it knew is found out again
        return None
