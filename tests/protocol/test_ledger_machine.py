"""The ledger against a small model of it: whatever happens in whatever order, and however often, on both stores.

A practice of three people, two of whom share a phone. Claims, calls, finishes, receipts, replies, appointments, the
reaper, a merge and time come as Hypothesis likes; the model knows what the provider really took, what each person said
last at each number, and what every attempt must have become. At the end the audit judges the ledger by its own lights.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from household import NOW, add
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from practice import SYSTEMS, Person, Practice
from rulebooks import STANDARD
from send_model import MOVES
from sqlalchemy import Connection, Engine, delete, select, update

from domain.ledger import (
    asking,
    care,
    claim_recheck,
    claims,
    finishes,
    merging,
    patients,
    receipts,
    replies,
    settling,
    touches,
)
from domain.ledger.appointments import appointment
from domain.ledger.attempts import attempt
from domain.ledger.audit import audit
from domain.ledger.choice_history import suppression
from domain.ledger.claimed import Claimed
from domain.ledger.claims import LEASE
from domain.ledger.enrolments import enrolment
from domain.ledger.finishes import Finish
from domain.ledger.following import follow_appointments
from domain.ledger.patients import patient_contact
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import open_ledger, reading
from domain.ledger.tables import metadata
from domain.ledger.texts import template_event
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.asking import ABSENT_AFTER, Answered, Listed, Said, judge
from domain.rules.guard import may_answer_suppressed
from domain.rules.vocabulary import AttemptState
from workers.send import FRESH

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
PHONES = ("+13035550101", "+13035550102")
ENDS = ("accepted", "rejected", "retry", "throttled", "uncertain", "released")
REFUSALS = ("rejected", "retry", "throttled")
STATUSES = ("unknown", "sent", "delivered", "undelivered")
TERMINAL = {"delivered", "undelivered"}

_ATTEMPTS = select(attempt.c.token, attempt.c.state)
_TOUCHES = select(touch.c.id, touch.c.state, touch.c.delivery).order_by(touch.c.id)
_IN_FORCE = select(suppression.c.contact_point_id, suppression.c.patient_id).where(suppression.c.lifted_at.is_(None))
_ATTACHED = select(patient_contact.c.patient_id, patient_contact.c.contact_point_id)

pick = st.integers(min_value=0, max_value=11)


@dataclass
class Try:
    """One attempt, as the model knows it."""

    claimed: Claimed
    claimed_at: datetime
    state: str = "sending"
    is_taken: bool = False
    answer: str | None = None
    """What the provider told us; None = it was not called."""

    def age(self, now: datetime) -> timedelta:
        return now - self.claimed_at


@dataclass
class Known:
    """What the model knows beside the attempts."""

    tries: list[Try] = field(default_factory=list)
    said: defaultdict[str, list[tuple[datetime, bool]]] = field(default_factory=lambda: defaultdict(list))
    """By number: every STOP (True) and START, with when it was said."""
    untold: list[ReceiptNews] = field(default_factory=list)
    visits: dict[int, int] = field(default_factory=dict)

    def is_stopped(self, number: str) -> bool:
        """Whether the last word at this number is a STOP; of both at one instant the STOP counts."""
        return bool(self.said[number]) and max(self.said[number])[1]


class LedgerMachine(RuleBasedStateMachine):
    """The real ledger and the model, side by side."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        super().__init__()
        self.engine, self.vault, self.now = engine, vault, NOW
        with engine.begin() as conn:
            for table in reversed(metadata.sorted_tables):
                conn.execute(delete(table))
        practice = Practice(engine, vault)
        self.people: list[Person] = [practice.person(number=number) for number in (PHONES[0], *PHONES)]
        for who in self.people:
            practice.plan(who.id, who.enrolment, step=1, due_at=NOW + DAY, expires_at=NOW + 6 * DAY)
        with engine.begin() as conn:
            conn.execute(update(enrolment).values(review_at=NOW + 200 * DAY))
            for role, name in (("marketing", "Maya Ortiz"), ("clinical", "Sam Reed")):
                told = {"template_version_id": practice.text, "what": "released", "checksum": "0"}
                add(conn, template_event, **told, at=NOW, role=role, who=name)
        self.practice, self.known = practice, Known()
        self.numbers = {who.phone: who.number for who in self.people}
        self.ids = itertools.count(1)
        self.merged = False
        self.before: dict[int, str] = {}
        self.delivery: dict[int, str | None] = {}

    # -- time, and what the clock process does

    @rule(for_=st.sampled_from([SECOND, 2 * SECOND, 31 * SECOND, LEASE, DAY]))
    def time_passes(self, for_: timedelta) -> None:
        self.now += for_

    @rule()
    def reaper_comes(self) -> None:
        with self.engine.begin() as conn:
            finishes.reap(conn, self.now)
        for each in self.known.tries:
            if each.state == "sending" and each.age(self.now) >= LEASE:
                each.state = "uncertain"

    @rule()
    def too_late_is_too_late(self) -> None:
        with self.engine.begin() as conn:
            touches.expire(conn, self.now)
            finishes.hand_to_person(conn, self.now)

    # -- senders

    @rule(nths=st.lists(pick, min_size=1, max_size=4))
    def worker_claims(self, nths: list[int]) -> None:
        with self.engine.begin() as conn:
            ids = conn.scalars(select(touch.c.id).order_by(touch.c.id)).all()
            wanted = {ids[nth % len(ids)] for nth in nths}
            made = claims.claim(
                conn, wanted, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=self.now
            )
        assert {each.touch_id for each in made.claimed} <= wanted
        for each in made.claimed:
            assert self._may_be_called(each), "claimed after an opt-out"
            self.known.tries.append(Try(each, self.now))

    @precondition(lambda self: self.known.tries)
    @rule(
        nth=pick, is_taken=st.booleans(), is_told=st.booleans(), no=st.sampled_from(["rejected", "retry", "throttled"])
    )
    def worker_calls(self, nth: int, is_taken: bool, is_told: bool, no: str) -> None:
        """As `SendWorker._send_granted`: not with half a lease; and once the claim is a second old, not unasked."""
        each = self._try(nth)
        if each.answer is not None or each.age(self.now) > LEASE / 2 or each.state != "sending":
            return
        if each.age(self.now) > FRESH:
            with reading(self.engine) as conn:
                if claim_recheck.still_suppressed(conn, [each.claimed]):
                    return
            assert self._may_be_called(each.claimed), "called after an opt-out"
        each.is_taken = is_taken
        each.answer = ("accepted" if is_taken else no) if is_told else "uncertain"
        taken = [other for other in self._tries_of(each.claimed.touch_id) if other.is_taken]
        assert len(taken) <= 1, "accepted twice"

    @precondition(lambda self: self.known.tries)
    @rule(nth=pick)
    def worker_finishes(self, nth: int) -> None:
        """Also again, and long after somebody else settled it; what was not called is given back."""
        each = self._try(nth)
        self._finish(each, each.answer or "released", each.claimed.token)

    @precondition(lambda self: self.known.tries)
    @rule(nth=pick, end=st.sampled_from(ENDS))
    def somebody_guesses_a_token(self, nth: int, end: str) -> None:
        assert not self._finish(self._try(nth), end, "guessed")

    # -- providers

    @precondition(lambda self: any(each.is_taken for each in self.known.tries))
    @rule(nth=pick, status=st.sampled_from(STATUSES), has_token=st.booleans(), is_applied=st.booleans())
    def receipt_comes(self, nth: int, status: str, has_token: bool, is_applied: bool) -> None:
        """Also before our finish, again, and stored long before it is applied."""
        taken = [each for each in self.known.tries if each.is_taken]
        each = taken[nth % len(taken)]
        # without the token it is found by the provider's own id, which only a finish or a receipt before it told us
        reference = each.claimed.token if has_token or each.state != "accepted" else ""
        self.known.untold.append(ReceiptNews("sms", f"SM{each.claimed.token}", status, reference=reference))
        if is_applied:
            self.receipts_are_applied()

    @rule()
    def receipts_are_applied(self) -> None:
        with self.engine.begin() as conn:
            settling.apply(conn, receipts.take(conn, self.known.untold, self.now), self.now)
        told = {each.provider_ref for each in self.known.untold}
        for each in self.known.tries:
            if f"SM{each.claimed.token}" in told and each.state in {"sending", "uncertain", "retry", "throttled"}:
                each.state = "accepted"
        self.known.untold = []

    @precondition(lambda self: any(each.state == "uncertain" for each in self.known.tries))
    @rule(nth=pick)
    def person_settles(self, nth: int) -> None:
        """Who asked the provider, and was told the truth."""
        open_ = [each for each in self.known.tries if each.state == "uncertain"]
        each = open_[nth % len(open_)]
        with self.engine.begin() as conn:
            number = conn.scalar(select(attempt.c.id).where(attempt.c.token == each.claimed.token)) or 0
            assert finishes.settle_by_person(conn, number, was_accepted=each.is_taken, now=self.now)
        each.state = "accepted" if each.is_taken else "rejected"

    @precondition(lambda self: any(each.state == "uncertain" for each in self.known.tries))
    @rule(nth=pick, is_listed=st.booleans(), is_another_there=st.booleans())
    def provider_is_asked(self, nth: int, is_listed: bool, is_another_there: bool) -> None:
        """Whose list may lag behind for a while, and shows other people's messages, too."""
        open_ = [each for each in self.known.tries if each.state == "uncertain"]
        each = open_[nth % len(open_)]
        with self.engine.begin() as conn:
            number = conn.scalar(select(attempt.c.id).where(attempt.c.token == each.claimed.token)) or 0
            (question,) = asking.questions(conn, [number])
            lags = self.now < question.about.span.lease_until + ABSENT_AFTER
            shown = {each.claimed.touch_id} if each.is_taken and (is_listed or not lags) else set()
            others = {0} if is_another_there else set()
            listed = [
                Listed(f"SM{each.claimed.token}" if id_ else "SM0", each.claimed_at, frozenset([id_]), "unknown")
                for id_ in sorted(shown | others)
            ]
            said, found = judge(question.about, Answered(listed, is_whole=True), self.now)
            assert asking.settle(conn, question, said, found, self.now)
        if said is not Said.NOTHING:
            each.state = "accepted" if said is Said.TAKEN else "rejected"

    # -- patients and the front desk

    @rule(
        number=st.sampled_from(PHONES),
        text=st.sampled_from(["STOP", "START", "HELP", "C", "please stop texting me", "how is the weather"]),
        ago=st.sampled_from([timedelta(), SECOND, LEASE]),
        is_repeated=st.booleans(),
    )
    def patient_writes(self, number: str, text: str, ago: timedelta, is_repeated: bool) -> None:
        provider_id, at = f"IN{next(self.ids)}", self.now - ago
        for _ in range(1 + is_repeated):
            with self.engine.begin() as conn:
                replies.take(
                    conn,
                    self.vault,
                    channel="sms",
                    system="phone",
                    provider_id=provider_id,
                    sender=number,
                    text=text,
                    received_at=at,
                    now=self.now,
                )
        if text.lower().endswith("start") or "stop" in text.lower():
            self.known.said[number].append((at, text != "START"))

    @rule(nth=pick)
    def visit_is_booked_or_given_up(self, nth: int) -> None:
        who = self.people[nth % len(self.people)]
        with self.engine.begin() as conn:
            if who.id in self.known.visits:
                ended = update(appointment).where(appointment.c.id == self.known.visits.pop(who.id))
                conn.execute(ended.values(status="cancelled", changed_at=self.now))
            else:
                self.known.visits[who.id] = self._book(conn, who)
            self._follow(conn, [who.id])

    @precondition(lambda self: not self.merged)
    @rule()
    def two_records_turn_out_to_be_one_person(self) -> None:
        survivor, _, gone = self.people
        with self.engine.begin() as conn:
            patients.lock(conn, [survivor.id, gone.id])
            merging.merge(conn, gone.id, survivor.id, self.now)
            self._follow(conn, [survivor.id, gone.id])
        self.known.visits.pop(gone.id, None)
        self.people, self.merged = self.people[:2], True

    # -- what must always be

    @invariant()
    def everything_agrees(self) -> None:
        with reading(self.engine) as conn:
            tokens = {row.token: row.state for row in conn.execute(_ATTEMPTS)}
            found = {row.id: row for row in conn.execute(_TOUCHES)}
            stops = conn.execute(_IN_FORCE).all()
            attached = conn.execute(_ATTACHED).all()
        assert tokens == {each.claimed.token: each.state for each in self.known.tries}
        for row in found.values():
            self._check_touch(row.id, row.state, row.delivery)
        self._check_suppressions(
            {each.contact_point_id for each in stops}, {each.patient_id for each in stops}, attached
        )

    def _check_touch(self, id_: int, state: str, delivery: str | None) -> None:
        was, tries = self.before.get(id_, state), self._tries_of(id_)
        assert state == was or _may_become(was, state), f"{was} became {state}"
        assert [each.state for each in tries].count("sending") == (state == "sending")
        is_taken = any(each.is_taken for each in tries)
        assert state != "planned" or not is_taken, "what was accepted is planned"
        assert state != "accepted" or is_taken, "what nobody took is accepted"
        assert self.delivery.get(id_) not in TERMINAL or delivery == self.delivery[id_]
        self.before[id_], self.delivery[id_] = state, delivery

    def _check_suppressions(self, points: set[Any], out: set[Any], attached: Sequence[Any]) -> None:
        for point, number in self.numbers.items():
            assert (point in points) == self.known.is_stopped(number)
        for row in attached:
            is_stopped = self.known.is_stopped(self.numbers[row.contact_point_id])
            assert not is_stopped or row.patient_id in out, "opted out, and not suppressed"

    def teardown(self) -> None:
        """Whatever is open is settled; then nothing is left over, and the audit finds every promise kept."""
        self.now += 8 * DAY
        self.reaper_comes()
        while any(each.state == "uncertain" for each in self.known.tries):
            self.person_settles(0)
        self.too_late_is_too_late()
        with reading(self.engine) as conn:
            broken = {each.promise: each.count for each in audit(conn, self.now) if each.count}
            waiting = conn.scalars(select(touch.c.state).where(touch.c.state.in_(["planned", "sending"]))).all()
        assert (broken, waiting) == ({}, [])

    # -- helpers

    def _try(self, nth: int) -> Try:
        return self.known.tries[-1 - nth % len(self.known.tries)]

    def _tries_of(self, touch_id: int) -> list[Try]:
        return [each for each in self.known.tries if each.claimed.touch_id == touch_id]

    def _finish(self, each: Try, end: str, token: str) -> int:
        back = self.now + 5 * SECOND
        made = Finish(each.claimed.touch_id, token, AttemptState(end), called_at=self.now, retry_at=back)
        with self.engine.begin() as conn:
            written = finishes.finish(conn, [made], self.now)
        if token == each.claimed.token:
            assert written == (each.state == "sending")
            each.state = end if written else each.state
        return written

    def _may_be_called(self, claimed: Claimed) -> bool:
        if may_answer_suppressed(claimed.kind, claimed.answer):
            return True
        number = self.numbers[claimed.contact_point_id]
        numbers = {number, *PHONES} if self.merged and claimed.patient_id == self.people[0].id else {number}
        return not any(self.known.is_stopped(each) for each in numbers)

    def _book(self, conn: Connection, who: Person) -> int:
        return add(
            conn,
            appointment,
            organisation_id=self.practice.organisation,
            patient_id=who.id,
            site_id=self.practice.site,
            service_line="primary_care",
            source="ehr",
            source_id=f"visit-{next(self.ids)}",
            version=1,
            status="booked",
            starts_at=self.now + DAY,
            changed_at=self.now,
        )

    def _follow(self, conn: Connection, ids: list[int]) -> None:
        care.refresh(conn, ids, self.now)
        follow_appointments(conn, ids, self.now)


def _may_become(was: str, is_: str) -> bool:
    """Directly, or by several steps that one rule makes together."""
    return is_ in MOVES.get(was, ()) or any(is_ in MOVES.get(each, ()) for each in MOVES.get(was, ()))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """A ledger that need not wait for the disk: nobody cuts the power here."""
    engine = open_ledger(ledger_url, durable=False)
    yield engine
    engine.dispose()


def test_whatever_happens_in_whatever_order_the_ledger_keeps_its_promises(ledger: Engine, vault: Vault) -> None:
    profile = settings.default
    # the same examples every time, but for whoever asks for more of them (docs/protocol.md)
    settled = settings(max_examples=profile.max_examples // 4, derandomize=profile.max_examples <= 100)
    run_state_machine_as_test(lambda: LedgerMachine(ledger, vault), settings=settled)
