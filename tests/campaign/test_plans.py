"""Every query that runs often uses its index on PostgreSQL, on a ledger where nearly nothing is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import name_of, own_database
from household import NOW
from practice import SYSTEMS, Practice
from rulebooks import STANDARD
from sqlalchemy import Connection, Engine, event, text

from domain.ledger import (
    agenda,
    call_list,
    claim_recheck,
    claim_texts,
    claims,
    dispatching,
    enrolling,
    finishes,
    outbox,
    season_waiting,
    touches,
)
from domain.ledger.campaigns import Running
from domain.ledger.claims import LEASE
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from domain.rules.fairness import DeficitRoundRobin
from producers.campaign_file import read_campaign

_SEASONAL = Path(__file__).parents[2] / "docs/examples/campaign-with-everything.yaml"

#: Everything long over or far ahead; one in a hundred is what the query is after.
_FILL = """
INSERT INTO touch (organisation_id, patient_id, site_id, enrolment_id, kind, step, channel, state, priority,
                   due_at, expires_at, attempts)
SELECT t.organisation_id, t.patient_id, t.site_id, t.enrolment_id, 'outreach', n, 'sms',
       CASE WHEN n % 10 = 0 THEN 'planned' ELSE 'accepted' END, (ARRAY[10, 20, 30, 40, 50])[1 + n % 5],
       :now + (CASE WHEN n % 10 = 0 THEN 1 ELSE -1 END) * (n % 300 + 1) * interval '1 hour',
       :now + interval '30 days', 0
FROM touch t, generate_series(1, 30000) n WHERE t.id = :touch;
INSERT INTO patient (organisation_id, ref, home_site_id, language, high_risk, version)
SELECT p.organisation_id, 'F' || n, p.home_site_id, 'en', false, 0
FROM patient p, generate_series(1, 5000) n WHERE p.id = :who;
INSERT INTO contact_point (organisation_id, system, value, value_index, quality, zones)
SELECT c.organisation_id, c.system, c.value, convert_to('n' || n, 'UTF8'), c.quality, c.zones
FROM contact_point c, generate_series(1, 5000) n WHERE c.id = :point;
INSERT INTO patient_contact (patient_id, contact_point_id, rank)
SELECT :who + n, :point + n / 2, 1 FROM generate_series(1, 4000) n;
INSERT INTO attempt (touch_id, token, channel, provider, kind, patient_id, contact_point_id, state, claimed_at,
                     lease_until, zones, needs_person)
SELECT t.id, 'token' || t.id, 'sms', 'sms', 'outreach', :who + 1 + t.id % 4000, :point + 1 + t.id % 4000,
       CASE WHEN t.id % 1000 = 0 THEN 'sending' WHEN t.id % 1000 = 1 THEN 'uncertain' ELSE 'accepted' END,
       :now - t.id * interval '1 minute', :now - t.id * interval '1 minute', '', false
FROM touch t WHERE t.state = 'accepted';
INSERT INTO touch_event (touch_id, at, what, until)
SELECT t.id, :now - interval '1 hour', CASE WHEN t.id % 100 = 0 THEN 'taken' ELSE 'waited' END,
       :now - t.id * interval '1 minute' FROM touch t;
INSERT INTO template_version (organisation_id, key, version, checksum, recorded_at, released_at)
SELECT v.organisation_id, 'key' || n / 10, n % 10, 'c', v.recorded_at, v.released_at
FROM template_version v, generate_series(1, 5000) n;
INSERT INTO template (template_version_id, channel, language, segment, step_kind, step, season, incentive, cents, body)
SELECT v.id, 'sms', 'en', '', '', -1, '', '', 0, 'x' FROM template_version v WHERE v.key LIKE 'key%';
INSERT INTO campaign (organisation_id, key, version, checksum, definition, holdout, started_at, ended_at)
SELECT c.organisation_id, c.key, n, 'c', '{}', 0.1, c.started_at, c.started_at
FROM campaign c, generate_series(2, 2000) n;
INSERT INTO campaign_template (campaign_id, template_version_id)
SELECT c.id, v.id FROM campaign c, template_version v WHERE c.version = v.id AND c.version > 1;
INSERT INTO outbox (event_id, type, data, created_at, published_at)
SELECT 'e' || n, 'touch.sent', '{}', :now, CASE WHEN n % 1000 > 0 THEN :now END FROM generate_series(1, 20000) n;
"""


@pytest.fixture(scope="module")
def filled(postgres_template: tuple[str, str], vault: Vault) -> Iterator[str]:
    """Name of a database with tens of thousands of rows, analysed; nobody is connected to it."""
    admin_url, template = postgres_template
    with own_database(admin_url, "filled", like=template) as url:
        engine = open_ledger(url)
        who = Practice(engine, vault).person()
        with engine.begin() as conn:
            for statement in _FILL.split(";\n"):
                if statement.strip():
                    names = {"now": NOW, "touch": who.touch, "who": who.id, "point": who.phone}
                    used = {name: value for name, value in names.items() if f":{name}" in statement}
                    conn.execute(text(statement), used)
            conn.execute(text("ANALYZE"))
        engine.dispose()
        yield name_of(url)


@pytest.fixture
def full(postgres_template: tuple[str, str], filled: str) -> Iterator[Engine]:
    """A copy of it, statistics included."""
    with own_database(postgres_template[0], "test", like=filled) as url:
        engine = open_ledger(url)
        yield engine
        engine.dispose()


def plans_of(engine: Engine, work: Callable[[Connection], Any]) -> str:
    """The plans of every query that `work` really makes."""
    asked: list[tuple[str, Any]] = []

    def remember(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, is_many: bool) -> None:
        if not is_many and not statement.lstrip().upper().startswith("INSERT"):
            asked.append((statement, parameters))

    with engine.connect() as conn, conn.begin() as transaction:
        event.listen(conn, "before_cursor_execute", remember)
        work(conn)
        event.remove(conn, "before_cursor_execute", remember)
        transaction.rollback()
    with engine.connect() as conn:
        plans = [
            "\n".join(row[0] for row in conn.exec_driver_sql(f"EXPLAIN {statement}", parameters))
            for statement, parameters in asked
        ]
    assert plans
    return "\n\n".join(plans)


def take_due(conn: Connection) -> None:
    weights = dispatching.site_weights(conn)
    dispatching.take_due(conn, "sms", 20, DeficitRoundRobin(), weights, NOW + timedelta(hours=1))


def claim(conn: Connection) -> None:
    ids = conn.scalars(text("SELECT id FROM touch WHERE state = 'planned' AND due_at <= :now"), {"now": NOW}).all()
    claims.claim(conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=NOW)


def claim_at_a_ceiling(conn: Connection) -> None:
    conn.execute(text("UPDATE site SET daily_touches = 100"))
    claim(conn)


def let_in_by_season(conn: Connection) -> None:
    definition = read_campaign(_SEASONAL, STANDARD).file.definition()
    organisation = conn.scalars(text("SELECT id FROM organisation LIMIT 1")).one()
    version = Running(1, organisation, "autumn-invitation", 1, 0.1, definition)
    # the first of September has begun in the east
    season_waiting.let_in(conn, [version], datetime(2026, 9, 1, 6, tzinfo=UTC))


@pytest.mark.parametrize(
    ("work", "index"),
    [
        (let_in_by_season, "ix_lapse_out_of_season"),
        (lambda conn: agenda.due(conn, ["sms"], NOW - LEASE), "ix_touch_"),
        (lambda conn: agenda.due(conn, ["sms"], NOW - LEASE), "ix_outbox"),
        (lambda conn: agenda.astray(conn, NOW, NOW), "ix_lapse_undecided"),
        (take_due, "ix_touch_due"),
        (lambda conn: dispatching.take_answers(conn, "sms", NOW), "ix_touch_answers"),
        (lambda conn: enrolling.reconsider(conn, SYSTEMS, 0), "ix_lapse_unreachable"),
        (lambda conn: dispatching.in_flight(conn, "sms", NOW), "ix_touch_dispatched"),
        (touches.next_due, "ix_touch_due_at"),
        (lambda conn: touches.expire(conn, NOW), "ix_touch_due_at"),
        (lambda conn: finishes.reap(conn, NOW), "ix_attempt_lease"),
        (lambda conn: finishes.hand_to_person(conn, NOW), "ix_attempt_uncertain"),
        (lambda conn: outbox.unpublished(conn, 100), "ix_outbox"),
        (lambda conn: enrolling.undecided(conn, NOW), "ix_lapse_undecided"),
        (claim, "ix_attempt_patient_caps"),
        (claim, "ix_attempt_contact_caps"),
        (claim, "ix_patient_contact_contact_point_id"),
        (claim_at_a_ceiling, "ix_attempt_site_day"),
        (claim, "uq_template_slot"),
        (claim, "uq_template_version_organisation_id_key_version"),
        (lambda conn: claim_texts.held(conn, [1, 2]), "pk_template"),
        (lambda conn: claim_recheck.overtaken(conn, [1, 2], NOW), "pk_touch"),
        (lambda conn: call_list.in_hand(conn, SYSTEMS, STANDARD, NOW), "ix_touch_event_taken"),
        (lambda conn: call_list.in_hand(conn, SYSTEMS, STANDARD, NOW), "ix_attempt_lease"),
        (lambda conn: call_list.due(conn, NOW, 50), "ix_touch_"),
    ],
    ids=[
        "lapses whose season has come",
        "is anything due",
        "is anything to publish",
        "is anything astray",
        "due by site",
        "due answers",
        "unreachable lapses",
        "in flight",
        "next due",
        "expired",
        "leases",
        "uncertain",
        "outbox",
        "undecided lapses",
        "caps of a patient",
        "caps of a contact point",
        "households",
        "ceilings of a site",
        "texts",
        "texts that speak for recalled ones",
        "texts recalled since",
        "enrolments that ended since",
        "calls taken",
        "calls dialled",
        "calls due",
    ],
)
def test_it_reads_its_index_and_never_the_whole_table(
    full: Engine, work: Callable[[Connection], Any], index: str
) -> None:
    if index.startswith("ix_lapse"):
        with full.begin() as conn:
            conn.execute(text(_MANY_LAPSES))
            conn.execute(text("ANALYZE lapse"))

    plans = plans_of(full, work)

    assert index in plans, plans
    for table in (
        "touch",
        "touch_event",
        "attempt",
        "outbox",
        "lapse",
        "template",
        "template_version",
        "campaign_template",
        "patient_contact",
    ):
        assert f"Seq Scan on {table} " not in plans, plans


_MANY_LAPSES = """
INSERT INTO lapse (organisation_id, patient_id, site_id, service_line, segment, inactive_since, rule_version, priority,
                   detected_at, segment_at, decided_at, closed_at)
SELECT l.organisation_id, l.patient_id, l.site_id, l.service_line, l.segment, l.inactive_since, '1', 30,
       l.detected_at, l.segment_at, CASE WHEN n % 500 > 0 THEN now() END, now()
FROM lapse l, generate_series(1, 20000) n
"""
