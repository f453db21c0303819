"""Campaigns as loaded from files: immutable versions of their cadence, and the template versions they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)

from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.lapses import lapse
from domain.rules import blackouts, terms
from domain.rules.steps import from_entry
from domain.rules.vocabulary import TouchKind

campaign = Table(
    "campaign",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("key", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("definition", JSON, nullable=False),
    Column("holdout", Float, nullable=False),
    Column("started_at", Instant, nullable=False),
    #: Set when a newer version took over or the campaign ended; one running version per key.
    Column("ended_at", Instant),
    #: Its blackout dates once more, where a claim reads them cheaply.
    Column("blackout", String(2000)),
    #: And its ceiling of touches a day at each site.
    Column("daily_touches", Integer),
    #: And what it expects of a touch, if the open slots of a site pace it.
    Column("bookings_per_touch", Float),
    #: What else of its definition a claim asks (`domain.rules.terms`); null = nothing.
    Column("terms", Text),
    #: Since when every version of its key is paused: nothing of it goes out, nobody is enrolled.
    Column("paused_at", Instant),
    UniqueConstraint("organisation_id", "key", "version"),
)
_running = campaign.c.ended_at.is_(None)
Index(
    "uq_campaign_running",
    campaign.c.organisation_id,
    campaign.c.key,
    unique=True,
    sqlite_where=_running,
    postgresql_where=_running,
)

#: Append-only: who paused, resumed or stopped a campaign, when, and why.
campaign_event = Table(
    "campaign_event",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("campaign_key", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("what", String(16), nullable=False),
    Column("who", String(100), nullable=False),
    Column("why", String(500)),
    #: How many enrolments it concerned.
    Column("enrolments", Integer, nullable=False),
)
Index("ix_campaign_event_campaign", campaign_event.c.organisation_id, campaign_event.c.campaign_key)

step = Table(
    "step",
    metadata,
    id_column(),
    ref("campaign_id", "campaign"),
    Column("ordinal", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("offset_days", Integer, nullable=False),
    UniqueConstraint("campaign_id", "ordinal"),
)

campaign_template = Table(
    "campaign_template",
    metadata,
    id_column(),
    ref("campaign_id", "campaign"),
    ref("template_version_id", "template_version", index=True),
    UniqueConstraint("campaign_id", "template_version_id"),
)


#: Why a lapse was declined that a new version looks at again: it found no campaign, no room in one, or not its season.
_LOOKED_AT_AGAIN = ("no_campaign", "daily_limit", "no_open_slots", "open_slots_unknown", "out_of_season")


@dataclass(frozen=True, slots=True)
class Running:
    """A campaign version that enrols."""

    id: int
    organisation_id: int
    key: str
    version: int
    holdout: float
    definition: Mapping[str, Any]
    paused_at: datetime | None = None

    def wants(self, line: str, segment: str) -> bool:
        """Whether the audience includes this service line and segment."""
        audience = self.definition["audience"]
        return line in audience["service_lines"] and segment in audience["segments"]


def start(
    conn: Connection,
    organisation_id: int,
    definition: Mapping[str, Any],
    checksum: str,
    texts: Sequence[int],
    now: datetime,
) -> tuple[Running, bool]:
    """Run this definition, with these template versions, as the newest of its campaign; and whether it is new.

    The same definition again changes nothing. A changed one ends the version that ran: its enrolled patients finish
    theirs. Lapses that found no campaign, no room in one, or not its season, are looked at again. A version of a
    paused campaign begins paused.
    """
    key = definition["campaign"]
    current = next((each for each in running(conn) if (each.organisation_id, each.key) == (organisation_id, key)), None)
    if current is not None and _checksum(conn, current.id) == checksum:
        return current, False
    if current is not None:
        conn.execute(update(campaign).where(campaign.c.id == current.id).values(ended_at=now))
    newest = select(func.coalesce(func.max(campaign.c.version), 0)).where(
        campaign.c.organisation_id == organisation_id, campaign.c.key == key
    )
    version = (conn.scalar(newest) or 0) + 1
    paused_at = None if current is None else current.paused_at
    campaign_id = conn.scalars(
        insert(campaign)
        .values(
            organisation_id=organisation_id,
            key=key,
            version=version,
            checksum=checksum,
            definition=dict(definition),
            holdout=definition["holdout"],
            started_at=now,
            paused_at=paused_at,
            bookings_per_touch=(definition.get("pace") or {}).get("bookings_per_touch"),
            daily_touches=definition.get("daily_touches_per_site"),
            blackout=blackouts.from_entries(definition.get("blackout", ())).as_text(),
            terms=terms.as_text(definition),
        )
        .returning(campaign.c.id)
    ).one()
    _write_steps(conn, campaign_id, definition)
    if texts:
        conn.execute(
            insert(campaign_template), [{"campaign_id": campaign_id, "template_version_id": each} for each in texts]
        )
    conn.execute(
        update(lapse)
        .where(lapse.c.declined.in_(_LOOKED_AT_AGAIN), lapse.c.closed_at.is_(None))
        .values(decided_at=None, declined=None)
    )
    return Running(campaign_id, organisation_id, key, version, definition["holdout"], definition, paused_at), True


def running(conn: Connection, *, held: bool = False) -> list[Running]:
    """Every campaign version that enrols now, oldest first; if `held`, they neither pause nor end before we commit."""
    wanted = select(campaign).where(campaign.c.ended_at.is_(None)).order_by(campaign.c.id)
    rows = conn.execute(wanted.with_for_update(read=True) if held else wanted)
    return [_running_version(row) for row in rows]


def by_ids(conn: Connection, ids: Sequence[int]) -> dict[int, Running]:
    """These versions, running or not."""
    rows = conn.execute(select(campaign).where(campaign.c.id.in_(ids)))
    return {row.id: _running_version(row) for row in rows}


def keys(conn: Connection, organisation_id: int) -> list[str]:
    """What the organisation's campaigns are called, ended ones too, in order of the alphabet."""
    ours = select(campaign.c.key).where(campaign.c.organisation_id == organisation_id)
    return list(conn.scalars(ours.distinct().order_by(campaign.c.key)))


def _running_version(row: Row[Any]) -> Running:
    return Running(row.id, row.organisation_id, row.key, row.version, row.holdout, row.definition, row.paused_at)


def _checksum(conn: Connection, campaign_id: int) -> str | None:
    return conn.scalar(select(campaign.c.checksum).where(campaign.c.id == campaign_id))


def _write_steps(conn: Connection, campaign_id: int, definition: Mapping[str, Any]) -> None:
    conn.execute(
        insert(step),
        [
            {
                "campaign_id": campaign_id,
                "ordinal": ordinal,
                "kind": TouchKind.OUTREACH.value,
                "offset_days": from_entry(entry).day,
            }
            for ordinal, entry in enumerate(definition["cadence"])
        ],
    )
