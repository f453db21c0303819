"""The audit: every promise the fleet makes, asked of the ledger afterwards, without the code that was to keep it.

The checks share no rule with the guard, the claim or the quiet hours: they carry their own figures, so that a guard
that went wrong cannot vouch for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from domain.ledger import audit_answers, audit_books, audit_calls, audit_sends, audit_shares, audit_stops, audit_texts
from domain.ledger.audit_terms import Declared
from domain.ledger.findings import Finding

#: Every promise the audit judges: the closed set of metric label and report keys.
PROMISES = (
    "sent_after_opt_out",
    "confidential_ignored",
    "accepted_twice",
    "outside_hours",
    "over_cap",
    "emergency_unanswered",
    "phi_in_outreach",
    "sent_unreleased",
    "unaccounted",
    "without_reason",
    "holdout_contacted",
    "suppression_disagrees",
    "incentives_over_ceiling",
    "over_daily_share",
)


def audit(conn: Connection, now: datetime, declared: Declared | None = None) -> list[Finding]:
    """Judge every promise, in the order of PROMISES. Reads only. `declared`: what organisations put in rules' places.

    Each check is one statement, so the fleet may work on meanwhile.
    """
    return [
        audit_stops.sent_after_opt_out(conn, declared or {}),
        audit_stops.confidential_ignored(conn),
        audit_sends.accepted_twice(conn),
        audit_calls.outside_hours(conn, declared or {}),
        audit_calls.over_cap(conn, declared or {}),
        audit_answers.emergency_unanswered(conn, now),
        audit_sends.phi_in_outreach(conn),
        audit_texts.sent_unreleased(conn),
        audit_books.unaccounted(conn, now),
        audit_books.without_reason(conn),
        audit_sends.holdout_contacted(conn),
        audit_books.suppression_disagrees(conn),
        audit_sends.incentives_over_ceiling(conn, declared or {}),
        audit_shares.over_daily_share(conn),
    ]


def breaches(findings: Sequence[Finding]) -> int:
    """How many breaches there are in all; an audit with any must fail."""
    return sum(each.count for each in findings)
