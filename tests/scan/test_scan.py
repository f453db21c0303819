"""The scan notices each lapse once, and again when its segment changes; its cost depends on what is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lakeside import NOW, ORGANISATION, gap_of, news_of, settle, take, visit_of
from sqlalchemy import Engine, insert, select, text, update

from domain.ledger.appointments import care
from domain.ledger.lapses import lapse
from domain.ledger.outbox import outbox
from domain.ledger.patients import patient
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from domain.rules.calendar import add_months
from domain.rules.vocabulary import AppointmentStatus, Segment, ServiceLine
from ops.runtime.yamlfile import FileProblems
from producers.importing.organisation_file import read_organisation
from producers.importing.run import store_organisation
from producers.scan import due, scan

DAY = timedelta(days=1)


def rows(engine: Engine, table: Any, **where: Any) -> list[Any]:
    with reading(engine) as conn:
        wanted = [table.c[name] == value for name, value in where.items()]
        return list(conn.execute(select(table).where(*wanted).order_by(table.c.id)))


def visited(engine: Engine, vault: Vault, organisation_id: int, at: datetime, mrn: str = "1", **more: Any) -> None:
    take(engine, vault, news_of(organisation_id, mrn, at), now=at)
    take(engine, vault, visit_of(organisation_id, mrn, at, **more), now=at)


def test_a_lapse_is_noticed_on_its_instant_and_only_once(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visit = NOW - timedelta(days=100)
    visited(ledger, vault, lakeside, visit)
    instant = add_months(visit, 12)

    before = scan(ledger, instant - timedelta(seconds=1))
    on_it = scan(ledger, instant)
    after = scan(ledger, instant + DAY)

    assert (before, on_it, after) == (0, 1, 0)
    (found,) = rows(ledger, lapse)
    assert (found.segment, found.inactive_since, found.last_visit_at) == ("12_24_months", instant, visit)
    assert (found.rule_version, found.priority, found.decided_at, found.closed_at) == ("1", 40, None, None)
    (event,) = rows(ledger, outbox, type="inactivity.detected")
    assert event.data["patient"] == rows(ledger, patient)[0].ref
    assert (event.data["site"], event.data["lapse_id"], event.data["segment"]) == ("main", found.id, "12_24_months")
    assert datetime.fromisoformat(event.data["inactive_since"]) == instant


def test_each_change_of_band_is_noticed_and_a_decision_is_owed_again(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    visit = NOW - timedelta(days=30)
    visited(ledger, vault, lakeside, visit, service_line=ServiceLine.DENTAL)
    found = []

    for months in (6, 12, 24, 36):
        now = add_months(visit, months)
        noticed = scan(ledger, now)
        (row,) = rows(ledger, lapse)
        found.append((noticed, row.segment, row.priority, row.segment_at == now, row.decided_at))
        with ledger.begin() as conn:
            conn.execute(lapse.update().values(decided_at=now, declined="unreachable"))

    assert found[:3] == [
        (1, "6_12_months", 30, True, None),
        (1, "12_24_months", 40, True, None),
        (1, "beyond_24_months", 50, True, None),
    ]
    assert found[3][0] == 0
    assert rows(ledger, lapse)[0].detected_at == add_months(visit, 6)
    assert len(rows(ledger, outbox, type="inactivity.detected")) == 3


def test_a_booking_holds_the_lapse_back_until_a_week_after_it(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visit = NOW - timedelta(days=370)
    visited(ledger, vault, lakeside, visit)
    booked = NOW + timedelta(days=20)
    take(ledger, vault, visit_of(lakeside, "1", booked, AppointmentStatus.BOOKED, told_at=NOW))

    assert scan(ledger, booked + 7 * DAY - timedelta(seconds=1)) == 0
    assert scan(ledger, booked + 7 * DAY) == 1


def test_a_missed_appointment_nobody_rebooked_is_noticed_after_thirty_days(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    visited(ledger, vault, lakeside, NOW - timedelta(days=60))
    missed = NOW - timedelta(days=10)
    take(ledger, vault, visit_of(lakeside, "1", missed, AppointmentStatus.NOSHOW))

    assert scan(ledger, missed + 30 * DAY - timedelta(seconds=1)) == 0
    assert scan(ledger, missed + 30 * DAY) == 1
    assert [row.segment for row in rows(ledger, lapse)] == ["never_rebooked"]


def test_an_overdue_gap_goes_before_every_band(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visit = NOW - timedelta(days=400)
    visited(ledger, vault, lakeside, visit)
    take(ledger, vault, gap_of(lakeside, "1", every_months=6, since=visit))

    scan(ledger, NOW)

    found = {row.service_line: (row.segment, row.priority) for row in rows(ledger, lapse)}
    assert found == {"chronic_care": ("chronic_overdue", 10), "primary_care": ("12_24_months", 40)}


def test_a_visit_closes_the_lapse_and_the_next_one_is_a_new_one(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visited(ledger, vault, lakeside, NOW - timedelta(days=400))
    scan(ledger, NOW)

    take(ledger, vault, visit_of(lakeside, "1", NOW + DAY), now=NOW + 2 * DAY)
    closed = rows(ledger, lapse)[0]
    noticed = scan(ledger, add_months(NOW + DAY, 12))

    assert (closed.closed_by, closed.closed_at) == ("visit", NOW + 2 * DAY)
    assert noticed == 1
    assert [row.closed_at is None for row in rows(ledger, lapse)] == [False, True]


def test_a_booking_alone_closes_nothing_and_its_loss_is_not_noticed_twice(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    visited(ledger, vault, lakeside, NOW - timedelta(days=400))
    scan(ledger, NOW)
    starts_at = NOW + timedelta(days=5)

    take(ledger, vault, visit_of(lakeside, "1", starts_at, AppointmentStatus.BOOKED, told_at=NOW))
    while_booked = rows(ledger, lapse)[0].closed_at
    cancelled = visit_of(lakeside, "1", starts_at, AppointmentStatus.CANCELLED, told_at=NOW + DAY)
    take(ledger, vault, cancelled, now=NOW + DAY)

    assert while_booked is None
    assert scan(ledger, NOW + 2 * DAY) == 0
    assert scan(ledger, starts_at + 30 * DAY) == 1
    assert [row.segment for row in rows(ledger, lapse)] == ["never_rebooked"]


def test_death_closes_the_lapse(ledger: Engine, vault: Vault, lakeside: int) -> None:
    visited(ledger, vault, lakeside, NOW - timedelta(days=400))
    scan(ledger, NOW)

    take(ledger, vault, news_of(lakeside, "1", NOW, deceased=True))

    assert [row.closed_by for row in rows(ledger, lapse)] == ["deceased"]
    assert scan(ledger, NOW + 900 * DAY) == 0


def test_a_site_has_its_own_threshold_and_changing_it_looks_at_its_patients_again(
    ledger: Engine, vault: Vault, lakeside: int, tmp_path: Path
) -> None:
    visit = NOW - timedelta(days=200)
    visited(ledger, vault, lakeside, visit, mrn="1")
    visited(ledger, vault, lakeside, visit, mrn="2", site="east")
    with_default = scan(ledger, NOW)
    path = tmp_path / "organisation.yaml"
    path.write_text(ORGANISATION)

    store_organisation(ledger, read_organisation(path), NOW)

    assert with_default == 0
    assert scan(ledger, NOW) == 1
    assert [(row.segment, row.inactive_since) for row in rows(ledger, lapse)] == [("6_12_months", add_months(visit, 6))]
    settle(ledger, east_months=None)


def test_many_lapses_are_noticed_in_batches_the_longest_due_first(ledger: Engine, vault: Vault, lakeside: int) -> None:
    people = [f"p{n}" for n in range(25)]
    take(ledger, vault, *(news_of(lakeside, mrn) for mrn in people))
    take(ledger, vault, *(visit_of(lakeside, mrn, NOW - timedelta(days=400 + n)) for n, mrn in enumerate(people)))

    batches = []
    while noticed := scan(ledger, NOW, limit=10):
        batches.append(noticed)

    assert batches == [10, 10, 5]
    visits = [row.last_visit_at for row in rows(ledger, lapse)]
    assert max(visits[:10]) < min(visits[10:20])
    assert {row.noticed_segment for row in rows(ledger, care)} == {Segment.MONTHS_12_24.value}


def test_every_store_numbers_the_lapses_of_a_scan_alike(ledger: Engine, vault: Vault, lakeside: int) -> None:
    people = [f"p{n}" for n in range(25)]
    take(ledger, vault, *(news_of(lakeside, mrn) for mrn in people))
    take(ledger, vault, *(visit_of(lakeside, mrn, NOW - timedelta(days=400 + n % 7)) for n, mrn in enumerate(people)))
    with ledger.begin() as conn:
        # the planner's choice must not show: rewritten rows lie in another order than their ids
        conn.execute(update(care).where(care.c.id % 2 == 0).values(missed_at=None))

    scan(ledger, NOW)

    in_order = [row.patient_id for row in rows(ledger, care)]
    assert [row.patient_id for row in rows(ledger, lapse)] == in_order


def test_the_scan_finds_what_is_due_by_its_index(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    organisation_id = settle(engine)
    with engine.begin() as conn:
        site_id = conn.scalar(text("SELECT min(id) FROM site"))
        conn.execute(
            insert(patient),
            [{"organisation_id": organisation_id, "ref": f"P{n}", "home_site_id": site_id} for n in range(5000)],
        )
        conn.execute(
            text(
                "INSERT INTO care (patient_id, site_id, service_line, scan_at)"
                " SELECT id, :site, 'primary_care', timestamptz '2026-03-01' + id * interval '1 minute' FROM patient"
            ),
            {"site": site_id},
        )
        conn.execute(text("ANALYZE care"))
    with reading(engine) as conn:
        query = due(NOW, 1000).compile(conn, compile_kwargs={"literal_binds": True})
        plan = "\n".join(conn.scalars(text(f"EXPLAIN {query}")))
    engine.dispose()

    assert "ix_care_scan_at" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_a_threshold_of_no_months_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "organisation.yaml"
    path.write_text(ORGANISATION.replace("threshold_months: 6", "threshold_months: 0"))

    with pytest.raises(FileProblems, match=r":4: sites\[1\]\.lines\.primary_care\.threshold_months"):
        read_organisation(path)
