"""What providers hand in: the tables of replies of patients, and of receipts of what we sent. The row is the work."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, LargeBinary, String, Table, UniqueConstraint, literal

from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.rules.vocabulary import Intent

reply = Table(
    "reply",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("channel", String(16), nullable=False),
    Column("provider_id", String(128), nullable=False),
    #: Whose number received it, so that the answer comes from there; null where a gateway told of it.
    Column("provider", String(32)),
    ref("contact_point_id", "contact_point", nullable=True),
    #: Encrypted; read only by the replies worker and, deliberately, by a person at the inbox.
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    #: Set in the storing transaction for keywords and opt-outs, else by the replies worker.
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
#: Somebody may be in danger. No intent but a machine's doing takes precedence, so no emergency has another.
IS_URGENT: Final = reply.c.intent == Intent.EMERGENCY.value
