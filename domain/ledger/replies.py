"""Replies of patients: stored as they come, each once, and read by rules; what none understands is for a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Row, String, bindparam, select

from domain.ledger import choices, senders, store
from domain.ledger.columns import Id, Instant
from domain.ledger.heeding import hand_over, heed
from domain.ledger.inbound import IS_NEW, reply
from domain.ledger.vault import Vault, VaultError
from domain.rules.replies.intent import Understood, understand
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Effect, Intent

_BODY: Final = "reply.body"
#: What waits for no worker, in whatever words it is said.
_AT_ONCE: Final = frozenset({Effect.OPT_OUT, Effect.URGENT})
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


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one inbound message."""

    reply_id: int | None
    """None: it had been stored before, and nothing changed."""
    channel: str
    intent: Intent | None = None
    """None: neither a keyword, an opt-out nor an emergency; the replies worker follows up."""
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
    received_at: datetime | None = None,
    organisation_id: int | None = None,
    answered_by_network: bool = False,
    provider: str | None = None,
    rules: Rulebook | None = None,
) -> Taken:
    """Store a reply, and let a keyword, or an opt-out or emergency in whatever words, take effect in this transaction.

    `channel` + `provider_id` identify a message: a repeat changes nothing. A stranger's message is kept too, and a
    stranger can opt out (the number may be imported tomorrow). `system` is the channel's ContactSystem;
    `organisation_id` is left out where the provider does not tell whose message it is. `received_at` (default: now) is
    earlier for a message that waited outside the ledger: the patient chose then. `answered_by_network`: the provider
    has answered this STOP, START or HELP itself, so that we must not. `provider`: whose number received it, if known;
    it answers. `rules`: see `heed`.
    """
    received_at = now if received_at is None else received_at
    if _is_stored(conn, channel, provider_id):
        return Taken(None, channel)
    found = understand(text)
    is_due = found.is_keyword or not _AT_ONCE.isdisjoint(found.effects)
    known_as = senders.known_as(system, sender)
    organisation_id, contact_point_id = senders.find(conn, vault, known_as, organisation_id)
    if is_due:
        if contact_point_id is None and known_as is not None and _may_ask(found):
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
            "provider": provider,
            "contact_point_id": contact_point_id,
            "body": vault.seal(text, _BODY),
            "received_at": received_at,
            "state": "new",
        },
    )
    if reply_id is None or not is_due:
        return Taken(reply_id, channel)
    answer_id = heed(
        conn,
        reply_id,
        organisation_id,
        contact_point_id,
        channel,
        found,
        received_at,
        now,
        rules=rules,
        answered_by_network=answered_by_network,
    )
    return Taken(reply_id, channel, found.intent, answer_id)


@cache
def _storing(dialect: str) -> Any:
    return store.insert_on(dialect, reply).on_conflict_do_nothing().returning(reply.c.id)


def read(conn: Connection, vault: Vault, reply_ids: Collection[int], now: datetime) -> list[Taken]:
    """Understand stored replies nobody handled yet; what no rule knows goes to a person and is told outside.

    However long a reply waited, the patient chose when it was received. Agreed words were heeded when they were stored:
    an opt-out that is read here was said in free words, and ends everything.
    """
    unread = {"ids": sorted(reply_ids)}
    points = {row.contact_point_id for row in conn.execute(_UNREAD, unread) if row.contact_point_id is not None}
    if points:
        choices.lock(conn, sorted(points))
    # read again under lock: of two workers with the same ids, the second finds nothing left to do
    understood: list[Taken] = []
    for row in conn.execute(_UNREAD_LOCKED, unread).all():
        found = _reread(vault, row)
        if found is None:
            hand_over(conn, row.id, Intent.OTHER, None, now)
            understood.append(Taken(row.id, row.channel, Intent.OTHER))
        else:
            answer_id = heed(
                conn, row.id, row.organisation_id, row.contact_point_id, row.channel, found, row.received_at, now
            )
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


def _may_ask(found: Understood) -> bool:
    """Whether a number nobody knows may ask for it: to be left alone, who we are, where help is to be had at once."""
    return found.intent is Intent.HELP or not _AT_ONCE.isdisjoint(found.effects)


def _reread(vault: Vault, row: Row[*tuple[Any, ...]]) -> Understood | None:
    try:
        return understand(open_body(vault, row.body))
    except VaultError:
        # its key is gone: a person must know that somebody wrote
        return None
