"""The books of a campaign of faults: what the provider's ledger and ours say after each, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, exists, func, select

from domain.ledger import heartbeat, replies
from domain.ledger.attempts import attempt
from domain.ledger.audit import audit
from domain.ledger.choice_history import suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.intake_log import event_seen
from domain.ledger.lapses import lapse
from domain.ledger.patients import contact_index, contact_point, patient
from domain.ledger.quiet import under_way
from domain.ledger.store import reading
from domain.ledger.touches import IS_PLANNED, touch
from domain.ledger.vault import Vault
from domain.rules.rulebook import Rulebook
from ops.simulator.people import Person
from producers.clock import CLOCK
from tests.faults.outside import Outside

#: What is due within so long is waited for: a call that surely reached nobody is tried again after a minute or a few.
_SOON = timedelta(minutes=10)
#: Ids of suppressions that a burst of opt-outs may take while one that began before them is held up.
_LATE_IDS = 500
#: The promises that are about what was before what.
_OF_TIME = ("sent_after_opt_out", "over_cap", "outside_hours")


@dataclass(frozen=True)
class Totals:
    """Counts since the beginning; each but the first two should be 0."""

    touches: int = 0
    uncertain: int = 0
    accepted_twice: int = 0
    lost: int = 0
    sent_after_opt_out: int = 0
    over_cap: int = 0
    outside_hours: int = 0
    unaccounted: int = 0

    def since(self, before: Totals) -> Totals:
        """What came since then."""
        return Totals(**{name: max(0, value - getattr(before, name)) for name, value in asdict(self).items()})

    @property
    def broken(self) -> int:
        """How many promises were broken."""
        return sum(value for name, value in asdict(self).items() if name not in ("touches", "uncertain"))


class Books:
    """Asks our ledger directly, past every proxy, and the provider's witness."""

    def __init__(self, engine: Engine, vault: Vault, outside: Outside, rules: Rulebook) -> None:
        self._engine = engine
        self._vault = vault
        self._outside = outside
        self._rules = rules
        self._contacts: dict[bytes, str] = {}
        self._people = 0
        self._events = 0
        self._last_suppression = 0
        self.in_force: set[str] = set()
        """Contacts whose opt-out was seen in force."""
        self._untold: dict[str, int] = {}
        """What our ledger counted on days whose times it cannot tell."""
        self.details: list[str] = []
        """What the last judgement found, in words with ids."""

    def expect(self, people: Collection[Person], events: int) -> None:
        """These people are told of, in so many events."""
        self._people += len(people)
        self._events += events
        for person in people:
            for system, value in (("phone", person.phone), ("email", person.email)):
                if value:
                    self._contacts[contact_index(self._vault, system, value)] = value

    def forget_a_hint(self, now: datetime) -> None:
        """A stranger's message is stored, and no worker is told: the sweep has to."""
        word = {"channel": "sms", "system": "phone", "provider_id": "SM-forgotten", "sender": "+13035550199"}
        with self._engine.begin() as conn:
            replies.take(conn, self._vault, **word, text="Who is this?", now=now)

    def look_for_opt_outs(self, *, at_all: bool = False) -> None:
        """Tell the witness of every opt-out that is in force by now. Raises DBAPIError while the ledger is away.

        Ids are given before they are committed, so the last of them are looked at again; `at_all`: everything is.
        """
        if at_all:
            self._last_suppression = 0
        wanted = (
            select(suppression.c.id, contact_point.c.value_index)
            .join(contact_point, contact_point.c.id == suppression.c.contact_point_id)
            .where(suppression.c.id > self._last_suppression, suppression.c.lifted_at.is_(None))
            .order_by(suppression.c.id)
        )
        with reading(self._engine) as conn:
            rows = conn.execute(wanted).all()
        for row in rows:
            contact = self._contacts.get(bytes(row.value_index))
            if contact is not None and contact not in self.in_force:
                self.in_force.add(contact)
                self._outside.on_loop(lambda who=contact: self._outside.witness.opted_out(who, self._outside.now()))
        if rows:
            self._last_suppression = max(0, rows[-1].id - _LATE_IDS)

    def under_way(self, now: datetime) -> Counter[str]:
        """What is not at rest yet, by kind."""
        with reading(self._engine) as conn:
            busy = Counter(dict.fromkeys(under_way(conn, now), 1))
            busy["due touches"] = conn.scalar(
                select(func.count()).select_from(touch).where(IS_PLANNED, touch.c.due_at <= now + _SOON)
            )
            busy["people to decide about"] = len(self._undecided())
            busy["events to take in"] = self._events - (conn.scalar(_SEEN_EVENTS) or 0)
        if not self._outside.is_idle():
            busy["calls to the web process"] = 1
        return busy

    def leads(self) -> bool:
        """Whether some clock has finished a round."""
        with reading(self._engine) as conn:
            return heartbeat.last(conn, CLOCK) is not None

    def moved(self) -> int:
        """A number that changes whenever something was done."""
        with reading(self._engine) as conn:
            return sum(conn.scalar(each) or 0 for each in _MOVES)

    def is_everybody_decided(self) -> bool:
        """Whether everybody of whom we were told is enrolled, or not for a reason."""
        return not self._undecided()

    def is_anybody_due(self, now: datetime) -> bool:
        """Whether some touch is due that did not go out yet."""
        due = select(touch.c.id).where(IS_PLANNED, touch.c.due_at <= now).limit(1)
        with reading(self._engine) as conn:
            return conn.scalar(due) is not None

    def totals(self, now: datetime, *, clocks_agree: bool) -> Totals:
        """Judge everything so far, by both ledgers.

        Where the fleet's clocks did not agree, its ledger cannot tell what was before what: there the witness judges.
        """
        # what came into force since the last look is in force
        self.look_for_opt_outs(at_all=True)
        # a day that did not come to rest goes on meanwhile: what we knew before the provider told must be known to it
        accepted = {token for token, (state, _) in self._attempts().items() if state == "accepted"}
        judged = self._outside.judged()
        self.details = []
        with reading(self._engine, patient=True) as conn:
            findings = {each.promise: each for each in audit(conn, now, self._rules.declared)}
        attempts = self._attempts()
        if not clocks_agree:
            self._untold = {name: findings[name].count for name in _OF_TIME}
        known = {name: each.count - self._untold.get(name, 0) for name, each in findings.items()}
        counts = {name: max(count, judged["promises"].get(name, 0)) for name, count in known.items()}
        self.details += [f"ledger: {name}: {findings[name].samples}" for name, count in known.items() if count > 0]
        self.details += [f"witness: {name}: {count}" for name, count in judged["promises"].items() if count]
        return Totals(
            touches=len(judged["references"]),
            uncertain=sum(state == "uncertain" for state, _ in attempts.values()),
            accepted_twice=counts["accepted_twice"],
            lost=self._lost(set(judged["references"]), accepted, attempts),
            sent_after_opt_out=counts["sent_after_opt_out"],
            over_cap=counts["over_cap"],
            outside_hours=counts["outside_hours"],
            unaccounted=counts["unaccounted"] + counts["without_reason"] + counts["suppression_disagrees"],
        )

    def _attempts(self) -> dict[str, tuple[str, str]]:
        """State and channel of every attempt, by token."""
        with reading(self._engine, patient=True) as conn:
            rows = conn.execute(select(attempt.c.token, attempt.c.state, attempt.c.channel)).all()
        return {row.token: (row.state, row.channel) for row in rows}

    def _lost(self, taken: set[str], accepted: set[str], attempts: Mapping[str, tuple[str, str]]) -> int:
        # a text has its receipt; a mail has none, and may rest uncertain
        known = {("accepted", "sms"), ("accepted", "email"), ("uncertain", "email")}
        lost = {
            "accepted by our ledger alone": sorted(accepted - taken),
            "accepted by the provider alone": sorted(each for each in taken if attempts.get(each) not in known),
            "opt-outs answered and not in force": sorted(set(self._outside.asked_to_stop) - self.in_force),
            "people without a decision": self._undecided(),
        }
        self.details += [f"lost: {len(found)} {what}: {found[:3]}" for what, found in lost.items() if found]
        return sum(map(len, lost.values()))

    def _undecided(self) -> list[int]:
        has_lapse = exists().where(lapse.c.patient_id == patient.c.id, lapse.c.decided_at.is_not(None))
        with reading(self._engine) as conn:
            there = conn.scalar(select(func.count()).select_from(patient)) or 0
            undecided = list(conn.scalars(select(patient.c.id).where(~has_lapse)))
        return undecided + [0] * (self._people - there)


_MOVES = (
    select(func.count()).select_from(event_seen),
    select(func.count()).select_from(lapse).where(lapse.c.decided_at.is_not(None)),
    select(func.count()).select_from(attempt),
    select(func.count()).select_from(attempt).where(attempt.c.state != "sending"),
    select(func.count()).select_from(receipt).where(receipt.c.applied_at.is_not(None)),
    select(func.count()).select_from(reply).where(reply.c.state != "new"),
)
_SEEN_EVENTS = select(func.count()).select_from(event_seen)
