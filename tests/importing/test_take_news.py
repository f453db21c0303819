"""News of patients, appointments and gaps: the newest stands, one person is one patient, all that follows agrees."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from household import enrol
from lakeside import NOW, gap_of, news_of, take, visit_of
from sqlalchemy import Connection, Engine, insert, select, text, update

from domain.ledger.appointments import appointment, care, care_gap
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.incentives import incentive_offer
from domain.ledger.lookup import step_by_step
from domain.ledger.patients import FAMILY_NAME, GIVEN_NAME, contact_point, patient, patient_contact, registration
from domain.ledger.store import open_ledger, reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.calendar import add_months
from domain.rules.news import Contact, Registration
from domain.rules.vocabulary import AppointmentStatus, ContactSystem, ServiceLine

LATER = NOW + timedelta(days=1)
YEAR_AGO = NOW - timedelta(days=365)


def rows(engine: Engine, table: Any, **where: Any) -> list[Any]:
    with reading(engine) as conn:
        wanted = [table.c[name] == value for name, value in where.items()]
        return list(conn.execute(select(table).where(*wanted).order_by(table.c.id)))


def test_older_news_is_stale_and_equal_news_replaces(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", NOW, given_name="Jane", family_name="Doe"))

    older = take(ledger, vault, news_of(lakeside, "1", YEAR_AGO, given_name="Old"))
    equal = take(ledger, vault, news_of(lakeside, "1", NOW, given_name="Janet"))

    assert (older.applied, older.stale) == (0, 1)
    assert (equal.applied, equal.stale) == (1, 0)
    (jane,) = rows(ledger, patient)
    assert vault.open(jane.given_name, GIVEN_NAME) == "Janet"
    assert vault.open(jane.family_name, FAMILY_NAME) == "Doe"


def test_within_a_batch_the_newest_wins_whatever_the_order(ledger: Engine, vault: Vault, lakeside: int) -> None:
    taken = take(
        ledger,
        vault,
        news_of(lakeside, "1", LATER, given_name="New"),
        news_of(lakeside, "1", NOW, given_name="Old"),
    )

    assert (taken.applied, taken.stale) == (1, 1)
    (only,) = rows(ledger, patient)
    assert vault.open(only.given_name, GIVEN_NAME) == "New"


def test_a_household_shares_one_contact_point(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", phone="(303) 555-0101"), news_of(lakeside, "2", phone="+13035550101"))

    (point,) = rows(ledger, contact_point)
    assert len(rows(ledger, patient_contact, contact_point_id=point.id)) == 2
    assert (point.quality, point.zones) == ("valid", "America/Denver")
    assert b"303" not in point.value


def test_an_unusable_number_is_left_out_and_the_patient_is_taken(ledger: Engine, vault: Vault, lakeside: int) -> None:
    taken = take(ledger, vault, news_of(lakeside, "1", phone="5", state="Bavaria", language="???", zone="Mars"))

    assert taken.applied == 1
    assert taken.rejected == []
    assert {(fault.field, fault.reason) for fault in taken.left_out} == {
        ("contacts[0].phone", "not a phone number"),
        ("state", "not a US state or territory"),
        ("zone", "not an IANA time zone"),
        ("language", "not a BCP 47 language"),
    }
    assert len(rows(ledger, patient)) == 1


def test_a_list_of_contact_points_replaces_the_former_one(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", phone="+13035550101"))

    take(ledger, vault, news_of(lakeside, "1", LATER, phone="+13035550102"))
    take(ledger, vault, news_of(lakeside, "1", LATER + timedelta(days=1), language="es-MX"))

    (link,) = rows(ledger, patient_contact)
    assert link.contact_point_id == rows(ledger, contact_point)[1].id
    assert rows(ledger, patient)[0].language == "es"


def test_a_number_the_patient_disowned_is_not_attached_again(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", phone="+13035550101"))
    with ledger.begin() as conn:
        conn.execute(update(patient_contact).values(detached_at=NOW))

    take(ledger, vault, news_of(lakeside, "1", LATER, phone="+13035550102"))
    take(ledger, vault, news_of(lakeside, "1", LATER + timedelta(days=1), phone="+13035550101"))

    detached = {row.contact_point_id: row.detached_at for row in rows(ledger, patient_contact)}
    first, _ = rows(ledger, contact_point)
    assert detached[first.id] == NOW


def test_registrations_with_a_shared_identifier_are_one_patient(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", person="E1", phone="+13035550101"))

    take(ledger, vault, news_of(lakeside, "77", site="east", person="E1", phone="+13035550102"))
    take(ledger, vault, news_of(lakeside, "1", LATER, phone="+13035550103"))

    assert len(rows(ledger, patient)) == 1
    assert len(rows(ledger, registration)) == 2
    # news of one registration adds to the contact points that the other told
    assert len(rows(ledger, patient_contact)) == 3


def test_records_that_turn_out_to_be_one_person_are_merged(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1"), news_of(lakeside, "77", site="east", person="E1"))
    first, second = rows(ledger, patient)

    take(ledger, vault, news_of(lakeside, "1", LATER, person="E1"))

    assert {row.patient_id for row in rows(ledger, registration)} == {first.id}
    assert rows(ledger, patient, id=second.id)[0].merged_into_id == first.id
    assert rows(ledger, patient, id=first.id)[0].person_index is not None


def test_a_merge_moves_everything_and_keeps_every_opt_out(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", phone="+13035550101"), news_of(lakeside, "2", phone="+13035550102"))
    take(ledger, vault, visit_of(lakeside, "1", YEAR_AGO), visit_of(lakeside, "2", NOW - timedelta(days=9)))
    old, survivor = rows(ledger, patient)
    with ledger.begin() as conn:
        conn.execute(
            insert(suppression).values(
                organisation_id=lakeside, patient_id=old.id, reason="opt_out", since=YEAR_AGO, channel=None
            )
        )

    merge = news_of(lakeside, "1", LATER, merged_into=Registration("main", "2"), given_name="Retired")
    take(ledger, vault, merge)
    take(ledger, vault, merge)

    assert rows(ledger, patient, id=old.id)[0].merged_into_id == survivor.id
    assert {row.patient_id for row in rows(ledger, appointment)} == {survivor.id}
    assert {row.patient_id for row in rows(ledger, patient_contact)} == {survivor.id}
    assert [row.since for row in rows(ledger, suppression, patient_id=survivor.id)] == [YEAR_AGO]
    assert [row.kind for row in rows(ledger, choice_event, patient_id=survivor.id)] == ["suppressed"]
    assert [row.last_visit_at for row in rows(ledger, care)] == [NOW - timedelta(days=9)]
    assert rows(ledger, patient, id=survivor.id)[0].given_name is None


def test_a_merged_record_takes_its_calls_along_and_they_count_against_the_caps(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1", phone="+13035550101"), news_of(lakeside, "2", phone="+13035550102"))
    old, survivor = rows(ledger, patient)
    (point,) = rows(ledger, patient_contact, patient_id=old.id)
    common = {"channel": "sms", "kind": "outreach", "patient_id": old.id, "contact_point_id": point.contact_point_id}
    with ledger.begin() as conn:
        planned = {
            "organisation_id": lakeside,
            "step": 0,
            "state": "accepted",
            "due_at": NOW,
            "expires_at": LATER,
            "priority": 30,
        }
        touch_id = conn.scalar(insert(touch).values(**common, **planned).returning(touch.c.id))
        called = {
            "provider": "sms",
            "token": "t",
            "state": "accepted",
            "claimed_at": NOW,
            "lease_until": NOW,
            "called_at": NOW,
        }
        conn.execute(insert(attempt).values(**common, **called, touch_id=touch_id))

    take(ledger, vault, news_of(lakeside, "1", LATER, merged_into=Registration("main", "2")))

    assert [row.patient_id for row in rows(ledger, attempt)] == [survivor.id]


def test_a_merge_may_come_before_its_survivor_is_known(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1", merged_into=Registration("main", "2")))

    take(ledger, vault, news_of(lakeside, "2", YEAR_AGO, given_name="Jane"))

    assert {row.patient_id for row in rows(ledger, registration)} == {
        row.id for row in rows(ledger, patient) if row.merged_into_id is None
    }
    (survivor,) = (row for row in rows(ledger, patient) if row.merged_into_id is None)
    assert vault.open(survivor.given_name, GIVEN_NAME) == "Jane"


def test_death_ends_the_wait_for_a_lapse_and_a_correction_brings_it_back(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1"))
    take(ledger, vault, visit_of(lakeside, "1", YEAR_AGO))

    take(ledger, vault, news_of(lakeside, "1", LATER, deceased_at=NOW))
    when_dead = rows(ledger, care)[0].scan_at
    take(ledger, vault, news_of(lakeside, "1", LATER + timedelta(days=1), deceased=False))

    assert when_dead is None
    assert rows(ledger, care)[0].scan_at == add_months(YEAR_AGO, 12)


def test_news_for_unknown_sites_and_patients_is_rejected_with_its_place(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1"))

    people = take(ledger, vault, news_of(lakeside, "2", site="nowhere"), news_of(lakeside, ""))
    visits = take(ledger, vault, visit_of(lakeside, "1", YEAR_AGO), visit_of(lakeside, "404", YEAR_AGO))

    assert [(fault.index, fault.field) for fault in people.rejected] == [(0, "site"), (1, "mrn")]
    assert (visits.applied, [(fault.index, fault.field) for fault in visits.rejected]) == (1, [(1, "patient")])


def test_appointment_news_older_than_what_is_stored_is_ignored(ledger: Engine, vault: Vault, lakeside: int) -> None:
    starts_at = NOW + timedelta(days=10)
    take(ledger, vault, news_of(lakeside, "1"))
    booked, cancelled = AppointmentStatus.BOOKED, AppointmentStatus.CANCELLED

    def told(status: AppointmentStatus, day: int) -> Any:
        return visit_of(lakeside, "1", starts_at, status, told_at=NOW - timedelta(days=10 - day))

    first = take(ledger, vault, told(cancelled, 2), told(booked, 1))
    late = take(ledger, vault, told(booked, 1))

    assert (first.applied, first.stale) == (1, 1)
    assert (late.applied, late.stale) == (0, 1)
    assert [row.status for row in rows(ledger, appointment)] == ["cancelled"]
    assert rows(ledger, care)[0].next_appointment_at is None


def test_a_completed_visit_in_the_future_is_an_appointment_ahead(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1"))

    take(ledger, vault, visit_of(lakeside, "1", LATER))

    (only,) = rows(ledger, care)
    assert (only.last_visit_at, only.next_appointment_at) == (None, LATER)


def test_a_missed_appointment_is_made_good_by_any_later_visit_or_booking(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    missed_at, cancelled_at = NOW - timedelta(days=60), NOW - timedelta(days=80)
    take(ledger, vault, *(news_of(lakeside, mrn) for mrn in ("kept", "earlier", "booked", "lost", "other_line")))
    lost = [
        visit_of(lakeside, mrn, missed_at, AppointmentStatus.CANCELLED, changed_at=cancelled_at)
        for mrn in ("kept", "earlier", "booked", "lost", "other_line")
    ]
    later = [
        visit_of(lakeside, "kept", missed_at + timedelta(days=3)),
        visit_of(lakeside, "earlier", cancelled_at + timedelta(days=1)),
        visit_of(lakeside, "booked", NOW + timedelta(days=3), AppointmentStatus.BOOKED),
        visit_of(lakeside, "lost", cancelled_at - timedelta(days=1)),
        visit_of(lakeside, "other_line", NOW, service_line=ServiceLine.DENTAL),
    ]

    take(ledger, vault, *lost, *later)

    with reading(ledger) as conn:
        found = conn.execute(
            select(appointment.c.source_id, care.c.missed_at)
            .join(care, care.c.patient_id == appointment.c.patient_id)
            .where(appointment.c.status == "cancelled", care.c.service_line == "primary_care")
        ).all()
    assert {row[0].split("-")[0]: row[1] for row in found} == {
        "kept": None,
        "earlier": None,
        "booked": None,
        "lost": missed_at,
        "other_line": missed_at,
    }


def test_a_visit_puts_a_recurring_gap_off_and_closing_it_ends_it(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visit = NOW - timedelta(days=20)
    take(ledger, vault, news_of(lakeside, "1"))
    take(ledger, vault, gap_of(lakeside, "1", every_months=6, since=YEAR_AGO))
    before = [row.due_at for row in rows(ledger, care_gap)]

    take(ledger, vault, visit_of(lakeside, "1", visit))
    after = [(row.gap_due_at, row.scan_at) for row in rows(ledger, care, service_line="chronic_care")]
    take(ledger, vault, gap_of(lakeside, "1", LATER, every_months=6, since=YEAR_AGO, closed_at=LATER))

    assert before == [add_months(YEAR_AGO, 6)]
    assert after == [(add_months(visit, 6), add_months(visit, 6))]
    assert [row.closed_at for row in rows(ledger, care_gap)] == [LATER]
    assert [row.scan_at for row in rows(ledger, care, service_line="chronic_care")] == [None]


def test_the_first_of_several_gaps_counts(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(ledger, vault, news_of(lakeside, "1"))

    take(
        ledger,
        vault,
        gap_of(lakeside, "1", due_at=NOW + timedelta(days=90), source_id="a"),
        gap_of(lakeside, "1", due_at=NOW + timedelta(days=50), source_id="b"),
    )

    assert [row.gap_due_at for row in rows(ledger, care)] == [NOW + timedelta(days=50)]


@pytest.mark.parametrize("seed", range(4))
def test_the_digest_is_the_one_worked_out_from_the_whole_history(
    ledger: Engine, vault: Vault, lakeside: int, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 (a seeded history, no secret)
    people = [f"p{n}" for n in range(12)]
    take(ledger, vault, *(news_of(lakeside, mrn) for mrn in people))
    statuses = [AppointmentStatus.FULFILLED, *AppointmentStatus]
    news = [
        visit_of(
            lakeside,
            mrn := dice.choice(people),
            datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=dice.randrange(600)),
            dice.choice(statuses),
            told_at=NOW + timedelta(minutes=dice.randrange(100)),
            changed_at=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=dice.randrange(600)),
            source_id=f"{mrn}-{dice.randrange(8)}",
            service_line=dice.choice(list(ServiceLine)),
        )
        for _ in range(200)
    ]

    for start in range(0, len(news), 37):
        take(ledger, vault, *news[start : start + 37])

    history = rows(ledger, appointment)
    for digest in rows(ledger, care):
        counted = {digest.service_line} | ({"primary_care"} if digest.service_line == "chronic_care" else set())
        mine = [row for row in history if row.patient_id == digest.patient_id]
        own = [row for row in mine if row.service_line in counted]
        visits = [row.starts_at for row in own if row.status == "fulfilled"]
        ahead = [
            row.starts_at for row in own if row.status in {"proposed", "pending", "booked", "arrived", "checked-in"}
        ]
        missed = [
            row.starts_at
            for row in mine
            if row.service_line == digest.service_line
            and row.status in {"cancelled", "noshow"}
            and not any(good >= min(row.starts_at, row.changed_at) for good in visits + ahead)
        ]
        assert digest.last_visit_at == max(visits, default=None)
        assert digest.next_appointment_at == max(ahead, default=None)
        assert digest.missed_at == max(missed, default=None)


def test_looking_up_by_source_id_steps_through_the_index_even_before_statistics_exist(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    columns = appointment.c
    within = ("organisation_id", "source")
    query = step_by_step(appointment, within, columns.source_id, columns.source_id, columns.version)
    query = query.params(organisation_id=1, source="ehr", values=["a", "b"])
    with reading(engine) as conn:
        compiled = query.compile(conn, compile_kwargs={"literal_binds": True})
        plan = "\n".join(conn.scalars(text(f"EXPLAIN {compiled}".replace(":", "\\:"))))
    engine.dispose()

    assert "Index Scan using uq_appointment_organisation_id_source_source_id" in plan, plan
    assert re.search(r"Index Cond: .*organisation_id = .*source.*= .*source_id.*= ", plan), plan


def test_contact_points_keep_their_rank_and_kind(ledger: Engine, vault: Vault, lakeside: int) -> None:
    take(
        ledger,
        vault,
        news_of(
            lakeside,
            "1",
            contacts=(
                Contact(ContactSystem.PHONE, "+1 303 555 0101", "home", 2),
                Contact(ContactSystem.PHONE, "303-555-0101", "mobile", 1),
                Contact(ContactSystem.EMAIL, "Jane.Doe@Example.org", None, 1),
            ),
        ),
    )

    points = {row.id: row.system for row in rows(ledger, contact_point)}
    links = sorted((points[row.contact_point_id], row.rank, row.use) for row in rows(ledger, patient_contact))
    assert links == [("email", 1, None), ("phone", 1, "mobile")]


def test_the_class_of_payer_and_the_month_of_the_benefit_year_are_kept(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1", payer="Self-Pay", benefit_month=7))
    take(ledger, vault, news_of(lakeside, "1", LATER))

    (jane,) = rows(ledger, patient)

    assert (jane.payer, jane.benefit_month) == ("self_pay", 7)


def test_a_payer_nobody_knows_is_left_out_and_takes_the_place_of_one_that_was_known(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1", payer="commercial", benefit_month=7))

    taken = take(ledger, vault, news_of(lakeside, "1", LATER, payer="Blue Plan 7", benefit_month=13))

    (jane,) = rows(ledger, patient)
    assert (jane.payer, jane.benefit_month) == (None, 7)
    assert {(fault.field, fault.reason.partition(":")[0]) for fault in taken.left_out} == {
        ("payer", "not one of medicare, medicaid, other_federal, commercial, self_pay"),
        ("benefit_month", "not a month from 1 to 12"),
    }


def test_what_a_merged_record_was_offered_counts_for_the_one_that_stays(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    take(ledger, vault, news_of(lakeside, "1"), news_of(lakeside, "2"))
    with ledger.begin() as conn:
        enrolled = enrolment_of(conn, lakeside, 1)
        conn.execute(
            insert(incentive_offer).values(
                organisation_id=lakeside,
                patient_id=1,
                enrolment_id=enrolled,
                incentive="bottle",
                cents=800,
                year=2026,
                is_federal=True,
                offered_at=NOW,
            )
        )

    take(ledger, vault, news_of(lakeside, "1", LATER, merged_into=Registration("main", "2")))

    assert [each.patient_id for each in rows(ledger, incentive_offer)] == [2]


def enrolment_of(conn: Connection, organisation_id: int, patient_id: int) -> int:
    """An enrolment that an offer can be part of."""
    number = conn.scalar(
        insert(campaign)
        .values(
            organisation_id=organisation_id,
            key="welcome-back",
            version=1,
            checksum="0",
            definition={},
            holdout=0.1,
            started_at=NOW,
        )
        .returning(campaign.c.id)
    )
    assert number is not None
    return enrol(conn, organisation_id, 1, number, patient_id)
