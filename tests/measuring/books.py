"""A ledger written by hand: a small, orderly health system in which a test plants what it looks for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, insert, update

from domain.ledger.appointments import appointment, care
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.incentives import incentive_offer
from domain.ledger.lapses import lapse
from domain.ledger.organisations import organisation, site
from domain.ledger.outcomes import outcome
from domain.ledger.patients import CONTACT_VALUE, contact_index, contact_point, patient, patient_contact, registration
from domain.ledger.texts import template, template_event, template_version
from domain.ledger.touches import touch, touch_event
from domain.ledger.vault import Vault

#: A Tuesday, 17:00 UTC: midday in New York, morning in Phoenix.
NOON = datetime(2031, 3, 4, 17, tzinfo=UTC)
DAY = timedelta(days=1)

#: A command that looks into the books needs its keys.
VAULT = Vault(keys={1: bytes(32)}, current=1, index_key=bytes(32))

REVIEWERS = (("marketing", "Maya Ortiz"), ("clinical", "Sam Reed"))
NEUTRAL = "{organisation}: we have not seen you for a while. Book: {link}. Reply STOP to end."


@dataclass(frozen=True)
class Person:
    """A patient and their phone."""

    id: int
    ref: str
    phone: int


class Books:
    """Writes rows with everything in order unless told otherwise."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self._numbers = itertools.count(1)
        self.org = self.add(organisation, key="o", name="Example Health", phone="555", postal_address="1 Road")
        self.east = self._site("east", "America/New_York")
        self.desert = self._site("desert", "America/Phoenix")
        self.campaign = self.add(
            campaign,
            organisation_id=self.org,
            key="welcome-back",
            version=1,
            checksum="c",
            definition={},
            holdout=0.1,
            started_at=NOON,
        )
        self.text = self.template(NEUTRAL)

    def add(self, table: Table, **values: Any) -> int:
        """Insert one row; its id."""
        return int(self.conn.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())

    def template(self, body: str, segment: str = "", people: Sequence[tuple[str, str]] = REVIEWERS) -> int:
        """A text of the campaign, released long ago by these people, each in a role."""
        version = self.add(
            template_version,
            organisation_id=self.org,
            key=f"text-{next(self._numbers)}",
            version=1,
            checksum="c",
            recorded_at=NOON,
            released_at=NOON - 100 * DAY,
        )
        for role, who in people:
            self.decide(version, "released", NOON - 100 * DAY, role=role, who=who)
        self.add(campaign_template, campaign_id=self.campaign, template_version_id=version)
        return self.add(template, template_version_id=version, channel="sms", language="en", segment=segment, body=body)

    def decide(self, version: int, what: str, at: datetime, *, who: str, **values: Any) -> int:
        """A release or recall, as the history keeps it."""
        told = {"template_version_id": version, "what": what, "at": at, "who": who, "checksum": "c", **values}
        return self.add(template_event, **told)

    def person(
        self, *, home: int | None = None, zone: str | None = None, number_zones: str = "", **values: Any
    ) -> Person:
        """A patient registered at `home` (default: east) with a phone of their own."""
        number, home = next(self._numbers), home or self.east
        reference = f"P{number:04d}"
        patient_id = self.add(patient, organisation_id=self.org, ref=reference, home_site_id=home, zone=zone, **values)
        self.add(registration, patient_id=patient_id, site_id=home, mrn=b"m", mrn_index=b"%d" % number)
        phone = self.phone(number_zones)
        self.add(patient_contact, patient_id=patient_id, contact_point_id=phone)
        return Person(patient_id, reference, phone)

    def phone(self, zones: str = "") -> int:
        number = f"+1303555{next(self._numbers):04d}"
        return self.add(
            contact_point,
            organisation_id=self.org,
            system="phone",
            value=VAULT.seal(number, CONTACT_VALUE),
            value_index=contact_index(VAULT, "phone", number),
            quality="valid",
            zones=zones,
        )

    def lapse(self, who: Person, *, segment: str = "6_12_months", priority: int = 30, **values: Any) -> int:
        return self.add(
            lapse,
            **{
                "organisation_id": self.org,
                "patient_id": who.id,
                "site_id": self.east,
                "service_line": "primary_care",
                "segment": segment,
                "inactive_since": NOON - 30 * DAY,
                "last_visit_at": NOON - 395 * DAY,
                "rule_version": "1",
                "priority": priority,
                "detected_at": NOON - DAY,
                "segment_at": NOON - DAY,
                "decided_at": NOON - DAY,
                **values,
            },
        )

    def enrol(self, who: Person, *, arm: str = "treatment", **values: Any) -> int:
        """A live enrolment with a review ahead."""
        segment = values.pop("segment", "6_12_months")
        lapse_id = values.pop("lapse_id", None) or self.lapse(who, segment=segment)
        return self.add(
            enrolment,
            **{
                "organisation_id": self.org,
                "campaign_id": self.campaign,
                "campaign_key": "welcome-back",
                "patient_id": who.id,
                "site_id": self.east,
                "lapse_id": lapse_id,
                "service_line": "primary_care",
                "segment": segment,
                "arm": arm,
                "state": "waiting",
                "enrolled_at": NOON - DAY,
                "review_at": NOON + 200 * DAY,
                **values,
            },
        )

    def touch(self, who: Person, enrolment_id: int | None, **values: Any) -> int:
        """A planned touch, due at NOON."""
        return self.add(
            touch,
            **{
                "organisation_id": self.org,
                "patient_id": who.id,
                "site_id": self.east,
                "enrolment_id": enrolment_id,
                "kind": "outreach",
                "step": next(self._numbers),
                "channel": "sms",
                "state": "planned",
                "due_at": NOON,
                "expires_at": NOON + 5 * DAY,
                **values,
            },
        )

    def attempt(self, who: Person, touch_id: int, at: datetime = NOON, **values: Any) -> int:
        """An accepted attempt, claimed and called at `at`."""
        return self.add(
            attempt,
            **{
                "touch_id": touch_id,
                "token": f"token{next(self._numbers)}",
                "channel": "sms",
                "provider": "sms",
                "kind": "outreach",
                "patient_id": who.id,
                "contact_point_id": who.phone,
                "state": "accepted",
                "claimed_at": at,
                "lease_until": at + timedelta(minutes=1),
                "called_at": at,
                "finished_at": at,
                "zones": "America/New_York",
                "template_id": None if values.get("kind") == "answer" else self.text,
                **values,
            },
        )

    def sent(self, who: Person, enrolment_id: int, at: datetime = NOON, **of_attempt: Any) -> int:
        """An accepted touch with its attempt; the attempt's id."""
        touch_id = self.touch(who, enrolment_id, state="accepted", accepted_at=at, due_at=at, ended_at=at)
        return self.attempt(who, touch_id, at, **of_attempt)

    def event(self, touch_id: int, what: str, reason: str | None, at: datetime = NOON, **values: Any) -> int:
        return self.add(touch_event, touch_id=touch_id, what=what, reason=reason, at=at, **values)

    def stop(self, at: datetime, *, lifted_at: datetime | None = None, in_force: bool = True, **subject: int) -> None:
        """An opt-out as the ledger writes it: history and, unless told otherwise, the state in force."""
        self.choice("suppressed", at, **subject)
        if lifted_at is not None:
            self.choice("restored", lifted_at, **subject)
        if in_force:
            self.add(suppression, organisation_id=self.org, reason="opt_out", since=at, lifted_at=lifted_at, **subject)

    def choice(self, kind: str, at: datetime, *, recorded_at: datetime | None = None, **values: Any) -> int:
        """One line of the history, by a reply unless told otherwise; `recorded_at` is when we heard of it, at once."""
        return self.add(
            choice_event,
            **{
                "organisation_id": self.org,
                "kind": kind,
                "source": "reply",
                "at": at,
                "recorded_at": recorded_at or at,
                **values,
            },
        )

    def reply(self, who: Person, intent: str | None, state: str = "handled", at: datetime = NOON, **values: Any) -> int:
        return self.add(
            reply,
            **{
                "organisation_id": self.org,
                "channel": "sms",
                "provider_id": f"in{next(self._numbers)}",
                "contact_point_id": who.phone,
                "body": b"sealed",
                "received_at": at,
                "intent": intent,
                "state": state,
                "handled_at": at if state in {"handled", "closed"} else None,
                **values,
            },
        )

    def outcome(self, who: Person, enrolment_id: int, kind: str, at: datetime) -> int:
        """A rebooking or a return, with the appointment it rests on."""
        visit = self.add(
            appointment,
            organisation_id=self.org,
            patient_id=who.id,
            site_id=self.east,
            service_line="primary_care",
            source="ehr",
            source_id=str(next(self._numbers)),
            version=1,
            status="fulfilled" if kind == "returned" else "booked",
            starts_at=at,
            changed_at=at,
        )
        return self.add(outcome, enrolment_id=enrolment_id, kind=kind, appointment_id=visit, at=at)

    def offer(self, who: Person, enrolment_id: int, *, cents: int, incentive: str = "bottle", **values: Any) -> int:
        """Something offered to a patient whose payer nobody knows."""
        return self.add(
            incentive_offer,
            **{
                "organisation_id": self.org,
                "patient_id": who.id,
                "enrolment_id": enrolment_id,
                "incentive": incentive,
                "cents": cents,
                "year": NOON.year,
                "is_federal": True,
                "offered_at": NOON,
                **values,
            },
        )

    def care(self, who: Person, **values: Any) -> int:
        return self.add(care, patient_id=who.id, site_id=self.east, service_line="primary_care", **values)

    @staticmethod
    def finish(conn: Connection, touch_id: int) -> None:
        """Bring a touch to rest."""
        conn.execute(
            update(touch).where(touch.c.id == touch_id).values(state="cancelled", reason="booked", ended_at=NOON)
        )

    def _site(self, key: str, zone: str) -> int:
        return self.add(site, organisation_id=self.org, key=key, name=key.title(), zone=zone)
