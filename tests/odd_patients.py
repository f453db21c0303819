"""Ten odd patients: small stories told to the real ledger and senders, and what `explain` says at the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from household import StoppedClock
from lakeside import NOW, news_of, settle, take
from practice import Desk, Provider, Unpaced
from rulebooks import STANDARD
from sqlalchemy import Engine, func, select
from welcome_back import AWAY, SYSTEMS, Lakeside

from channels.kit.contract import Outcome, OutcomeKind, SideEffect
from domain.ledger import confidential, merging, patients, receipts, replies, settling, verdicts
from domain.ledger.choice_history import Note
from domain.ledger.enrolments import enrolment
from domain.ledger.explain import explain
from domain.ledger.inbound import reply
from domain.ledger.patients import contact_point, patient
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.news import Contact
from domain.rules.vocabulary import AppointmentStatus, ContactSystem
from producers.sweep import Sweep

PHONE = "+13035550101"
MAIL = "pat@example.com"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Stage:
    """Lakeside Health with its campaign, its providers' edge, and a clock that goes from one due row to the next."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self.health = Lakeside(engine, vault, settle(engine))
        self.health.start(now=AWAY)
        self.clock = StoppedClock(NOW)
        self.sms = Provider(answer=lambda _: Outcome(OutcomeKind.ACCEPTED))
        self.email = Provider("email", "email")
        self._desk = Desk(self.health, self.clock)  # type: ignore[arg-type]
        self._workers = {each.name: self._desk.worker(each, Unpaced()) for each in (self.sms, self.email)}
        self._sweep = Sweep(engine, SYSTEMS, STANDARD, lambda _job: None, lambda _channel, _code: False)

    def close(self) -> None:
        """End the senders."""
        self._desk.close()

    def patient(self, name: str, *contacts: str, **more: Any) -> int:
        """Somebody with this record number, last seen 400 days ago; the id."""
        known = tuple(Contact(ContactSystem.EMAIL if "@" in each else ContactSystem.PHONE, each) for each in contacts)
        news = news_of(self.health.organisation, name, AWAY, contacts=known, **more)
        take(self.health.engine, self.health.vault, news, now=AWAY)
        self.health.tell(name, AWAY, AppointmentStatus.FULFILLED, AWAY, "last")
        return max(each["id"] for each in self.health.rows(patient))

    def begin(self) -> None:
        """The scan finds who has lapsed; the campaign enrols them."""
        self.health.enrol(self.clock.at)

    def until(self, at: datetime) -> None:
        """Everything that falls due until then happens when it is due."""
        while (due := self._next()) is not None and due <= at:
            self.clock.at = max(self.clock.at, due)
            self._work()
        self.clock.at = at

    def away_until(self, at: datetime) -> None:
        """Nothing runs until then."""
        self.clock.at = at
        self._work()

    def writes(self, number: str, text: str) -> int:
        """A text from this number; the reply's id."""
        at, engine = self.clock.at, self.health.engine
        with engine.begin() as conn:
            number_of = conn.scalar(select(func.count()).select_from(reply)) or 0
            taken = replies.take(
                conn,
                self.health.vault,
                channel="sms",
                system="phone",
                provider_id=f"SM{number_of + 1}",
                sender=number,
                text=text,
                now=at,
            )
        with engine.begin() as conn:
            replies.read(conn, self.health.vault, [taken.reply_id or 0], at)
        self._work()
        return taken.reply_id or 0

    def receipt(self, reference: str, provider_ref: str, status: str) -> None:
        """The provider tells what became of a text."""
        news = ReceiptNews("sms", provider_ref, status, reference)
        with self.health.engine.begin() as conn:
            ids = receipts.take(conn, [news], self.clock.at)
        with self.health.engine.begin() as conn:
            settling.apply(conn, ids, self.clock.at)

    def told(self, patient_id: int) -> str:
        """What `reactivate explain` prints."""
        ref = self.health.only(patient, id=patient_id)["ref"]
        with reading(self.health.engine) as conn:
            return "\n".join(explain(conn, ref, self.clock.at).lines())

    def _work(self) -> None:
        now = self.clock.at
        for channel, worker in self._workers.items():
            due = [touch.c.state == "planned", touch.c.channel == channel, touch.c.due_at <= now]
            with reading(self.health.engine) as conn:
                ids = list(conn.scalars(select(touch.c.id).where(*due).order_by(touch.c.id)))
            if ids:
                worker.send(ids)
        self._sweep.run(now)
        self._sweep.review(now)

    def _next(self) -> datetime | None:
        with reading(self.health.engine) as conn:
            planned = conn.scalar(select(func.min(touch.c.due_at)).where(touch.c.state == "planned"))
            review = conn.scalar(select(func.min(enrolment.c.review_at)).where(enrolment.c.ended_at.is_(None)))
        return min((each for each in (planned, review) if each is not None), default=None)


def shares_a_phone(stage: Stage) -> int:
    """Two patients share a phone. We write to one, and the answer is STOP: neither is written to there again."""
    stage.patient("rosa", PHONE)
    tom = stage.patient("tom", PHONE)
    stage.begin()
    stage.until(NOW + 2 * DAY)
    stage.writes(PHONE, "STOP")
    stage.until(NOW + 20 * DAY)
    return tom


def changes_their_mind(stage: Stage) -> int:
    """STOP, then YES, which opts nobody in again, then START, which does; the campaign they left stays over."""
    who = stage.patient("ana", PHONE)
    stage.begin()
    stage.until(NOW + 2 * DAY)
    for text in ("Stop. Thank you", "YES", "START"):
        stage.writes(PHONE, text)
        stage.until(stage.clock.at + DAY)
    return who


def has_a_number_from_far_away(stage: Stage) -> int:
    """Lives in Denver with a number of Honolulu: both places must be awake."""
    who = stage.patient("kai", "+18085550101")
    stage.begin()
    stage.until(NOW + 2 * DAY)
    return who


def has_a_landline(stage: Stage) -> int:
    """The provider says that the number cannot take texts: mail is next, and texts are not tried again."""
    landline = Outcome(OutcomeKind.REJECTED, code="30006", effect=SideEffect.BAD_ADDRESS)
    stage.sms.answer = lambda _: landline
    who = stage.patient("lena", PHONE, MAIL)
    stage.begin()
    stage.until(NOW + 12 * DAY)
    return who


def is_perhaps_written_to(stage: Stage) -> int:
    """The provider took the text and its answer was lost: never sent again; the provider's receipt settles it."""
    stage.sms.answer = lambda _: Outcome(OutcomeKind.UNCERTAIN, code="timeout")
    who = stage.patient("omar", PHONE)
    stage.begin()
    stage.until(NOW + 2 * DAY)
    stage.receipt(stage.sms.calls[-1].reference, "SM9", "delivered")
    return who


def is_said_to_have_died(stage: Stage) -> int:
    """A relative answers. Everything waits until a person has looked, who confirms it."""
    who = stage.patient("john", PHONE)
    stage.begin()
    stage.until(NOW + 2 * DAY)
    reply_id = stage.writes(PHONE, "He passed away in January")
    stage.until(NOW + 3 * DAY)
    with stage.health.engine.begin() as conn:
        verdicts.confirm_death(conn, reply_id, (), stage.clock.at)
    return who


def never_had_that_number(stage: Stage) -> int:
    """Somebody else answers: the number is not the patient's any more, who is reached by mail instead."""
    who = stage.patient("mia", PHONE, MAIL)
    stage.begin()
    stage.until(NOW + 2 * DAY)
    stage.writes(PHONE, "Wrong number")
    stage.until(NOW + 12 * DAY)
    return who


def asks_to_be_reached_in_one_place(stage: Stage) -> int:
    """Asks staff for letters to one mail address only: the text that was planned goes there."""
    who = stage.patient("iris", PHONE, MAIL)
    stage.begin()
    note = Note("Maya Ortiz", stage.health.vault.seal("shares the phone", "choice_event.why"))
    address = stage.health.only(contact_point, system="email")["id"]
    with stage.health.engine.begin() as conn:
        patients.lock(conn, [who])
        confidential.ask(conn, who, [address], note, stage.clock.at, stage.clock.at)
    stage.until(NOW + 12 * DAY)
    return who


def is_due_during_an_outage(stage: Stage) -> int:
    """Nothing runs for twelve days: what was due then is over, and what follows keeps its own days."""
    who = stage.patient("noah", PHONE)
    stage.begin()
    stage.away_until(NOW + 12 * DAY)
    stage.until(NOW + 32 * DAY)
    return who


def is_known_twice(stage: Stage) -> int:
    """Two records of one person: what one of them said is said of both, once they are merged."""
    kept = stage.patient("eva", PHONE)
    gone = stage.patient("eve", "+13035550102")
    stage.begin()
    stage.until(NOW + 2 * DAY)
    stage.writes("+13035550102", "please take me off your list")
    stage.until(NOW + 3 * DAY)
    with stage.health.engine.begin() as conn:
        patients.lock(conn, [kept, gone])
        merging.merge(conn, gone, kept, stage.clock.at)
    stage.until(NOW + 15 * DAY)
    return kept


STORIES: tuple[Callable[[Stage], int], ...] = (
    shares_a_phone,
    changes_their_mind,
    has_a_number_from_far_away,
    has_a_landline,
    is_perhaps_written_to,
    is_said_to_have_died,
    never_had_that_number,
    asks_to_be_reached_in_one_place,
    is_due_during_an_outage,
    is_known_twice,
)
