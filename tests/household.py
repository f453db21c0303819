"""A small clinic in the ledger: two patients who share a phone, one of whom also has an email address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, insert, select

from domain.ledger import senders
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.claims import new_token
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient, patient_contact
from domain.ledger.store import reading
from domain.ledger.texts import template, template_event, template_version
from domain.ledger.touches import touch
from domain.ledger.vault import Vault

NOW = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
PHONE = "+13035550101"
EMAIL = "jane.doe@example.com"
STRANGER = "+13035550199"


class StoppedClock:
    """Time stands still unless a test moves it."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def allows(self, number: int) -> bool:
        return number > 0


@dataclass(frozen=True)
class Household:
    """Ids of what `settle_in` made."""

    organisation: int
    site: int
    jane: int
    john: int
    phone: int
    email: int
    enrolments: tuple[int, int]
    touches: tuple[int, int]


def settle_in(engine: Engine, vault: Vault) -> Household:
    """Jane (phone, email; speaks Spanish) and John (the same phone), enrolled, each with one text planned."""
    with engine.begin() as conn:
        clinic = add(
            conn,
            organisation,
            key="lakeside",
            name="Lakeside & Sons",
            phone="+1 303 555 0100",
            postal_address="1 Main St",
        )
        place = add(
            conn,
            site,
            organisation_id=clinic,
            key="north",
            name="North",
            zone="America/Denver",
            state="CO",
            booking_url="https://book.example.org/north?line=primary",
        )
        phone = meet(conn, vault, clinic, "phone", PHONE)
        email = meet(conn, vault, clinic, "email", EMAIL)
        plan = add(
            conn,
            campaign,
            organisation_id=clinic,
            key="welcome-back",
            version=1,
            checksum="0",
            definition={},
            holdout=0.1,
            started_at=NOW,
        )
        people = []
        for number, (language, points) in enumerate((("es", (phone, email)), ("en", (phone,)))):
            person = add(
                conn, patient, organisation_id=clinic, ref=f"PTEST{number}", home_site_id=place, language=language
            )
            for point in points:
                add(conn, patient_contact, patient_id=person, contact_point_id=point)
            people.append(person)
        enrolments = [enrol(conn, clinic, place, plan, person) for person in people]
        touches = [
            plan_touch(conn, organisation_id=clinic, patient_id=person, site_id=place, enrolment_id=enrolled)
            for person, enrolled in zip(people, enrolments, strict=True)
        ]
    return Household(
        clinic, place, people[0], people[1], phone, email, (enrolments[0], enrolments[1]), (touches[0], touches[1])
    )


def enrol(conn: Connection, clinic: int, place: int, plan: int, person: int) -> int:
    """A live enrolment of the treatment arm."""
    common = {
        "organisation_id": clinic,
        "patient_id": person,
        "site_id": place,
        "service_line": "primary_care",
        "segment": "6_12_months",
    }
    lapsed = add(
        conn,
        lapse,
        **common,
        inactive_since=NOW - timedelta(days=30),
        rule_version="1",
        priority=30,
        detected_at=NOW,
        segment_at=NOW,
    )
    return add(
        conn,
        enrolment,
        **common,
        campaign_id=plan,
        campaign_key="welcome-back",
        lapse_id=lapsed,
        arm="treatment",
        state="waiting",
        enrolled_at=NOW,
    )


def plan_touch(conn: Connection, **values: Any) -> int:
    """A text planned for now, unless told otherwise."""
    planned = {
        "kind": "outreach",
        "channel": "sms",
        "state": "planned",
        "due_at": NOW,
        "expires_at": NOW + timedelta(days=3),
    }
    return add(conn, touch, **(planned | values))


def send(
    conn: Connection, household: Household, which: int = 0, *, state: str = "accepted", **values: Any
) -> tuple[int, str]:
    """An attempt to send one of the planned touches, and its token; the touch follows the attempt's state."""
    touch_id = household.touches[which]
    token = new_token()
    made = {
        "touch_id": touch_id,
        "token": token,
        "channel": "sms",
        "provider": "sms",
        "kind": "outreach",
        "patient_id": (household.jane, household.john)[which],
        "contact_point_id": household.phone,
        "state": state,
        "claimed_at": NOW,
        "lease_until": NOW + timedelta(minutes=1),
        "template_id": None if values.get("kind") == "answer" else released_text(conn, household),
    }
    number = add(conn, attempt, **(made | values))
    touch_state = "planned" if state in {"throttled", "retry", "released"} else state
    conn.execute(touch.update().where(touch.c.id == touch_id).values(state=touch_state))
    return number, token


def released_text(conn: Connection, household: Household) -> int:
    """A text that two people released long ago; of no campaign."""
    known = conn.scalar(select(template.c.id).order_by(template.c.id).limit(1))
    if known is not None:
        return known
    long_ago = NOW - timedelta(days=400)
    version = add(
        conn,
        template_version,
        organisation_id=household.organisation,
        key="hello",
        version=1,
        checksum="c",
        recorded_at=long_ago,
        released_at=long_ago,
    )
    decided = {"template_version_id": version, "at": long_ago, "what": "released", "checksum": "c"}
    add(conn, template_event, **decided, role="marketing", who="Maya Ortiz")
    add(conn, template_event, **decided, role="clinical", who="Sam Reed")
    return add(conn, template, template_version_id=version, channel="sms", language="en", body="{organisation}: hello.")


def words_for_mail(engine: Engine, household: Household) -> None:
    """A released mail of the household's campaign."""
    with engine.begin() as conn:
        common = {"organisation_id": household.organisation, "version": 1, "checksum": "0"}
        version = add(conn, template_version, **common, key="by-mail", recorded_at=NOW, released_at=NOW)
        add(conn, template, template_version_id=version, channel="email", language="en", subject="Hello", body="Hello.")
        plan = conn.scalars(select(campaign.c.id)).one()
        add(conn, campaign_template, campaign_id=plan, template_version_id=version)


def meet(conn: Connection, vault: Vault, clinic: int, system: str, value: str) -> int:
    """The contact point of a number or address."""
    known = senders.known_as(system, value)
    assert known is not None
    return senders.meet(conn, vault, clinic, known)


def add(conn: Connection, table: Table, **values: Any) -> int:
    """Insert one row; its id."""
    return int(conn.scalars(insert(table).values(**values).returning(table.c.id)).one())


def row(engine: Engine, table: Table, number: int) -> Mapping[str, Any]:
    """One row by id, as stored."""
    with reading(engine) as conn:
        return conn.execute(select(table).where(table.c.id == number)).mappings().one()


def rows(engine: Engine, table: Table, **where: Any) -> list[Mapping[str, Any]]:
    """The rows whose columns have these values, in id order."""
    with reading(engine) as conn:
        wanted = select(table).order_by(table.c.id)
        for name, value in where.items():
            wanted = wanted.where(table.c[name] == value)
        return list(conn.execute(wanted).mappings().all())


def count(engine: Engine, table: Table) -> int:
    """How many rows there are."""
    with reading(engine) as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())
