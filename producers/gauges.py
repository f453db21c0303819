"""Gauges of the clock process: sets the metrics to what its leader last read in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Engine

from domain.ledger import gauges, listeners, reconciling, store
from domain.ledger.audit import audit
from domain.ledger.audit_books import conservation_gap
from domain.ledger.audit_terms import Declared
from domain.ledger.findings import Finding
from domain.ledger.listeners import Standing
from ops.runtime import metrics


def observe(engine: Engine, channels: Collection[str], now: datetime) -> None:
    """Read what waits and show it; a channel with nothing due is shown as 0, not left at its last value."""
    with store.reading(engine) as conn:
        seen = gauges.read(conn, now)
        differences = reconciling.last(conn)
        heard = Counter(each.standing for each in listeners.look(conn))
    for channel in channels:
        due = seen.due.get(channel, gauges.Waiting())
        metrics.due_touches.labels(channel).set(due.count)
        metrics.due_age_seconds.labels(channel).set(due.seconds)
    for row, waiting in seen.backlog.items():
        metrics.backlog.labels(row).set(waiting.count)
        metrics.backlog_age_seconds.labels(row).set(waiting.seconds)
    for (source, kind), count in differences.items():
        metrics.opt_out_differences.labels(source, kind).set(count)
    for standing in Standing:
        metrics.listeners.labels(standing.value).set(heard[standing])
    metrics.outbox.set(seen.outbox.count)
    metrics.outbox_age_seconds.set(seen.outbox.seconds)
    metrics.inbox.set(seen.inbox.count)
    metrics.inbox_age_seconds.set(seen.inbox.seconds)
    metrics.emergencies.set(seen.urgent.count)
    metrics.emergency_age_seconds.set(seen.urgent.seconds)
    metrics.uncertain.set(seen.uncertain.count)
    metrics.uncertain_age_seconds.set(seen.uncertain.seconds)
    metrics.needs_person.set(seen.needs_person)
    metrics.quarantine_held.set(seen.quarantine_held)


def check_promises(engine: Engine, now: datetime, declared: Declared | None = None) -> list[Finding]:
    """Run the whole audit and show its counts, the conservation gap and the outcomes.

    It reads all history, so once an hour is enough.
    """
    with store.reading(engine, patient=True) as conn:
        findings = audit(conn, now, declared)
        gap = conservation_gap(conn)
        outcomes = gauges.outcomes(conn)
    metrics.conservation_gap.set(gap)
    for (kind, arm), count in outcomes.items():
        metrics.outcomes.labels(kind, arm).set(count)
    show(findings)
    return findings


def show(findings: Iterable[Finding]) -> None:
    """Set the breach gauge of every promise."""
    for each in findings:
        metrics.promise_breaches.labels(each.promise).set(each.count)
