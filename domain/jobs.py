"""The broker messages between our own processes: which actor, on which queue, with ids only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One message: the actor that takes it, its queue, and the ids of the rows that are the work."""

    actor: str
    queue: str
    ids: tuple[int, ...]


#: At most this many touch ids travel in one job (100 ids a job measured 20 times faster than one).
BATCH = 100

#: Dramatiq queues besides one `<channel>` queue per channel.
RECEIPTS = "receipts"
REPLIES = "replies"
ASKING = "asking"

#: Queues bound to the topic exchange, consumed as CloudEvents (no Dramatiq envelope).
INTAKE = "intake"
ENROL = "enrol"


def send_touches(channel: str, ids: tuple[int, ...]) -> Job:
    """Send these touches on this channel."""
    return Job(actor=f"send_{channel}", queue=channel, ids=ids)


def send_answers(channel: str, ids: tuple[int, ...]) -> Job:
    """Send these answers to patients who wrote; a queue of their own, so that a million texts cannot delay them."""
    return Job(actor=f"answer_{channel}", queue=f"{channel}.answers", ids=ids)


def apply_receipts(ids: tuple[int, ...]) -> Job:
    """Apply these stored receipts."""
    return Job(actor="apply_receipts", queue=RECEIPTS, ids=ids)


def read_replies(ids: tuple[int, ...]) -> Job:
    """Understand these stored replies and follow up."""
    return Job(actor="read_replies", queue=REPLIES, ids=ids)


def ask_providers(ids: tuple[int, ...]) -> Job:
    """Ask the providers of these uncertain attempts what became of them."""
    return Job(actor="ask_providers", queue=ASKING, ids=ids)
