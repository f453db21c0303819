"""The conductor: steps simulated time, and only when patients, providers and fleet have nothing left to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ops.demo.simulated import Simulated
from ops.runtime.clock import SharedClock


class Fleet(Protocol):
    """A fleet under simulated time, embedded or of many processes."""

    def settle(self, now: datetime, events: int) -> None:
        """Do everything due at `now`, the `events` published so far included, until at rest. Raises NotQuiet."""
        ...

    def next_at(self, now: datetime) -> datetime | None:
        """When the fleet will next have something to do."""
        ...


@dataclass
class Conductor:
    """One story's conductor."""

    clock: SharedClock
    simulated: Simulated
    fleet: Fleet
    end: datetime
    steps: int = 0

    def run(self, progress: Callable[[datetime], None]) -> None:
        """Play from the clock's instant to `end`; `progress` is told every instant.

        Raises:
            NotQuiet, SimulatorGone: the story cannot go on; what was committed is in the ledger.
        """
        now = self.clock.now()
        while True:
            progress(now)
            upcoming = self._play(now)
            self.steps += 1
            later = [instant for instant in (upcoming, self.fleet.next_at(now)) if instant is not None]
            following = min(later, default=self.end)
            if following > self.end:
                self.clock.set(self.end)
                progress(self.end)
                return
            now = following
            self.clock.set(now)

    def _play(self, now: datetime) -> datetime | None:
        """Everything that happens at `now`: they act, we act, until they have nothing left and we are at rest."""
        step = self.simulated.advance()
        self.fleet.settle(now, step.events)
        while (step := self.simulated.advance()).did:
            self.fleet.settle(now, step.events)
        return step.next_at
