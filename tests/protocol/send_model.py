"""A small model of the send protocol: one touch, two workers, and everything else that may happen, step by step.

Every step is one transaction of the ledger, one provider call, or time passing; between any two of them anything else
may happen. A step's docstring names the code it models; `test_model_conforms` plays the model's own traces on that code
and compares the ledger after each step, so that neither drifts from the other.

What the model takes for granted: a claim, a finish, … is one transaction under the locks of `claim_facts.lock_and_read`
(tests/sending/test_claims_that_meet.py); a channel says "not taken" only of what was surely not taken; a person who
settles an attempt is right; and no second passes between a worker's last look and its call, which are adjacent lines.
The second and the last can be taken away (`Protocol`), to see what depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

#: Attempts of the touch, and jobs on its queue, that are followed; what lies beyond is not looked at.
MOST_ATTEMPTS: Final = 3
MOST_JOBS: Final = 2

#: Ages of a claim: within a second, within half its lease, within its lease, beyond it.
FRESH, AGED, OLD, LOST = range(4)
#: When a planned touch may go: after a short wait, now, once its patient's appointment is a day old.
SOON, NOW_DUE, AFTER_VISIT = range(3)
#: An opt-out: none, committed within this second, committed before.
NONE, JUST_NOW, BEFORE = range(3)
#: An appointment: none yet, ahead, over or given up.
NO_VISIT, AHEAD, VISIT_OVER = range(3)

#: Where a worker stands.
IDLE, CLAIMED, CHECKED, CALLED = "idle", "claimed", "checked", "called"

AT_REST: Final = frozenset({"accepted", "rejected", "uncertain", "suppressed", "cancelled", "expired"})
#: A state of a touch -> those it may go to.
MOVES: Final = {
    "planned": {"sending", "suppressed", "cancelled", "expired", "accepted"},
    "sending": {"planned", "accepted", "rejected", "uncertain"},
    "uncertain": {"accepted", "rejected"},
    "cancelled": {"planned"},
}
_TOUCH_AFTER: Final = {"accepted": "accepted", "rejected": "rejected", "uncertain": "uncertain", "retry": "planned"}


class Worker(NamedTuple):
    """One send worker's process: where it stands, with which attempt, and what its provider answered."""

    phase: str = IDLE
    attempt: int = -1
    answer: str = ""


class State(NamedTuple):
    """Everything there is: the rows, the queue, two processes, and what the provider really did."""

    touch: str = "planned"
    due: int = NOW_DUE
    is_hinted: bool = False
    why: str = ""
    """Why it was cancelled."""
    attempts: tuple[str, ...] = ()
    age: int = FRESH
    """Of the newest attempt."""
    taken: tuple[bool, ...] = ()
    """Which attempts' messages the provider accepted."""
    told: tuple[bool, ...] = ()
    """Which attempts' receipts were applied."""
    jobs: int = 0
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    stop: int = NONE
    visit: int = NO_VISIT
    crashes: int = 0
    wipes: int = 0
    repeats: int = 0
    breach: str = ""
    """What the step that led here did and should not have done."""


class Step(NamedTuple):
    """What happens: `who` is a worker or an attempt, `what` an answer."""

    name: str
    who: int = 0
    what: str = ""

    def __str__(self) -> str:
        return f"{self.name}({self.who}{', ' + self.what if self.what else ''})"


@dataclass(frozen=True, slots=True)
class Protocol:
    """The protocol as it is; each switch leaves out one thing it relies on."""

    claim_asks_for_planned: bool = True
    claim_asks_for_choices: bool = True
    claim_asks_for_visits: bool = True
    checks_lease: bool = True
    checks_again: bool = True
    finish_is_fenced: bool = True
    uncertain_rests: bool = True
    reaps: bool = True
    reaps_by_lease: bool = True
    reaped_is_uncertain: bool = True
    receipts_settle: bool = True
    asks_by_own_link: bool = True
    absence_takes_a_day: bool = True
    hints_expire: bool = True
    provider_is_honest: bool = True
    adjacent_lines_take_no_time: bool = True
    crashes: int = 1
    wipes: int = 1
    repeats: int = 1

    def start(self) -> State:
        """A touch that is due now."""
        return State(crashes=self.crashes, wipes=self.wipes, repeats=self.repeats)


Move = tuple[Step, State]


def steps(state: State, rules: Protocol) -> Iterator[Move]:
    """Every step that can be made now, and where it leads."""
    for part in (_queue, _time, _the_others):
        yield from part(state, rules)
    for who, worker in enumerate(state.workers):
        yield from _PHASES[worker.phase](state, rules, who, worker)
        if worker.phase != IDLE and state.crashes:
            yield _crash(state, who)


def _queue(state: State, rules: Protocol) -> Iterator[Move]:
    """`dispatching.take_due` marks and queues; RabbitMQ may be wiped, and may deliver a job twice."""
    if state.touch == "planned" and state.due == NOW_DUE and not state.is_hinted and state.jobs < MOST_JOBS:
        yield Step("dispatch"), state._replace(is_hinted=True, jobs=state.jobs + 1)
    if state.jobs and state.wipes:
        yield Step("wipe"), state._replace(jobs=0, wipes=state.wipes - 1)
    if state.jobs and state.jobs < MOST_JOBS and state.repeats:
        yield Step("repeat"), state._replace(jobs=state.jobs + 1, repeats=state.repeats - 1)


def _time(state: State, rules: Protocol) -> Iterator[Move]:
    """The claim ages; or what is planned comes due, and the trust in a hint ends (`dispatching.HINT`).

    `touches.expire` ends what is planned, whenever that is.
    """
    stop = BEFORE if state.stop else NONE
    phases = {worker.phase for worker in state.workers}
    is_held = "sending" in state.attempts or phases != {IDLE}
    may_pass = CHECKED not in phases or not rules.adjacent_lines_take_no_time
    if is_held and may_pass and state.age < LOST:
        yield Step("age", state.age), state._replace(age=state.age + 1, stop=stop)
    if state.touch != "planned":
        return
    if phases == {IDLE} and (state.due != NOW_DUE or state.is_hinted):
        is_over = state.due == AFTER_VISIT and state.visit == AHEAD
        yield (
            Step("wait"),
            state._replace(
                due=NOW_DUE,
                is_hinted=state.is_hinted and not rules.hints_expire,
                stop=stop,
                visit=VISIT_OVER if is_over else state.visit,
            ),
        )
    if phases == {IDLE}:
        yield Step("expire"), state._replace(touch="expired", is_hinted=False, stop=stop)


def _the_others(state: State, rules: Protocol) -> Iterator[Move]:
    """The patient, the front desk, the reaper, receipts, and a person at the inbox."""
    yield from _patient(state)
    yield from _reaper(state, rules)
    for attempt, is_taken in enumerate(state.taken):
        if is_taken:
            yield Step("receipt", attempt), _receipt(state, rules, attempt)
        if state.attempts[attempt] == "uncertain":
            word = "accepted" if is_taken else "rejected"
            touch = word if state.touch == "uncertain" else state.touch
            yield Step("person", attempt, word), _ended(state, attempt, word)._replace(touch=touch)
            yield from _asking(state, rules, attempt, is_taken)


def _asking(state: State, rules: Protocol, attempt: int, is_taken: bool) -> Iterator[Move]:
    """`AskWorker.ask` and `rules.asking.judge`: what is listed was taken; what is not, after a day, was not.

    By then nobody can still be calling, and the list shows all there is; before, it may lag behind.
    """
    by_link = is_taken or not rules.asks_by_own_link
    by_absence = not is_taken or not rules.absence_takes_a_day
    for word, is_proven in (("accepted", by_link), ("rejected", by_absence)):
        if is_proven:
            touch = word if state.touch == "uncertain" else state.touch
            # the list tells what the receipt would, and is kept where the receipt is
            told = tuple(was or (nth == attempt and word == "accepted") for nth, was in enumerate(state.told))
            yield Step("ask", attempt, word), _ended(state, attempt, word)._replace(touch=touch, told=told)


def _patient(state: State) -> Iterator[Move]:
    """`choices.opt_out`; `following.follow_appointments` when an appointment is made, and when it is lost."""
    is_planned, is_live = state.touch == "planned", not state.stop
    if is_live:
        after = state._replace(stop=JUST_NOW)
        yield Step("stop"), _cancelled(after, "opted_out") if is_planned else after
    if state.visit == NO_VISIT:
        after = state._replace(visit=AHEAD)
        yield Step("book"), _cancelled(after, "booked") if is_planned and is_live else after
    elif state.visit == AHEAD:
        after = state._replace(visit=VISIT_OVER)
        comes_back = state.touch == "cancelled" and state.why == "booked" and is_live
        yield Step("unbook"), after._replace(touch="planned", why="") if comes_back else after


def _cancelled(state: State, why: str) -> State:
    return state._replace(touch="cancelled", why=why, is_hinted=False)


def _reaper(state: State, rules: Protocol) -> Iterator[Move]:
    """`finishes.reap`: a lease that ran out makes attempt and touch uncertain."""
    if not rules.reaps or "sending" not in state.attempts or (state.age < LOST and rules.reaps_by_lease):
        return
    attempt = state.attempts.index("sending")
    if rules.reaped_is_uncertain:
        yield Step("reap"), _ended(state, attempt, "uncertain")._replace(touch="uncertain")
    else:
        yield Step("reap"), _ended(state, attempt, "released")._replace(touch="planned", due=NOW_DUE)


def _receipt(state: State, rules: Protocol, attempt: int) -> State:
    """`receipts.take` and `settling.apply`: the provider has it, so what was open is accepted."""
    told = tuple(is_told or number == attempt for number, is_told in enumerate(state.told))
    after = state._replace(told=told)
    if state.attempts[attempt] not in {"sending", "uncertain", "retry"} or not rules.receipts_settle:
        return after
    touch = "accepted" if state.touch in {"sending", "uncertain", "planned"} else state.touch
    return _ended(after, attempt, "accepted")._replace(touch=touch, is_hinted=False)


def _idle(state: State, rules: Protocol, who: int, worker: Worker) -> Iterator[Move]:
    """`claims.claim`, by `SendWorker._claim`: what is not planned and due is left alone; the guard decides the rest."""
    if not state.jobs:
        return
    step, after = Step("claim", who), state._replace(jobs=state.jobs - 1)
    may_claim = state.touch == "planned" and state.due == NOW_DUE
    if not may_claim and (rules.claim_asks_for_planned or state.touch in {"cancelled", "expired", "suppressed"}):
        yield step, after
    elif state.stop and rules.claim_asks_for_choices:
        yield step, after._replace(touch="suppressed", is_hinted=False)
    elif state.visit == AHEAD and rules.claim_asks_for_visits:
        yield step, after._replace(due=AFTER_VISIT, is_hinted=False)
    elif len(state.attempts) < MOST_ATTEMPTS:
        breach = (
            "claimed after an opt-out" if state.stop else "claimed with an appointment ahead" * (state.visit == AHEAD)
        )
        claimed = after._replace(
            touch="sending",
            is_hinted=False,
            attempts=(*state.attempts, "sending"),
            taken=(*state.taken, False),
            told=(*state.told, False),
            age=FRESH,
            breach="claimed after an opt-out" if state.stop else breach,
        )
        yield step, _stands(claimed, who, Worker(CLAIMED, len(state.attempts)))


def _claimed(state: State, rules: Protocol, who: int, worker: Worker) -> Iterator[Move]:
    """`Turns.take` may withhold it; `SendWorker._send_granted` looks at its lease and, if it has aged, asks again."""
    is_last = len(state.attempts) == MOST_ATTEMPTS
    if not is_last:
        withheld = _finish(state, rules, worker.attempt, "released", SOON)
        # it keeps its place in what is handed out until its turn
        yield Step("withhold", who), _stands(withheld._replace(is_hinted=True), who, Worker())
    age = state.age if worker.attempt == len(state.attempts) - 1 else LOST
    is_old = age >= OLD and rules.checks_lease
    is_stopped = age >= AGED and (bool(state.stop) or state.visit == AHEAD) and rules.checks_again
    if is_old or is_stopped:
        yield Step("check", who), _stands(_finish(state, rules, worker.attempt, "released", NOW_DUE), who, Worker())
    else:
        yield Step("check", who), _stands(state, who, worker._replace(phase=CHECKED))


def _checked(state: State, rules: Protocol, who: int, worker: Worker) -> Iterator[Move]:
    """`Sender.send`, with no transaction open: taken or not, and the answer may be lost on its way back."""
    is_last = len(state.attempts) == MOST_ATTEMPTS
    is_live = state.attempts[worker.attempt] == "sending" and state.age < LOST
    breach = "called without a lease" if not is_live else "called after an opt-out" * (state.stop == BEFORE)
    answers = [("accepted", True), ("uncertain", True), ("uncertain", False), ("rejected", False)]
    answers += [] if is_last else [("retry", False)]
    answers += [] if rules.provider_is_honest or is_last else [("retry", True)]
    for answer, is_taken in answers:
        taken = tuple(was or (number == worker.attempt and is_taken) for number, was in enumerate(state.taken))
        after = state._replace(taken=taken, breach="accepted twice" if sum(taken) > 1 else breach)
        what = answer if is_taken == (answer == "accepted") else f"{answer}, {'taken' if is_taken else 'not taken'}"
        yield Step("call", who, what), _stands(after, who, Worker(CALLED, worker.attempt, answer))


def _called(state: State, rules: Protocol, who: int, worker: Worker) -> Iterator[Move]:
    """`finishes.finish`, fenced by the token: only an attempt that is still `sending` ends by it."""
    yield Step("finish", who), _stands(_finish(state, rules, worker.attempt, worker.answer, SOON), who, Worker())


def _finish(state: State, rules: Protocol, attempt: int, end: str, due: int) -> State:
    if state.attempts[attempt] != "sending" and rules.finish_is_fenced:
        return state
    touch = _TOUCH_AFTER.get(end, "planned")
    if end == "uncertain" and not rules.uncertain_rests:
        touch = "planned"
    due = due if touch == "planned" else state.due
    return _ended(state, attempt, end)._replace(touch=touch, due=due)


def _crash(state: State, who: int) -> Move:
    """A process is killed: its job was not acknowledged, so the broker delivers it again."""
    jobs = min(MOST_JOBS, state.jobs + 1)
    return Step("crash", who), _stands(state._replace(crashes=state.crashes - 1, jobs=jobs), who, Worker())


def _ended(state: State, attempt: int, end: str) -> State:
    attempts = tuple(end if number == attempt else each for number, each in enumerate(state.attempts))
    return state._replace(attempts=attempts)


def _stands(state: State, who: int, worker: Worker) -> State:
    first, second = state.workers
    return state._replace(workers=(worker, second) if who == 0 else (first, worker))


_PHASES: Final[dict[str, Callable[[State, Protocol, int, Worker], Iterator[Move]]]] = {
    IDLE: _idle,
    CLAIMED: _claimed,
    CHECKED: _checked,
    CALLED: _called,
}
