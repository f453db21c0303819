"""Every table of the ledger, imported once so that `metadata` is complete."""

from domain.ledger import (
    appointments,
    campaigns,
    choices,
    enrolments,
    heartbeat,
    intake_log,
    lapses,
    organisations,
    outbox,
    patients,
    pauses,
    quarantine,
    replies,
    touches,
)
from domain.ledger.columns import metadata

__all__ = [
    "appointments",
    "campaigns",
    "choices",
    "enrolments",
    "heartbeat",
    "intake_log",
    "lapses",
    "metadata",
    "organisations",
    "outbox",
    "patients",
    "pauses",
    "quarantine",
    "replies",
    "touches",
]
