"""Items: each message on its way in, read or found unreadable, and how a batch of them is cut into transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domain.events.codec import SOURCE, Event, decode, is_ours
from domain.events.contract import Direction
from domain.events.envelope import EventProblem, read_envelope
from domain.events.incoming import AppointmentData
from domain.ledger.events_seen import EventKey
from ops.runtime.bus import BusMessage
from workers.intake_subjects import Subject, subject_of

#: How a message came: for the metrics.
AMQP, HTTP, REPLAY = "amqp", "http", "replay"


@dataclass(frozen=True, slots=True)
class Item:
    """A message on its way in: its event, or why there is none."""

    transport: str
    origin: str
    headers: Mapping[str, Any] = field(repr=False)
    content_type: str = field(repr=False)
    body: bytes = field(repr=False)
    key: EventKey
    type: str
    event: Event | None = None
    problem: str | None = None


def is_from_us(message: BusMessage) -> bool:
    """Whether it is an event of our own, which intake hears again because it hears everything."""
    if not is_ours(message.routing_key):
        return False
    try:
        return read_envelope(message.headers, message.content_type, message.body).source == SOURCE
    except EventProblem:
        return False


def heard(message: BusMessage) -> Item:
    """A foreign message of the bus; under a routing key of ours it is a mistake, whatever it holds."""
    item = read(AMQP, f"amqp:{message.routing_key}", message.headers, message.content_type, message.body)
    if item.problem is None and is_ours(message.routing_key):
        return replace(item, event=None, problem="routing key: one that only this system uses")
    return item


def read(transport: str, origin: str, headers: Mapping[str, Any], content_type: str, body: bytes) -> Item:
    try:
        event = decode(headers, content_type, body)
    except EventProblem as problem:
        envelope = problem.envelope
        # without attributes the bytes identify it, so that a redelivery is not held twice
        key = (
            EventKey(envelope.source, envelope.id)
            if envelope is not None
            else EventKey(_printable(origin)[:200], "sha256:" + hashlib.sha256(body).hexdigest())
        )
        kind = envelope.type if envelope is not None else "unknown"
        return Item(transport, origin, headers, content_type, body, key, kind, problem=problem.reason)
    key = EventKey(event.source, event.id)
    if event.kind.direction is not Direction.IN:
        problem_text = "type: one that only this system sends"
        return Item(transport, origin, headers, content_type, body, key, event.kind.name, problem=problem_text)
    return Item(transport, origin, headers, content_type, body, key, event.kind.name, event=event)


def _printable(origin: str) -> str:
    """The origin as every store takes it in a key: a routing key may hold any bytes."""
    return "".join(each if each.isprintable() else "\ufffd" for each in origin)


def parts(items: Sequence[Item]) -> list[list[Item]]:
    """One transaction's worth each: patients before what refers to them; choices and replies lock, so one by one."""
    by_subject: dict[Subject, list[Item]] = {subject: [] for subject in Subject}
    for item in items:
        by_subject[subject_of(item.event) if item.event is not None else Subject.UNREADABLE].append(item)
    cut: list[list[Item]] = []
    for subject, group in by_subject.items():
        if subject in {Subject.CONSENT, Subject.REPLY}:
            cut += [[item] for item in group]
        else:
            cut += _step_by_step(group)
    return cut


def _step_by_step(group: Sequence[Item]) -> list[list[Item]]:
    """Split where an appointment is told of again: a booking that was cancelled soon after was made all the same.

    What a batch comes to must not depend on where the transport cut it.
    """
    parts: list[list[Item]] = []
    told: set[tuple[str, str]] = set()
    for item in group:
        data = item.event.data if item.event is not None else None
        key = (data.source, data.appointment_id) if isinstance(data, AppointmentData) else None
        if not parts or key in told:
            parts.append([])
            told.clear()
        if key is not None:
            told.add(key)
        parts[-1].append(item)
    return parts
