"""Appointments, care gaps, and the one row per patient and line that says when inactivity begins."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, UniqueConstraint

from domain.ledger.columns import Id, Instant, id_column, metadata, ref

#: Encounters are stored here too, as fulfilled appointments: one history of visits, one rule.
appointment = Table(
    "appointment",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    Column("service_line", String(32), nullable=False),
    Column("source", String(64), nullable=False),
    Column("source_id", String(128), nullable=False),
    Column("version", Id, nullable=False),
    Column("status", String(24), nullable=False),
    Column("starts_at", Instant, nullable=False),
    #: When the status became what it is (for a cancellation: when it was cancelled).
    Column("changed_at", Instant, nullable=False),
    UniqueConstraint("organisation_id", "source", "source_id"),
)
Index("ix_appointment_patient", appointment.c.patient_id, appointment.c.service_line, appointment.c.starts_at)

#: A measure a patient is due for (codes stay here and travel nowhere).
care_gap = Table(
    "care_gap",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    Column("source", String(64), nullable=False),
    Column("source_id", String(128), nullable=False),
    Column("measure", String(64), nullable=False),
    Column("due_at", Instant, nullable=False),
    #: A recurring gap comes due again this many calendar months after the last visit, or after `since` before one.
    Column("every_months", Integer),
    Column("since", Instant),
    Column("closed_at", Instant),
    Column("version", Id, nullable=False),
    UniqueConstraint("organisation_id", "source", "source_id"),
)
Index("ix_care_gap_patient", care_gap.c.patient_id)

#: One row per patient and service line: the digest of the history above, kept current by every piece of news.
care = Table(
    "care",
    metadata,
    id_column(),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    Column("service_line", String(32), nullable=False),
    Column("last_visit_at", Instant),
    #: Start of the furthest appointment in the diary: the patient has one ahead exactly while this is in the future.
    Column("next_appointment_at", Instant),
    #: Start of the latest cancelled or missed appointment that no later visit or booking made good.
    Column("missed_at", Instant),
    Column("gap_due_at", Instant),
    #: The indexed instant at which the scan must look: lapse, or the next segment band after it. Null = nothing to see.
    Column("scan_at", Instant),
    Column("noticed_segment", String(32)),
    UniqueConstraint("patient_id", "service_line"),
)
Index(
    "ix_care_scan_at",
    care.c.scan_at,
    sqlite_where=care.c.scan_at.is_not(None),
    postgresql_where=care.c.scan_at.is_not(None),
)
