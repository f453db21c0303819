"""Attempts: one provider call of a touch each, under a token and a lease; and which may have reached the patient."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ColumnElement, Index, Integer, String, Table, and_, literal_column

from domain.ledger.columns import Instant, id_column, metadata, ref

attempt = Table(
    "attempt",
    metadata,
    id_column(),
    ref("touch_id", "touch", index=True),
    #: Travels with the send (callback address, Message-ID), so that a receipt finds it. Fences the finish.
    Column("token", String(32), nullable=False, unique=True),
    Column("channel", String(16), nullable=False),
    #: Who was asked to deliver it, written before the call; the channel's own name where it has one provider.
    Column("provider", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    ref("patient_id", "patient", nullable=True),
    ref("contact_point_id", "contact_point"),
    #: The site against whose daily ceiling it counts; null = there was none.
    ref("site_id", "site", nullable=True),
    Column("state", String(16), nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("lease_until", Instant, nullable=False),
    Column("called_at", Instant),
    Column("finished_at", Instant),
    Column("provider_ref", String(128)),
    Column("error_code", String(32)),
    #: For the audit: the zones judged, in which the call's hour was allowed.
    Column("zones", String(2000), nullable=False, default=""),
    #: For the audit: the states whose rules were judged; null = none is known.
    Column("states", String(400)),
    #: The text it says; null for an answer. For the audit: it was to be released when this was claimed.
    ref("template_id", "template", nullable=True),
    #: A person must look: nobody could tell whether it was accepted.
    Column("needs_person", Boolean, nullable=False, default=False),
    #: How often its provider was asked what became of it, and answered; when that was last begun; whether it goes on.
    Column("asked", Integer, nullable=False, default=0),
    Column("asked_at", Instant),
    Column("is_asking", Boolean, nullable=False, default=False),
)
_counting = attempt.c.state.in_(("sending", "accepted", "uncertain"))
Index(
    "ix_attempt_patient_caps",
    attempt.c.patient_id,
    attempt.c.claimed_at,
    sqlite_where=_counting,
    postgresql_where=_counting,
)
Index(
    "ix_attempt_contact_caps",
    attempt.c.contact_point_id,
    attempt.c.claimed_at,
    sqlite_where=_counting,
    postgresql_where=_counting,
)
_at_ceiling = and_(_counting, attempt.c.site_id.is_not(None))
Index(
    "ix_attempt_site_day",
    attempt.c.site_id,
    attempt.c.claimed_at,
    sqlite_where=_at_ceiling,
    postgresql_where=_at_ceiling,
)
_leased = attempt.c.state == "sending"
Index("ix_attempt_lease", attempt.c.lease_until, sqlite_where=_leased, postgresql_where=_leased)
_uncertain = attempt.c.state == "uncertain"
Index("ix_attempt_uncertain", attempt.c.claimed_at, sqlite_where=_uncertain, postgresql_where=_uncertain)
_rejected = attempt.c.state == "rejected"
Index(
    "ix_attempt_rejected",
    attempt.c.provider,
    attempt.c.error_code,
    sqlite_where=_rejected,
    postgresql_where=_rejected,
)
Index("ix_attempt_provider_ref", attempt.c.provider_ref)

# Spelt out in statements, never bound: the planners match a partial index only by the letter of its condition.
IS_SENDING: ColumnElement[bool] = attempt.c.state == literal_column("'sending'")
IS_UNCERTAIN: ColumnElement[bool] = attempt.c.state == literal_column("'uncertain'")
IS_REJECTED: ColumnElement[bool] = attempt.c.state == literal_column("'rejected'")
MAY_HAVE_REACHED: ColumnElement[bool] = attempt.c.state.in_(
    [literal_column(f"'{state}'") for state in ("sending", "accepted", "uncertain")]
)
