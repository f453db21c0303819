"""The crowd: patients, enrolments and touches by the hundred thousand, written as an import and a scan leave them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, text

from domain.ledger.patients import contact_index, contact_point
from domain.ledger.vault import Vault
from domain.rules.segments import PRIORITY
from domain.rules.vocabulary import Segment
from workers.rendering import CONTACT

ORGANISATION = 1

#: The local time that the crowd's zone has during a run: allowed on every day of the week, and for hours to come.
_HOUR = 14
#: Area codes times the hundred numbers of each that belong to nobody (555-01xx).
_MOST_NUMBERS = 800 * 100

_TEXT = (
    "{organisation}: it has been a while. A visit may be due; book at {link} or call {phone}. Reply STOP to opt out."
)

_SETTLE = """
INSERT INTO organisation (id, key, name, phone, postal_address)
  VALUES (1, 'bench', 'Northstar Health', '+1 212 555 0100', '1 Example Road, Miami, FL');
INSERT INTO site (id, organisation_id, key, name, zone, state, capacity_per_day, weight)
  SELECT n, 1, 'site' || n, 'Site ' || n, :zone, 'FL', 100, 1 FROM generate_series(1, :sites) n;
INSERT INTO campaign (id, organisation_id, key, version, checksum, definition, holdout, started_at)
  VALUES (1, 1, 'bench', 1, '0', '{}', 0.1, :now);
INSERT INTO template_version (id, organisation_id, key, version, checksum, recorded_at, released_at)
  VALUES (1, 1, 'bench', 1, '0', :now, :now);
INSERT INTO campaign_template (campaign_id, template_version_id) VALUES (1, 1);
INSERT INTO template
  (id, template_version_id, channel, language, segment, step_kind, step, season, incentive, cents, body)
  VALUES (1, 1, 'sms', 'en', '', '', -1, '', '', 0, :text);
"""
_PEOPLE = """
INSERT INTO patient (id, organisation_id, ref, home_site_id, language, high_risk, version)
  SELECT n, 1, 'PBENCH' || n, 1 + n % :sites, 'en', false, 1 FROM generate_series(1, :people) n;
INSERT INTO care (patient_id, site_id, service_line, last_visit_at, scan_at)
  SELECT n, 1 + n % :sites, 'primary_care', :visited, :later FROM generate_series(1, :people) n;
"""
_ENROLLED = """
INSERT INTO patient_contact (patient_id, contact_point_id, rank)
  SELECT n, n, 1 FROM generate_series(1, :reached) n;
INSERT INTO consent (organisation_id, contact_point_id, channel, purpose, status, since)
  SELECT 1, n, 'sms', 'outreach', 'granted', :visited FROM generate_series(1, :reached) n;
INSERT INTO lapse (id, organisation_id, patient_id, site_id, service_line, segment, inactive_since, last_visit_at,
                   rule_version, priority, detected_at, segment_at, decided_at)
  SELECT n, 1, n, 1 + n % :sites, 'primary_care', :segment, :now, :visited, '1', :priority, :now, :now, :now
  FROM generate_series(1, :reached) n;
INSERT INTO enrolment (id, organisation_id, campaign_id, campaign_key, patient_id, site_id, lapse_id, service_line,
                       segment, arm, state, enrolled_at)
  SELECT n, 1, 1, 'bench', n, 1 + n % :sites, n, 'primary_care', :segment, 'treatment', 'waiting', :now
  FROM generate_series(1, :reached) n;
"""
_PLAN = text("""
INSERT INTO touch (organisation_id, patient_id, site_id, enrolment_id, kind, step, channel, state, priority, due_at,
                   expires_at, attempts)
  SELECT 1, patient_id, site_id, id, 'outreach', :step, 'sms', 'planned', :priority, :due, :expires, 0
  FROM enrolment WHERE id BETWEEN :first AND :last AND (:site = 0 OR site_id = :site) ORDER BY id
RETURNING id
""")
#: Many touches a patient, as a cadence plans them; those of a crowd this large are not sent, only scheduled.
_SCHEDULE = text("""
INSERT INTO touch (organisation_id, patient_id, site_id, enrolment_id, kind, step, channel, state, priority, due_at,
                   expires_at, attempts)
  SELECT 1, e.patient_id, e.site_id, e.id, 'outreach', 1000 + s, 'sms', 'planned', :priority,
         :due + (s % 90) * interval '1 day', :due + (s % 90 + 5) * interval '1 day', 0
  FROM enrolment e, generate_series(1, :steps) s WHERE e.id <= :enrolments
""")
_SEQUENCES = ("organisation", "site", "patient", "contact_point", "lapse", "enrolment", "campaign", "template_version")
_ANALYSE = ("patient", "care", "contact_point", "patient_contact", "consent", "lapse", "enrolment", "touch", "attempt")


def local_zone(now: datetime) -> str:
    """The zone without daylight saving in which it is early afternoon at `now`: outreach is allowed for hours."""
    offset = _HOUR - now.astimezone(UTC).hour
    if offset < -12:
        offset += 24
    # in POSIX's names the sign is the other way round
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/UTC"


def settle(engine: Engine, vault: Vault, now: datetime, *, sites: int, reached: int, people: int = 0) -> None:
    """Fill an empty, migrated ledger on PostgreSQL.

    Args:
        reached: patients with a number of their own, enrolled in the treatment arm; number n is at site 1 + n % sites.
        people: patients altogether, the others without a number, all looked at by the scan in a year.
    """
    if reached > _MOST_NUMBERS:
        raise ValueError(f"there are {_MOST_NUMBERS} numbers that belong to nobody")
    zone = local_zone(now)
    values: dict[str, object] = {
        "sites": sites,
        "reached": reached,
        "people": max(people, reached),
        "zone": zone,
        "text": _TEXT,
        "now": now,
        "visited": now - timedelta(days=300),
        "later": now + timedelta(days=365),
        "segment": Segment.MONTHS_6_12.value,
        "priority": PRIORITY[Segment.MONTHS_6_12],
    }
    with engine.begin() as conn:
        conn.execute(text("SET LOCAL statement_timeout = 0"))
        _run(conn, _SETTLE, values)
        _run(conn, _PEOPLE, values)
        _copy_numbers(conn, vault, zone, reached)
        _run(conn, _ENROLLED, values)
        for table in _SEQUENCES:
            conn.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"))  # noqa: S608 - our own table names
    tidy(engine)


def plan(engine: Engine, first: int, last: int, due: datetime, *, step: int = 0, site: int = 0) -> list[int]:
    """A touch for every enrolment from `first` to `last` (of one `site`; 0 = of all), due at `due`; their ids."""
    values = {
        "first": first,
        "last": last,
        "due": due,
        "expires": due + timedelta(days=5),
        "step": step,
        "site": site,
        "priority": PRIORITY[Segment.MONTHS_6_12],
    }
    with engine.begin() as conn:
        conn.execute(text("SET LOCAL statement_timeout = 0"))
        return list(conn.scalars(_PLAN, values))


def schedule(engine: Engine, enrolments: int, steps: int, due: datetime) -> None:
    """So many touches of each of the first enrolments, due within ninety days from `due` on."""
    values = {
        "enrolments": enrolments,
        "steps": steps,
        "due": due,
        "priority": PRIORITY[Segment.MONTHS_6_12],
    }
    with engine.begin() as conn:
        conn.execute(text("SET LOCAL statement_timeout = 0"))
        conn.execute(_SCHEDULE, values)
    tidy(engine)


def tidy(engine: Engine) -> None:
    """Let the planner know what is there, as autovacuum would within a minute.

    It leaves empty tables alone, and so do we: told that one is empty, the planner would read all of it for every row
    of a statement that a worker has prepared, however much is written to it during the run.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("SET statement_timeout = 0"))
        for table in _ANALYSE:
            if conn.scalar(text(f"SELECT EXISTS (SELECT FROM {table})")):  # noqa: S608 - our own table names
                conn.execute(text(f"VACUUM (ANALYZE) {table}"))
        # a pooled connection would keep it
        conn.execute(text("RESET statement_timeout"))


def number(nth: int) -> str:
    """A number that belongs to nobody, another for every `nth` from 1."""
    return f"+1{200 + (nth - 1) // 100}55501{(nth - 1) % 100:02}"


def _run(conn: Connection, statements: str, values: dict[str, object]) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            conn.execute(text(statement), values)


def _copy_numbers(conn: Connection, vault: Vault, zone: str, count: int) -> None:
    driver = conn.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
    columns = "id, organisation_id, system, value, value_index, quality, zones"
    with driver.cursor().copy(f"COPY {contact_point.name} ({columns}) FROM STDIN") as copy:
        for row in _numbers(vault, zone, count):
            copy.write_row(row)


def _numbers(vault: Vault, zone: str, count: int) -> Iterator[tuple[object, ...]]:
    for nth in range(1, count + 1):
        value = number(nth)
        sealed, index = vault.seal(value, CONTACT), contact_index(vault, "phone", value)
        yield nth, ORGANISATION, "phone", sealed, index, "valid", zone
