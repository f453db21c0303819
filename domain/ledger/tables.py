"""Every table of the ledger, imported once so that `metadata` is complete."""

from domain.ledger import (
    appointments,
    campaigns,
    choices,
    enrolments,
    heartbeat,
    inbound,
    intake_log,
    lapses,
    organisations,
    outbox,
    outcomes,
    patients,
    pauses,
    quarantine,
    texts,
    touches,
)
from domain.ledger.columns import metadata

__all__ = [
    "appointments",
    "campaigns",
    "choices",
    "enrolments",
    "heartbeat",
    "inbound",
    "intake_log",
    "lapses",
    "metadata",
    "organisations",
    "outbox",
    "outcomes",
    "patients",
    "pauses",
    "quarantine",
    "texts",
    "touches",
]
