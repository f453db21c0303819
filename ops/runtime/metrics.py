"""Every Prometheus metric of the fleet: what is counted, under which name, with which labels.

A variable is called as its metric without the prefix `reactivate_`. Label values come from closed sets (channels,
enums, rule ids, event types of the contract) and never from data; where a value comes from outside, pass it through
`bounded`. What each one tells, and what to do about it: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_PREFIX = "reactivate"

#: A webhook or database round trip: 5 ms to 30 s.
_CALL = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Work that waits its turn: a tenth of a second to a week (quiet hours and outages included).
_WAIT = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{_PREFIX}_{name}", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{_PREFIX}_{name}", text, labels)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _CALL) -> Histogram:
    return Histogram(f"{_PREFIX}_{name}", text, labels, buckets=buckets)


# Sending. `outcome`: an AttemptState, or the state in which a touch came to rest without a call.
touches_total = _counter("touches_total", "Touches that left the claim, by what became of them", "channel", "outcome")
touch_due_age_seconds = _histogram(
    "touch_due_age_seconds", "From the instant a touch was due to its provider call", "channel", buckets=_WAIT
)
queue_handoff_seconds = _histogram(
    "queue_handoff_seconds", "From the dispatch of a batch to its claim", "channel", buckets=_WAIT
)
provider_call_seconds = _histogram("provider_call_seconds", "One provider call", "channel", "outcome")
guard_waits_total = _counter("guard_waits_total", "Touches told to wait, by the rule that said so", "rule")
guard_nevers_total = _counter("guard_nevers_total", "Touches ended without a call, by the rule that said so", "rule")

# Pacing.
pacing_granted_total = _counter("pacing_granted_total", "Messages granted by the pacing cells", "channel")
pacing_withheld_total = _counter("pacing_withheld_total", "Messages sent back to wait by the pacing cells", "channel")
pacing_fallback = _gauge("pacing_fallback", "1 while Redis is unreachable and a local slice of the limits is used")

# Providers of a channel and their breakers. `to`: a Phase.
provider_open = _gauge(
    "provider_open",
    "1 while a provider is not asked (its breaker is open), 0.5 while it is tried",
    "channel",
    "provider",
)
provider_transitions_total = _counter(
    "provider_transitions_total", "Changes of a provider's breaker, by its new state", "channel", "provider", "to"
)
provider_failovers_total = _counter(
    "provider_failovers_total", "Touches claimed for another provider than their own", "channel", "provider"
)
breaker_fallback = _gauge("breaker_fallback", "1 while Redis is unreachable and a process goes by breakers of its own")

# Replies, receipts, choices. `intent`: an Intent; `status`: a Delivery.
replies_total = _counter("replies_total", "Replies understood or handed to a person", "channel", "intent")
receipts_total = _counter("receipts_total", "Receipts applied", "channel", "status")
# `result`: taken | never_taken | nothing (it proves nothing yet) | no_answer | too_late (settled meanwhile).
asked_total = _counter("asked_total", "Providers asked what became of an uncertain send", "channel", "result")
opt_out_seconds = _histogram("opt_out_seconds", "From the receipt of an opt-out to its commit")
webhook_rejected_total = _counter(
    "webhook_rejected_total", "Webhook calls refused before anything was stored", "channel", "reason"
)
# Webhooks kept on the disk of the web process. `kind`: reply | receipts | unsubscribe (| unreadable); `reason`: away |
# slow | error | behind (others waited already); `result`: stored | failed;
# `lane`: choices | receipts.
spool = _gauge("spool", "Arrivals on disk that wait for the ledger", "lane")
spool_age_seconds = _gauge("spool_age_seconds", "How long the first arrival on disk has waited for the ledger", "lane")
spool_failed = _gauge("spool_failed", "Arrivals set aside on disk, refused or damaged", "lane")
spooled_total = _counter("spooled_total", "Arrivals kept on disk instead of in the ledger", "kind", "reason")
spool_replayed_total = _counter("spool_replayed_total", "Arrivals taken from the disk", "kind", "result")
webhook_seconds = _histogram("webhook_seconds", "One webhook call, from its headers to our answer", "channel", "kind")

# Intake. `transport`: amqp | http | replay; `type`: a type of the event contract, else `unknown`;
# `result`: applied | stale | ignored | duplicate | quarantined.
events_total = _counter("events_total", "Events taken in", "transport", "type", "result")
quarantined_total = _counter("quarantined_total", "Messages put in quarantine", "transport")
import_rows_total = _counter("import_rows_total", "Rows of imported files, by result", "kind", "result")

# Lapses and enrolments.
lapses_total = _counter("lapses_total", "Lapses noticed", "line", "segment")
enrolments_total = _counter("enrolments_total", "Enrolments, by arm of the experiment", "arm")

# The clock process. Its gauges are what the leader last read in the ledger (see producers/gauges.py).
clock_leader = _gauge("clock_leader", "1 in the clock process that leads, 0 in one that stands by")
dispatch_seconds = _histogram("dispatch_seconds", "One round of the dispatcher")
dispatched_total = _counter("dispatched_total", "Touches handed to a queue", "channel")
scan_seconds = _histogram("scan_seconds", "One batch of the inactivity scan")
sweep_seconds = _histogram("sweep_seconds", "One round of the sweep")
outbox = _gauge("outbox", "Events waiting to be published")
outbox_age_seconds = _gauge("outbox_age_seconds", "Age of the oldest event waiting to be published")
due_touches = _gauge("due_touches", "Planned touches whose instant has come", "channel")
due_age_seconds = _gauge("due_age_seconds", "How long the touch that waits longest has been due", "channel")
listeners = _gauge("listeners", "Web processes, by how they stand", "standing")
uncertain = _gauge("uncertain", "Attempts of which nobody knows whether the provider took them")
uncertain_age_seconds = _gauge("uncertain_age_seconds", "How long ago the oldest uncertain attempt was claimed")
needs_person = _gauge("needs_person", "Uncertain attempts that only a person can settle")
inbox = _gauge("inbox", "Replies waiting for a person")
inbox_age_seconds = _gauge("inbox_age_seconds", "Age of the reply that waits longest for a person")
emergencies = _gauge("emergencies", "Emergencies that no person has closed; each pages somebody")
emergency_age_seconds = _gauge("emergency_age_seconds", "Age of the emergency that waits longest for a person")
backlog = _gauge("backlog", "Stored rows no worker has handled yet (`row`: reply, receipt, lapse)", "row")
backlog_age_seconds = _gauge("backlog_age_seconds", "Age of the oldest row no worker has handled yet", "row")
quarantine_held = _gauge("quarantine_held", "Messages held in quarantine")
conservation_gap = _gauge("conservation_gap", "Enrolments without an end or a next step, by the last audit; must be 0")
outcomes = _gauge("outcomes", "Enrolled patients who booked (`rebooked`) or came (`returned`)", "kind", "arm")
# `source`: list | refusals; `kind`: missing | sent_after | overtaken | ours_alone.
opt_out_differences = _gauge(
    "opt_out_differences", "What the last comparison with the provider's opt-outs counted", "source", "kind"
)
promise_breaches = _gauge("promise_breaches", "Breaches the last audit counted; must be 0", "promise")


def bounded(value: str | None, known: Container[str], other: str = "unknown") -> str:
    """`value` if it is one of `known`, else `other`: a label can never be made up by the outside world."""
    return value if value is not None and value in known else other


def serve(port: int, host: str = "0.0.0.0") -> Callable[[], None]:  # noqa: S104 - Prometheus scrapes from another container
    """Serve `/metrics` on `port` from a thread of its own; call what is returned to stop it.

    Raises:
        OSError: the port is taken.
    """
    server, thread = start_http_server(port, addr=host)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
