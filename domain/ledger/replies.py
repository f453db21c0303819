"""Inbound traffic of providers: replies of patients and receipts of what we sent. The row is the work."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    func,
    literal,
    select,
    update,
)

from domain.ledger import choices, outbox, senders, store, touches
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.patients import patient, patient_contact
from domain.ledger.touches import MAY_HAVE_REACHED, attempt, touch
from domain.ledger.vault import Vault, VaultError
from domain.rules.intent import Keyword, keyword
from domain.rules.vocabulary import Intent

reply = Table(
    "reply",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("channel", String(16), nullable=False),
    Column("provider_id", String(128), nullable=False),
    ref("contact_point_id", "contact_point", nullable=True),
    #: Encrypted; read only by the replies worker and, deliberately, by a person at the inbox.
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    #: Set in the storing transaction for whole-message keywords, else by the replies worker.
    Column("intent", String(24)),
    Column("language", String(8)),
    #: The rule that recognised it, e.g. `optout.en.stop`.
    Column("rule", String(48)),
    #: `new` -> `handled` | `human` -> `closed`.
    Column("state", String(16), nullable=False),
    Column("handled_at", Instant),
    UniqueConstraint("channel", "provider_id"),
)
_new = reply.c.state == "new"
Index("ix_reply_new", reply.c.received_at, sqlite_where=_new, postgresql_where=_new)
_human = reply.c.state == "human"
Index("ix_reply_human", reply.c.received_at, sqlite_where=_human, postgresql_where=_human)
Index("ix_reply_contact_point_id", reply.c.contact_point_id)

receipt = Table(
    "receipt",
    metadata,
    id_column(),
    Column("channel", String(16), nullable=False),
    Column("provider_ref", String(128), nullable=False),
    #: The attempt's token as it came back in the callback's address; empty when the provider sent none.
    Column("reference", String(32), nullable=False, default=""),
    Column("status", String(16), nullable=False),
    Column("error_code", String(32)),
    #: What it tells beyond the one message: `opted_out` | `bad_address` | `pause_channel`.
    Column("effect", String(16)),
    Column("received_at", Instant, nullable=False),
    Column("applied_at", Instant),
    #: `applied` | `orphan` (no attempt of ours was found for it within a week).
    Column("result", String(16)),
    UniqueConstraint("channel", "provider_ref", "status"),
)
_unapplied = receipt.c.applied_at.is_(None)
Index("ix_receipt_unapplied", receipt.c.received_at, sqlite_where=_unapplied, postgresql_where=_unapplied)

#: As the partial indexes have it: spelt out in the statement, so that SQLite can use them too.
IS_NEW: Final = reply.c.state == literal("new", literal_execute=True)
IS_HUMAN: Final = reply.c.state == literal("human", literal_execute=True)

#: Automatic answers to one contact point within a day; two machines texting each other stop there.
ANSWERS_PER_DAY: Final = 5
_BODY: Final = "reply.body"
#: What a number nobody knows may ask for: to be left alone, and who we are. The rest is for a person.
_FOR_STRANGERS: Final = frozenset({Intent.OPT_OUT, Intent.HELP})
_ANSWERS: Final = {
    Intent.HELP: "help",
    Intent.BOOK: "booking_link",
    Intent.RESCHEDULE: "booking_link",
    Intent.CANCEL: "booking_link",
}

_REPLY: Final = bindparam("reply", type_=Id)
_POINT: Final = bindparam("point", type_=Id)

_KNOWN: Final = select(reply.c.id).where(
    reply.c.channel == bindparam("channel", type_=String), reply.c.provider_id == bindparam("provider_id", type_=String)
)
_WAITING: Final = (
    select(reply.c.id)
    .where(IS_NEW, reply.c.received_at < bindparam("before", type_=Instant))
    .order_by(reply.c.received_at, reply.c.id)
    .limit(bindparam("most"))
    .offset(bindparam("skip"))
)
_UNREAD: Final = (
    select(reply)
    .where(reply.c.id.in_(bindparam("ids", type_=Id, expanding=True)), reply.c.state == "new")
    .order_by(reply.c.id)
)
_UNREAD_LOCKED: Final = _UNREAD.with_for_update()
_LAST_WRITTEN: Final = (
    select(attempt.c.patient_id, func.max(attempt.c.claimed_at).label("at"))
    .where(attempt.c.contact_point_id == _POINT, MAY_HAVE_REACHED)
    .group_by(attempt.c.patient_id)
    .subquery()
)
_WRITTEN_TO: Final = (
    select(patient_contact.c.patient_id)
    .outerjoin(_LAST_WRITTEN, _LAST_WRITTEN.c.patient_id == patient_contact.c.patient_id)
    .where(patient_contact.c.contact_point_id == _POINT, patient_contact.c.detached_at.is_(None))
    .order_by(_LAST_WRITTEN.c.at.desc().nulls_last(), patient_contact.c.rank, patient_contact.c.patient_id)
    .limit(1)
)
_ANSWERED: Final = (
    select(func.count())
    .select_from(reply.join(touch, touch.c.reply_id == reply.c.id))
    .where(reply.c.contact_point_id == _POINT, reply.c.received_at > bindparam("since", type_=Instant))
)
_SETTLE: Final = (
    update(reply)
    .where(reply.c.id == _REPLY)
    .values(
        state=bindparam("new_state"),
        intent=bindparam("new_intent"),
        language=bindparam("new_language"),
        rule=bindparam("new_rule"),
        handled_at=bindparam("now"),
    )
)
_ONE: Final = select(reply).where(reply.c.id == _REPLY)
_PATIENTS_OF: Final = (
    select(patient_contact.c.contact_point_id, patient.c.ref)
    .join(patient, patient.c.id == patient_contact.c.patient_id)
    .where(
        patient_contact.c.contact_point_id.in_(bindparam("points", type_=Id, expanding=True)),
        patient_contact.c.detached_at.is_(None),
    )
    .order_by(patient.c.id)
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one inbound message."""

    reply_id: int | None
    """None: it had been stored before, and nothing changed."""
    channel: str
    intent: Intent | None = None
    """None: not a keyword; the replies worker follows up."""
    answer_id: int | None = None
    """The touch that answers it, if there is one."""


def take(
    conn: Connection,
    vault: Vault,
    *,
    channel: str,
    system: str,
    provider_id: str,
    sender: str,
    text: str,
    now: datetime,
    organisation_id: int | None = None,
) -> Taken:
    """Store a reply, and let a whole-message keyword take effect in this very transaction.

    `channel` + `provider_id` identify a message: a repeat changes nothing. A stranger's message is kept too, and a
    stranger can opt out (the number may be imported tomorrow). `system` is the channel's ContactSystem;
    `organisation_id` is left out where the provider does not tell whose message it is.
    """
    if _is_stored(conn, channel, provider_id):
        return Taken(None, channel)
    found = keyword(text)
    known_as = senders.known_as(system, sender)
    organisation_id, contact_point_id = senders.find(conn, vault, known_as, organisation_id)
    if found is not None:
        if contact_point_id is None and known_as is not None and found.intent in _FOR_STRANGERS:
            contact_point_id = senders.meet(conn, vault, organisation_id, known_as)
        if contact_point_id is not None:
            # before the new row refers to the contact point: locks are taken in the order of the house
            choices.lock(conn, [contact_point_id])
    reply_id = conn.scalar(
        _storing(conn.dialect.name),
        {
            "organisation_id": organisation_id,
            "channel": channel,
            "provider_id": provider_id,
            "contact_point_id": contact_point_id,
            "body": vault.seal(text, _BODY),
            "received_at": now,
            "state": "new",
        },
    )
    if reply_id is None or found is None:
        return Taken(reply_id, channel)
    answer_id = _follow(conn, reply_id, organisation_id, contact_point_id, channel, found, now)
    return Taken(reply_id, channel, found.intent, answer_id)


@cache
def _storing(dialect: str) -> Any:
    return store.insert_on(dialect, reply).on_conflict_do_nothing().returning(reply.c.id)


def read(conn: Connection, vault: Vault, reply_ids: Collection[int], now: datetime) -> list[Taken]:
    """Understand stored replies nobody handled yet; what is not a keyword goes to a person and is told outside."""
    unread = {"ids": sorted(reply_ids)}
    points = {row.contact_point_id for row in conn.execute(_UNREAD, unread) if row.contact_point_id is not None}
    if points:
        choices.lock(conn, sorted(points))
    # read again under lock: of two workers with the same ids, the second finds nothing left to do
    understood: list[Taken] = []
    for row in conn.execute(_UNREAD_LOCKED, unread).all():
        found = _reread(vault, row)
        if found is None:
            _settle(conn, row.id, "human", Intent.OTHER, None, now)
            _escalate(conn, row.id, now)
            understood.append(Taken(row.id, row.channel, Intent.OTHER))
        else:
            answer_id = _follow(conn, row.id, row.organisation_id, row.contact_point_id, row.channel, found, now)
            understood.append(Taken(row.id, row.channel, found.intent, answer_id))
    return understood


def waiting(conn: Connection, received_before: datetime, limit: int, skip: int = 0) -> list[int]:
    """Replies received before `received_before` that no worker read yet, oldest first, less the first `skip`."""
    return list(conn.scalars(_WAITING, {"before": received_before, "most": limit, "skip": skip}))


def open_body(vault: Vault, sealed: bytes) -> str:
    """The text of a stored reply. Raises VaultError."""
    return vault.open(sealed, _BODY)


def _is_stored(conn: Connection, channel: str, provider_id: str) -> bool:
    return conn.scalar(_KNOWN, {"channel": channel, "provider_id": provider_id}) is not None


def _reread(vault: Vault, row: Row[*tuple[Any, ...]]) -> Keyword | None:
    try:
        return keyword(open_body(vault, row.body))
    except VaultError:
        # its key is gone: a person must know that somebody wrote
        return None


def _follow(
    conn: Connection,
    reply_id: int,
    organisation_id: int,
    contact_point_id: int | None,
    channel: str,
    found: Keyword,
    now: datetime,
) -> int | None:
    """Let a keyword take effect; returns the touch that answers it. The contact point is locked."""
    if found.intent is Intent.REACTION:
        _settle(conn, reply_id, "handled", found.intent, found, now)
        return None
    if contact_point_id is None:
        # nobody to suppress or to answer: a person finds out who wrote
        _settle(conn, reply_id, "human", found.intent, found, now)
        _escalate(conn, reply_id, now)
        return None
    answer = _choose(conn, reply_id, organisation_id, contact_point_id, found.intent, now)
    is_silenced = (
        answer is not None and _answers_since(conn, contact_point_id, now - timedelta(days=1)) >= ANSWERS_PER_DAY
    )
    _settle(
        conn, reply_id, "human" if is_silenced and found.intent in _ANSWERS else "handled", found.intent, found, now
    )
    if answer is None or is_silenced:
        return None
    return touches.plan_answer(
        conn,
        reply_id=reply_id,
        organisation_id=organisation_id,
        contact_point_id=contact_point_id,
        channel=channel,
        answer=answer,
        now=now,
        patient_id=_written_to(conn, contact_point_id),
    )


def _written_to(conn: Connection, contact_point_id: int) -> int | None:
    """The patient the answer speaks to: whom we wrote to last at this contact point, else whoever comes first there."""
    return conn.scalar(_WRITTEN_TO, {"point": contact_point_id})


def _choose(
    conn: Connection, reply_id: int, organisation_id: int, contact_point_id: int, intent: Intent, now: datetime
) -> str | None:
    """Record what the patient chose; returns which answer is due."""
    if intent is Intent.OPT_OUT:
        is_repeat = choices.is_opted_out(conn, contact_point_id)
        choices.opt_out(
            conn,
            organisation_id=organisation_id,
            contact_point_id=contact_point_id,
            source="reply",
            at=now,
            now=now,
            reply_id=reply_id,
        )
        return None if is_repeat else "opt_out_confirmation"
    if intent is Intent.OPT_IN:
        choices.opt_in(
            conn,
            organisation_id=organisation_id,
            contact_point_id=contact_point_id,
            source="reply",
            at=now,
            now=now,
            reply_id=reply_id,
        )
        return "opt_in_confirmation"
    return _ANSWERS[intent]


def _answers_since(conn: Connection, contact_point_id: int, since: datetime) -> int:
    return int(conn.execute(_ANSWERED, {"point": contact_point_id, "since": since}).scalar_one())


def _settle(conn: Connection, reply_id: int, state: str, intent: Intent, found: Keyword | None, now: datetime) -> None:
    told = {
        "new_state": state,
        "new_intent": intent.value,
        "new_language": found.language if found else None,
        "new_rule": found.rule if found else None,
    }
    conn.execute(_SETTLE, {"reply": reply_id, "now": now, **told})


def _escalate(conn: Connection, reply_id: int, now: datetime) -> None:
    """Tell the organisation's other systems that a person has to read this reply; ids and facts only."""
    row = conn.execute(_ONE, {"reply": reply_id}).one()
    data = {
        "reply_id": row.id,
        "channel": row.channel,
        "intent": row.intent,
        "received_at": row.received_at.isoformat(),
        "patients": list(patients_of(conn, [row.contact_point_id]).get(row.contact_point_id, ())),
    }
    outbox.add(conn, "reply.escalated", data, now)


def patients_of(conn: Connection, contact_point_ids: Collection[int | None]) -> dict[int, tuple[str, ...]]:
    """The public references of the patients attached to each contact point."""
    wanted = sorted({point for point in contact_point_ids if point is not None})
    found: dict[int, tuple[str, ...]] = {}
    for point, reference in conn.execute(_PATIENTS_OF, {"points": wanted}):
        found[point] = (*found.get(point, ()), reference)
    return found
