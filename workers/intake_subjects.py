"""What each kind of event means to the ledger: the translation from the event contract to news, choices and replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeVar, cast

from pydantic import BaseModel
from sqlalchemy import Connection, select

from channels.kit.discovery import discover
from domain.events.codec import Event
from domain.events.incoming import (
    ConsentData,
    ConsentScope,
    ReceiptData,
    ReplyData,
)
from domain.ledger import choices, consents, intake, receipts, replies, senders, slots
from domain.ledger.organisations import organisation, sites_of
from domain.ledger.receipts import ReceiptNews
from domain.ledger.vault import Vault
from workers.intake_news import appointment_news, gap_news, patient_news, slot_news

D = TypeVar("D", bound=BaseModel)


class Subject(StrEnum):
    """What an event is about, in the order in which a batch is taken in."""

    PATIENT = "patient"
    APPOINTMENT = "appointment"
    GAP = "caregap"
    SLOTS = "slots"
    CONSENT = "consent"
    REPLY = "reply"
    RECEIPT = "receipt"
    UNREADABLE = ""


@dataclass
class Applied:
    """What a part of a batch did; `problems` by index."""

    stale: int = 0
    ignored: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    replies: list[int] = field(default_factory=list)
    receipts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class When:
    """The instants of a batch: `received_at` is before `now` where a message waited in quarantine."""

    now: datetime
    received_at: datetime

    def chosen(self, told: datetime | None) -> datetime:
        """When a patient chose, by what the event tells; never later than we heard of it.

        The future of a clock that is ahead would outlast every choice that the patient makes until then.
        """
        return self.received_at if told is None else min(told, self.received_at)


class Organisations:
    """Whose event it is: the organisation that the event names, else the default, else the only one there is."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._ids: dict[str, int] = {}

    def find(self, conn: Connection, key: str) -> int | None:
        """The organisation's id; None if it cannot be told."""
        wanted = key or self._default
        if wanted not in self._ids:
            query = select(organisation.c.id)
            found = conn.scalars(query.where(organisation.c.key == wanted) if wanted else query.limit(2)).all()
            if len(found) != 1:
                return None
            if not wanted:
                # not remembered: a second organisation may come tomorrow
                return int(found[0])
            self._ids[wanted] = found[0]
        return self._ids[wanted]


def subject_of(event: Event) -> Subject:
    """What an event is about."""
    return Subject(event.kind.name.partition(".")[0])


def apply(conn: Connection, vault: Vault, organisations: Organisations, events: Sequence[Event], when: When) -> Applied:
    """Apply events of one subject, inside the caller's transaction."""
    done = Applied()
    owned: list[tuple[int, int, Event]] = []
    owners = {key: organisations.find(conn, key) for key in {event.organisation for event in events}}
    for index, event in enumerate(events):
        owner = owners[event.organisation]
        if owner is None:
            done.problems[index] = "organisation: unknown, or not named where there are several"
        else:
            owned.append((index, owner, event))
    if owned:
        _APPLY[subject_of(owned[0][2])](conn, vault, owned, when, done)
    return done


_Owned = Sequence[tuple[int, int, Event]]


def _take_patients(conn: Connection, vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    _merge(done, owned, intake.take_patients(conn, vault, [patient_news(owner, e) for _, owner, e in owned], when.now))


def _take_appointments(conn: Connection, vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    news = [appointment_news(owner, event) for _, owner, event in owned]
    _merge(done, owned, intake.take_appointments(conn, vault, news, when.now))


def _take_gaps(conn: Connection, vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    news = [gap_news(vault, owner, event, when.now) for _, owner, event in owned]
    _merge(done, owned, intake.take_gaps(conn, vault, news, when.now))


def _take_slots(conn: Connection, _vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    sites = sites_of(conn, {owner for _, owner, _ in owned})
    for index, owner, event in owned:
        news = slot_news(sites, owner, event)
        if not news:
            done.problems[index] = "site: no site of the organisation has this key"
        # an event is stale where all that it tells is older
        elif slots.tell(conn, news, when.now) == len(news):
            done.stale += 1


def _take_receipts(conn: Connection, _vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    news = []
    for _, _, event in owned:
        data = cast("ReceiptData", event.data)
        channel = discover().get(data.channel)
        effect = channel.effect_of(data.error_code) if channel is not None and data.error_code else None
        news.append(
            ReceiptNews(
                data.channel,
                data.provider_ref,
                data.status.value,
                data.reference,
                error_code=data.error_code,
                effect=effect,
            )
        )
    done.receipts += receipts.take(conn, news, when.now)


def _take_replies(conn: Connection, vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    for _, owner, event in owned:
        data = cast("ReplyData", event.data)
        taken = replies.take(
            conn,
            vault,
            channel=data.channel,
            system=data.sender.system.value,
            provider_id=data.provider_id,
            sender=data.sender.value,
            text=data.text,
            now=when.now,
            received_at=when.chosen(event.time),
            # two organisations may know the same number: the event says whose message it is
            organisation_id=owner,
        )
        if taken.reply_id is not None and taken.intent is None:
            done.replies.append(taken.reply_id)


def _take_consents(conn: Connection, vault: Vault, owned: _Owned, when: When, done: Applied) -> None:
    for index, owner, event in owned:
        data = cast("ConsentData", event.data)
        is_granted = event.kind.name == "consent.granted"
        sender = senders.known_as(data.contact_point.system.value, data.contact_point.value)
        if sender is None:
            done.problems[index] = "contact_point.value: no phone number or mail address that can be used"
        elif is_granted and data.channel is None:
            done.problems[index] = "channel: a grant must say for which channel"
        else:
            # a stranger's choice is kept as well: the number may be imported tomorrow
            point = senders.meet(conn, vault, owner, sender)
            at = when.chosen(data.at)
            if not is_granted and data.scope is ConsentScope.EVERYTHING:
                choices.opt_out(
                    conn, organisation_id=owner, contact_point_id=point, source=data.source, at=at, now=when.now
                )
            elif data.channel is not None:
                consents.record(
                    conn,
                    organisation_id=owner,
                    contact_point_id=point,
                    channel=data.channel,
                    purpose=data.purpose,
                    is_granted=is_granted,
                    source=data.source,
                    at=at,
                    now=when.now,
                )


_APPLY: dict[Subject, Callable[[Connection, Vault, _Owned, When, Applied], None]] = {
    Subject.PATIENT: _take_patients,
    Subject.APPOINTMENT: _take_appointments,
    Subject.GAP: _take_gaps,
    Subject.SLOTS: _take_slots,
    Subject.CONSENT: _take_consents,
    Subject.REPLY: _take_replies,
    Subject.RECEIPT: _take_receipts,
}


def _merge(done: Applied, owned: _Owned, taken: intake.Taken) -> None:
    done.stale += taken.stale
    done.ignored += taken.ignored
    for fault in taken.rejected:
        done.problems[owned[fault.index][0]] = f"{fault.field}: {fault.reason}"
