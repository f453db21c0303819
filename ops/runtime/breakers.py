"""Breakers: whether each provider of a channel is asked, as the fleet or one process found; read once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from ops.runtime import metrics
from ops.runtime.breaker import (
    POLICY,
    Breaker,
    Phase,
    Policy,
    after_calls,
    opened,
    part,
    wait,
    with_trials,
    without_trials,
)

log = structlog.get_logger(__name__)

#: A view no older than this is good enough to choose a provider by.
_FRESH: Final = timedelta(seconds=1)

#: Makes the next state of one provider of the one there is, at an instant in seconds since 1970.
Change = Callable[[str, Breaker, float], Breaker]


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change found and left, and when."""

    before: Mapping[str, Breaker]
    after: Mapping[str, Breaker]
    at: float


class Store(Protocol):
    """Where states are kept. Never raises for what a server does."""

    def change(self, names: Sequence[str], change: Change, now: datetime | None) -> Changed:
        """Change the states of these providers, all or none; `now` None = the store's own time.

        `change` may be called again for another state that came in between, so it must do nothing else.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class LocalStore:
    """States of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._states: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def change(self, names: Sequence[str], change: Change, now: datetime | None) -> Changed:
        """See `Store.change`."""
        at = time.time() if now is None else now.timestamp()
        with self._lock:
            before = {name: self._states.get(name, Breaker()) for name in names}
            after = {name: change(name, state, at) for name, state in before.items()}
            self._states.update(after)
        return Changed(before, after, at)

    def keep(self, states: Mapping[str, Breaker]) -> None:
        """Take over what is known from elsewhere."""
        with self._lock:
            self._states.update(states)

    def known(self, name: str) -> Breaker:
        """The state as it stands."""
        with self._lock:
            return self._states.get(name, Breaker())

    def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Tally:
    """What calls said of one provider."""

    good: int = 0
    bad: int = 0
    is_in_trouble: bool = False
    """Our account there is refused: every other message would fare alike."""


class Breakers:
    """The breakers of one channel's providers, as one process sees them; safe to share between threads."""

    def __init__(
        self, channel: str, names: Sequence[str], store: Store, *, by_clock: bool = False, policy: Policy = POLICY
    ) -> None:
        """`by_clock` runs them on the caller's clock instead of the store's own."""
        self.names = tuple(names)
        self._channel = channel
        self._store = store
        self._by_clock = by_clock
        self._policy = policy
        self._lock = threading.Lock()
        self._pending: dict[str, Tally] = {}
        self._states: Mapping[str, Breaker] = {}
        self._at = 0.0
        self._seen_at: datetime | None = None
        for name in self.names:
            metrics.provider_open.labels(channel, name).set_function(partial(self._told, name))

    def look(self, now: datetime) -> dict[str, Breaker]:
        """Every provider's state, at most a second old; what calls said meanwhile is told on the same way."""
        with self._lock:
            is_fresh = self._seen_at is not None and timedelta() <= now - self._seen_at < _FRESH
            if is_fresh:
                return dict(self._states)
        return self._sync(now)

    def take_trials(self, now: datetime) -> dict[str, int]:
        """The trials this process may make now, by provider; 0 and absent where there are none."""
        free = [
            name
            for name, state in self.look(now).items()
            if state.phase is not Phase.CLOSED and not self.wait(name, now)
        ]
        if not free:
            return {}
        granted: dict[str, int] = {}

        def take(name: str, state: Breaker, at: float) -> Breaker:
            taken, granted[name] = with_trials(state, at, self._policy)
            return taken

        self._change(free, take, now)
        return {name: count for name, count in granted.items() if count}

    def give_back(self, names: Sequence[str], now: datetime) -> None:
        """Trials that were taken and not made."""
        if names:
            self._change(names, lambda _, state, at: without_trials(state, at), now)

    def report(self, said: Mapping[str, Tally], now: datetime) -> None:
        """What calls said: told at once where anything failed or is on trial, else with the next look."""
        with self._lock:
            for name, tally in said.items():
                pending = self._pending.setdefault(name, Tally())
                pending.good += tally.good
                pending.bad += tally.bad
                pending.is_in_trouble |= tally.is_in_trouble
            is_urgent = any(
                tally.bad or tally.is_in_trouble or self._phase(name) is not Phase.CLOSED
                for name, tally in said.items()
            )
        if is_urgent:
            self._sync(now)

    def wait(self, name: str, now: datetime) -> timedelta:
        """How long until this provider may be asked, as far as is known; none = now."""
        with self._lock:
            return timedelta(seconds=wait(self._states.get(name, Breaker()), self._instant(now)))

    def part(self, name: str, now: datetime) -> float:
        """The part of its limits that this provider may be used with."""
        with self._lock:
            return part(self._states.get(name, Breaker()), self._instant(now), self._policy)

    def is_closed(self, name: str) -> bool:
        """Whether this provider is asked, as far as is known."""
        with self._lock:
            return self._phase(name) is Phase.CLOSED

    def close(self) -> None:
        """Close connections; the providers are no longer told of in the metrics of this process."""
        for name in self.names:
            metrics.provider_open.remove(self._channel, name)
        self._store.close()

    def _sync(self, now: datetime) -> dict[str, Breaker]:
        with self._lock:
            said, self._pending = self._pending, {}

        def apply(name: str, state: Breaker, at: float) -> Breaker:
            tally = said.get(name, Tally())
            state = after_calls(state, tally.good, tally.bad, at, self._policy)
            return opened(state, at, self._policy) if tally.is_in_trouble else state

        return self._change(self.names, apply, now)

    def _change(self, names: Sequence[str], change: Change, now: datetime) -> dict[str, Breaker]:
        done = self._store.change(names, change, now if self._by_clock else None)
        for name in names:
            was, phase = done.before[name].phase, done.after[name].phase
            if was is not phase:
                metrics.provider_transitions_total.labels(self._channel, name, phase.value).inc()
                tell = log.error if phase is Phase.OPEN else log.info
                tell("provider_breaker", channel=self._channel, provider=name, state=phase.value)
        with self._lock:
            self._states = {**self._states, **done.after}
            self._at, self._seen_at = done.at, now
            return dict(self._states)

    def _phase(self, name: str) -> Phase:
        return self._states.get(name, Breaker()).phase

    def _instant(self, now: datetime) -> float:
        # the store's clock, carried on by ours: the two need not agree
        return self._at if self._seen_at is None else self._at + (now - self._seen_at).total_seconds()

    def _told(self, name: str) -> float:
        state = self._store.change([name], lambda _, state, __: state, None).after[name]
        return {Phase.CLOSED: 0.0, Phase.HALF_OPEN: 0.5, Phase.OPEN: 1.0}[state.phase]
