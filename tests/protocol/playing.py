"""Playing a trace of the send model on the real ledger: real send workers go on only when the trace says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final

from household import NOW, StoppedClock, add, row, rows
from practice import ACCEPTED, Desk, Person, Practice, Provider, Unpaced
from send_model import AFTER_VISIT, CALLED, CHECKED, CLAIMED, IDLE, MOST_JOBS, NOW_DUE, State, Step
from sqlalchemy import Engine, bindparam, select, update
from waiting import DEADLINE

from channels.kit.contract import Outcome, OutcomeKind, Outgoing
from domain.ledger import asking, care, choices, dispatching, finishes, receipts, settling, touches
from domain.ledger.appointments import appointment
from domain.ledger.attempts import attempt
from domain.ledger.following import follow_appointments
from domain.ledger.inbound import receipt
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.rules.asking import Listed, Said
from domain.rules.fairness import DeficitRoundRobin
from ops.runtime.pacing import Ask, Grant

#: How long each `age` lasts: past `send.FRESH`, past half of `claims.LEASE`, past its end.
_AGES: Final = (timedelta(seconds=2), timedelta(seconds=31), timedelta(seconds=28))
#: Longer than `dispatching.HINT`, and than pacing withholds a touch.
_WAIT: Final = timedelta(seconds=61)
_TOUCH: Final = select(touch).where(touch.c.id == bindparam("touch"))
_ATTEMPTS: Final = (
    select(attempt.c.state, attempt.c.token, receipt.c.applied_at)
    .outerjoin(receipt, receipt.c.provider_ref == "SM" + attempt.c.token)
    .where(attempt.c.touch_id == bindparam("touch"))
    .order_by(attempt.c.id)
)
_LATER: Final = Grant(granted=False, retry_after=timedelta(seconds=30))
_GRANTED: Final = Grant(granted=True, retry_after=timedelta())


class AbandonedError(Exception):
    """The trace is over, and this worker was killed in it."""


class Seat:
    """One worker's process: a thread that runs `SendWorker.send` and stops where the model has a state."""

    def __init__(self, desk: Desk, touch_id: int, take: Callable[[Outgoing], None]) -> None:
        self._changed = threading.Condition()
        self._take = take
        self._phase = IDLE
        self._order: Any = None
        self._is_abandoned = False
        self._worker = desk.worker(Provider(answer=self._answer), pacer=Unpaced(self._grant))
        self._touch_id = touch_id
        self._thread = threading.Thread()
        self._error: BaseException | None = None

    @property
    def phase(self) -> str:
        """Where it stands."""
        return self._phase

    def claim(self) -> None:
        """Take a job up, and stop before the limits are asked."""
        self._phase = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._stop_at(CLAIMED)

    def go_on(self, order: Any, to: str) -> None:
        """Obey, and stop there, or at the end."""
        with self._changed:
            self._order = order
            self._phase = ""
            self._changed.notify_all()
        self._stop_at(to)

    def abandon(self) -> None:
        """Let the thread of a killed process end."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(DEADLINE)

    def _run(self) -> None:
        try:
            with suppress(AbandonedError):
                self._worker.send([self._touch_id])
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            self._error = error
        self._stand(IDLE)

    def _grant(self, _nth: int, _ask: Ask) -> Grant:
        grant: Grant = self._await_order(CLAIMED)
        return grant

    def _answer(self, message: Outgoing) -> Outcome:
        outcome, is_taken = self._await_order(CHECKED)
        if is_taken:
            self._take(message)
        self._await_order(CALLED)
        return outcome  # type: ignore[no-any-return] # as `call` ordered it

    def _await_order(self, phase: str) -> Any:
        self._stand(phase)
        with self._changed:
            assert self._changed.wait_for(lambda: self._order is not None or self._is_abandoned, DEADLINE)
            if self._is_abandoned:
                raise AbandonedError
            order, self._order = self._order, None
        return order

    def _stand(self, phase: str) -> None:
        with self._changed:
            self._phase = phase
            self._changed.notify_all()

    def _stop_at(self, phase: str) -> None:
        with self._changed:
            wanted = {phase, IDLE}
            assert self._changed.wait_for(lambda: self._phase in wanted or not self._thread.is_alive(), DEADLINE)
        if self._phase == IDLE:
            self._thread.join(DEADLINE)
        if self._error is not None:
            raise self._error


@dataclass
class Seconds:
    """Stands in for `time` in the send worker: as many seconds as the clock of the trace has gone on."""

    clock: StoppedClock

    def monotonic(self) -> float:
        return (self.clock.at - NOW).total_seconds()

    def perf_counter(self) -> float:
        return self.monotonic()


@dataclass
class Stage:
    """One person's touch in a real ledger, and everybody who has to do with it."""

    practice: Practice
    clock: StoppedClock
    desk: Desk
    who: Person
    jobs: int = 0
    taken: set[str] = field(default_factory=set)
    killed: list[Seat] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)

    def __enter__(self) -> Stage:
        self.clock.at = NOW
        self.seats = [self._seat(), self._seat()]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in (*self.seats, *self.killed):
            each.abandon()
        self.desk.close()
        # out of the way of those who come after
        with self.engine.begin() as conn:
            conn.execute(update(touch).where(touch.c.id == self.who.touch).values(state="cancelled"))
            conn.execute(update(attempt).where(attempt.c.touch_id == self.who.touch).values(state="released"))

    @property
    def engine(self) -> Engine:
        return self.practice.engine

    def play(self, step: Step, due: int) -> None:
        """Let a step happen; `due` is when the touch is due by the model, before it."""
        match step.name:
            case "claim" | "withhold" | "check" | "call" | "finish" | "crash":
                getattr(self, f"_{step.name}")(step)
            case "age":
                self.clock.at += _AGES[step.who]
            case "wait":
                due_at: datetime = row(self.engine, touch, self.who.touch)["due_at"]
                self.clock.at = max(self.clock.at + _WAIT, due_at)
                assert (due == AFTER_VISIT) == (due_at > NOW + timedelta(days=1))
            case _:
                getattr(self, f"_{step.name}")(step)

    def seen(self) -> dict[str, Any]:
        """What can be seen of the ledger, the queue and the processes."""
        with reading(self.engine) as conn:
            stored = conn.execute(_TOUCH, {"touch": self.who.touch}).mappings().one()
            attempts = conn.execute(_ATTEMPTS, {"touch": self.who.touch}).all()
        is_planned = stored["state"] == "planned"
        until = stored["dispatched_until"]
        return {
            "touch": stored["state"],
            "is_due": is_planned and stored["due_at"] <= self.clock.at,
            "is_hinted": is_planned and until is not None and until > self.clock.at,
            "why": stored["reason"] if stored["state"] == "cancelled" else "",
            "attempts": tuple(each.state for each in attempts),
            "taken": tuple(each.token in self.taken for each in attempts),
            "told": tuple(each.applied_at is not None for each in attempts),
            "jobs": self.jobs,
            "phases": tuple(each.phase for each in self.seats),
        }

    def _seat(self) -> Seat:
        return Seat(self.desk, self.who.touch, lambda message: self.taken.add(message.reference))

    def _dispatch(self, _step: Step) -> None:
        with self.engine.begin() as conn:
            ids = dispatching.take_due(conn, "sms", 100, DeficitRoundRobin(), {}, self.clock.at)
        self.jobs += ids.count(self.who.touch)

    def _wipe(self, _step: Step) -> None:
        self.jobs = 0

    def _repeat(self, _step: Step) -> None:
        self.jobs += 1

    def _claim(self, step: Step) -> None:
        self.jobs -= 1
        self.seats[step.who].claim()

    def _withhold(self, step: Step) -> None:
        self.seats[step.who].go_on(_LATER, IDLE)

    def _check(self, step: Step) -> None:
        self.seats[step.who].go_on(_GRANTED, CHECKED)

    def _call(self, step: Step) -> None:
        answer, _, truth = step.what.partition(", ")
        is_taken = answer == "accepted" if not truth else truth == "taken"
        outcome = ACCEPTED if answer == "accepted" else Outcome(OutcomeKind(answer))
        self.seats[step.who].go_on((outcome, is_taken), CALLED)

    def _finish(self, step: Step) -> None:
        self.seats[step.who].go_on("answered", IDLE)

    def _crash(self, step: Step) -> None:
        self.killed.append(self.seats[step.who])
        self.seats[step.who] = self._seat()
        self.jobs = min(MOST_JOBS, self.jobs + 1)

    def _expire(self, _step: Step) -> None:
        self.clock.at = max(self.clock.at, row(self.engine, touch, self.who.touch)["expires_at"])
        with self.engine.begin() as conn:
            touches.expire(conn, self.clock.at)

    def _reap(self, _step: Step) -> None:
        with self.engine.begin() as conn:
            finishes.reap(conn, self.clock.at)

    def _receipt(self, step: Step) -> None:
        token = rows(self.engine, attempt, touch_id=self.who.touch)[step.who]["token"]
        news = ReceiptNews("sms", f"SM{token}", "delivered", reference=token)
        with self.engine.begin() as conn:
            settling.apply(conn, receipts.take(conn, [news], self.clock.at), self.clock.at)

    def _person(self, step: Step) -> None:
        number = rows(self.engine, attempt, touch_id=self.who.touch)[step.who]["id"]
        with self.engine.begin() as conn:
            accepted = step.what == "accepted"
            assert finishes.settle_by_person(conn, number, was_accepted=accepted, now=self.clock.at)

    def _ask(self, step: Step) -> None:
        found = rows(self.engine, attempt, touch_id=self.who.touch)[step.who]
        with self.engine.begin() as conn:
            (question,) = asking.questions(conn, [found["id"]])
            listed = Listed(f"SM{question.token}", found["claimed_at"], frozenset([self.who.touch]), "delivered")
            is_taken = step.what == "accepted"
            said = Said.TAKEN if is_taken else Said.NEVER_TAKEN
            assert asking.settle(conn, question, said, listed if is_taken else None, self.clock.at)

    def _stop(self, _step: Step) -> None:
        assert self.who.phone is not None
        now = self.clock.at
        with self.engine.begin() as conn:
            choices.opt_out(
                conn,
                organisation_id=self.practice.organisation,
                contact_point_id=self.who.phone,
                source="reply",
                at=now,
                now=now,
            )

    def _book(self, _step: Step) -> None:
        now = self.clock.at
        with self.engine.begin() as conn:
            add(
                conn,
                appointment,
                organisation_id=self.practice.organisation,
                patient_id=self.who.id,
                site_id=self.practice.site,
                service_line="primary_care",
                source="ehr",
                source_id=f"visit-{self.who.id}",
                version=1,
                status="booked",
                starts_at=NOW + timedelta(days=1),
                changed_at=now,
            )
            care.refresh(conn, [self.who.id], now)
            follow_appointments(conn, [self.who.id], now)

    def _unbook(self, _step: Step) -> None:
        now = self.clock.at
        with self.engine.begin() as conn:
            given_up = update(appointment).where(appointment.c.patient_id == self.who.id)
            conn.execute(given_up.values(status="cancelled", changed_at=now))
            care.refresh(conn, [self.who.id], now)
            follow_appointments(conn, [self.who.id], now)


def expected(state: State) -> dict[str, Any]:
    """What the model says can be seen."""
    is_planned = state.touch == "planned"
    return {
        "touch": state.touch,
        "is_due": is_planned and state.due == NOW_DUE,
        "is_hinted": is_planned and state.is_hinted,
        "why": state.why if state.touch == "cancelled" else "",
        "attempts": state.attempts,
        "taken": state.taken,
        "told": state.told,
        "jobs": state.jobs,
        "phases": tuple(worker.phase for worker in state.workers),
    }


def told(trace: Sequence[Step]) -> str:
    """A trace, as a failure shows it."""
    return " ".join(map(str, trace))
