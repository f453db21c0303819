"""Enrolments of lapsed patients in campaigns: the table, and how they end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Index, String, Table, Update, bindparam, update

from domain.ledger import touches
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.store import chunks
from domain.rules.vocabulary import EnrolmentState

enrolment = Table(
    "enrolment",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("campaign_id", "campaign"),
    Column("campaign_key", String(64), nullable=False),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    ref("lapse_id", "lapse"),
    Column("service_line", String(32), nullable=False),
    Column("segment", String(32), nullable=False),
    Column("arm", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(48)),
    Column("enrolled_at", Instant, nullable=False),
    #: An appointment is ahead: touches stay revoked until it is kept or lost.
    Column("booked_at", Instant),
    Column("ended_at", Instant),
    #: When to look whether it graduates, gets its next reminder, or is finished.
    Column("review_at", Instant),
)
#: Not ended; as the partial index has it.
IS_LIVE: Final = enrolment.c.ended_at.is_(None)
Index(
    "uq_enrolment_live",
    enrolment.c.patient_id,
    enrolment.c.campaign_key,
    unique=True,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)
Index("ix_enrolment_patient_id", enrolment.c.patient_id)
#: How many were enrolled at a site today.
Index("ix_enrolment_site", enrolment.c.site_id, enrolment.c.enrolled_at)
_to_review = enrolment.c.review_at.is_not(None)
Index("ix_enrolment_review_at", enrolment.c.review_at, sqlite_where=_to_review, postgresql_where=_to_review)

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_NOW: Final = bindparam("now", type_=Instant)


def _ending(which: Column[int]) -> Update:
    return (
        update(enrolment)
        .where(which.in_(_IDS), IS_LIVE)
        .values(
            state=bindparam("new_state", type_=String),
            reason=bindparam("new_reason", type_=String),
            ended_at=_NOW,
            review_at=None,
        )
        .returning(enrolment.c.id)
    )


_END: Final = _ending(enrolment.c.id)
_END_ALL_OF: Final = _ending(enrolment.c.patient_id)


def stop_for_opt_out(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """End the live enrolments of patients who opted out and revoke what was planned for them."""
    for ids in chunks(sorted(patient_ids)):
        _end(conn, _END_ALL_OF, ids, EnrolmentState.OPTED_OUT, "opted_out", now)


def leave(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """End the live enrolments of patients who want no more of their campaign; no other campaign is refused by that."""
    for ids in chunks(sorted(patient_ids)):
        _end(conn, _END_ALL_OF, ids, EnrolmentState.LEFT, "left_campaign", now)


def end(conn: Connection, enrolment_ids: Collection[int], state: EnrolmentState, reason: str, now: datetime) -> None:
    """End live enrolments, for one reason, and revoke what was planned for them."""
    for ids in chunks(sorted(enrolment_ids)):
        _end(conn, _END, ids, state, reason, now)


def _end(
    conn: Connection, which: Update, ids: Sequence[int], state: EnrolmentState, reason: str, now: datetime
) -> None:
    ended = conn.scalars(which, {"ids": ids, "new_state": state.value, "new_reason": reason, "now": now}).all()
    touches.revoke(conn, ended, reason, now)
