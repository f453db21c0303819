"""The circuit breaker's state machine: when a provider is asked no more, when it is tried again, how it comes back.

Pure: states are values, instants are seconds since 1970 by whichever clock the caller keeps to. The pattern is Nygard's
(Release It!, 2nd edition, chapter 5), with trials that are counted and a return that ramps up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Whether a provider is asked."""

    CLOSED = "closed"
    """It is asked, within its limits; soon after a failure within a part of them."""
    OPEN = "open"
    """It is not asked."""
    HALF_OPEN = "half_open"
    """A few trials are made, and nothing else."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to stop and how to come back; all times in seconds."""

    window: float = 60.0
    at_least: int = 10
    """Calls within the window below which no share of failures says anything."""
    share: float = 0.5
    """Failures among them from which on the provider is not asked any more."""
    rest: float = 30.0
    """Longer than any call may take (29 s): no answer to a call from before comes while trials are under way."""
    longest_rest: float = 300.0
    """A rest doubles after every trial that fails, up to this."""
    trials: int = 3
    trial: float = 60.0
    """Whoever took trials is given so long to tell of them: the lease of an attempt."""
    ramp: float = 60.0
    first: float = 0.1
    """The part of its limits with which a provider comes back."""


POLICY: Final = Policy()
_BUCKETS: Final = 6


@dataclass(frozen=True, slots=True)
class Breaker:
    """One provider's state. Healthy, and never asked, by default."""

    phase: Phase = Phase.CLOSED
    since: float = 0.0
    rest: float = 0.0
    """How long the latest rest was to last; 0 = none that is still remembered."""
    taken_until: float = 0.0
    """While half-open: the trials are somebody's until then."""
    passed: int = 0
    """While half-open: trials that went well."""
    calls: tuple[tuple[int, int, int], ...] = ()
    """Number of the bucket of time, calls that went well in it, calls that failed."""


def after_calls(state: Breaker, good: int, bad: int, now: float, policy: Policy = POLICY) -> Breaker:
    """What so many calls that went well, and so many that failed, make of it.

    While it is open they say nothing: they were begun before. While it is half-open they are trials.
    """
    if state.phase is Phase.OPEN or good + bad == 0:
        return state
    if state.phase is Phase.HALF_OPEN:
        return _after_trials(state, good, bad, now, policy)
    calls = _counted(state.calls, good, bad, now, policy)
    total, failed = sum(well + ill for _, well, ill in calls), sum(ill for _, _, ill in calls)
    if failed and total >= policy.at_least and failed >= policy.share * total:
        return opened(state, now, policy)
    is_over_it = state.rest > 0 and now - state.since >= policy.ramp
    return replace(state, calls=calls, rest=0.0 if is_over_it else state.rest)


def opened(state: Breaker, now: float, policy: Policy = POLICY) -> Breaker:
    """Not asked from now on; for twice as long as the last time where it had not fully come back since."""
    if state.phase is Phase.OPEN:
        return state
    is_relapse = state.phase is Phase.HALF_OPEN or (state.rest > 0 and now - state.since < policy.ramp)
    rest = min(2 * state.rest, policy.longest_rest) if is_relapse else policy.rest
    return Breaker(Phase.OPEN, since=now, rest=rest)


def with_trials(state: Breaker, now: float, policy: Policy = POLICY) -> tuple[Breaker, int]:
    """Take the trials that are free now: how many messages may go to see whether the provider is back."""
    if state.phase is Phase.CLOSED or wait(state, now) > 0:
        return state, 0
    passed = state.passed if state.phase is Phase.HALF_OPEN else 0
    since = state.since if state.phase is Phase.HALF_OPEN else now
    taken = Breaker(Phase.HALF_OPEN, since=since, rest=state.rest, taken_until=now + policy.trial, passed=passed)
    return taken, policy.trials - passed


def without_trials(state: Breaker, now: float) -> Breaker:
    """The trials that were taken are free again: none of them was made."""
    return replace(state, taken_until=now) if state.phase is Phase.HALF_OPEN else state


def wait(state: Breaker, now: float) -> float:
    """Seconds until it may be asked, if only by a trial; 0 = now."""
    if state.phase is Phase.CLOSED:
        return 0.0
    until = state.since + state.rest if state.phase is Phase.OPEN else state.taken_until
    return max(0.0, until - now)


def part(state: Breaker, now: float, policy: Policy = POLICY) -> float:
    """The part of its limits that it may be used with: rising evenly after it came back, all of it otherwise."""
    if state.phase is not Phase.CLOSED or not state.rest:
        return 1.0
    risen = min(max(now - state.since, 0.0) / policy.ramp, 1.0)
    return policy.first + (1.0 - policy.first) * risen


def _after_trials(state: Breaker, good: int, bad: int, now: float, policy: Policy) -> Breaker:
    if bad:
        return opened(state, now, policy)
    passed = state.passed + good
    if passed < policy.trials:
        # the next trials need not wait for this one's time to run out
        return replace(state, passed=passed, taken_until=now)
    return Breaker(Phase.CLOSED, since=now, rest=state.rest)


def _counted(
    calls: tuple[tuple[int, int, int], ...], good: int, bad: int, now: float, policy: Policy
) -> tuple[tuple[int, int, int], ...]:
    bucket = int(now / (policy.window / _BUCKETS))
    kept = {number: (well, ill) for number, well, ill in calls if bucket - _BUCKETS < number <= bucket}
    well, ill = kept.get(bucket, (0, 0))
    kept[bucket] = (well + good, ill + bad)
    return tuple((number, *counts) for number, counts in sorted(kept.items()))
