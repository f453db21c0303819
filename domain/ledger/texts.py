"""Template versions and their texts: immutable once recorded, released by two people, recalled for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    func,
    insert,
    select,
)

from domain.ledger.campaigns import campaign_template
from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.organisations import organisation
from domain.rules.templates import ANY_STEP, Template

template_version = Table(
    "template_version",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("key", String(96), nullable=False),
    Column("version", Integer, nullable=False),
    #: Of all its texts: the same key and version with other texts is refused.
    Column("checksum", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    #: Since when two people have released it; what the claim asks, and never more than its history says.
    Column("released_at", Instant),
    Column("recalled_at", Instant),
    UniqueConstraint("organisation_id", "key", "version"),
)

#: `segment` and `step_kind` empty, and step -1 = any; the most specific text wins.
template = Table(
    "template",
    metadata,
    id_column(),
    ref("template_version_id", "template_version"),
    Column("channel", String(16), nullable=False),
    Column("language", String(8), nullable=False),
    Column("segment", String(32), nullable=False, default=""),
    Column("step_kind", String(16), nullable=False, default=""),
    Column("step", Integer, nullable=False, default=ANY_STEP),
    #: Empty = all year; else it is said in this season of the campaign only.
    Column("season", String(64), nullable=False, default=""),
    #: Empty = it offers nothing; else the id of what it offers, and its worth.
    Column("incentive", String(64), nullable=False, default=""),
    Column("cents", Integer, nullable=False, default=0),
    Column("subject", String(200)),
    Column("body", Text, nullable=False),
    # by convention its name would be longer than PostgreSQL keeps
    UniqueConstraint(
        "template_version_id",
        "channel",
        "language",
        "segment",
        "step_kind",
        "step",
        "season",
        "incentive",
        name="uq_template_slot",
    ),
)

#: Append-only: who released or recalled a version, in which role, when, and by which lexicon it was found fit.
template_event = Table(
    "template_event",
    metadata,
    id_column(),
    ref("template_version_id", "template_version", index=True),
    Column("at", Instant, nullable=False),
    Column("what", String(16), nullable=False),
    Column("role", String(16)),
    Column("who", String(100), nullable=False),
    Column("why", String(500)),
    Column("checksum", String(64), nullable=False),
    Column("lexicon", String(16)),
    #: Of a recall: how many planned touches it stopped.
    Column("stopped", Integer),
)


class ChangedTextError(Exception):
    """A version of a template is recorded with other texts; versions are immutable."""

    def __init__(self, key: str, version: int) -> None:
        super().__init__(f"{key}@{version} is recorded with other texts: give what you changed a new version")


@dataclass(frozen=True, slots=True)
class VersionNews:
    """A template as its file tells it; without a `version` it gets the next one when its texts are new."""

    key: str
    version: int | None
    checksum: str
    texts: tuple[Template, ...]


def record(conn: Connection, organisation_id: int, news: VersionNews, now: datetime) -> int:
    """The id of this version, recorded with its texts unless it is already.

    Raises:
        ChangedTextError: it is recorded with other texts.
    """
    # two that record at once take turns
    conn.execute(select(organisation.c.id).where(organisation.c.id == organisation_id).with_for_update(key_share=True))
    ours = and_(template_version.c.organisation_id == organisation_id, template_version.c.key == news.key)
    same = template_version.c.checksum == news.checksum
    wanted = same if news.version is None else template_version.c.version == news.version
    found = conn.execute(
        select(template_version.c.id, template_version.c.checksum)
        .where(ours, wanted)
        .order_by(template_version.c.version.desc())
        .limit(1)
    ).one_or_none()
    if found is not None:
        if found.checksum != news.checksum:
            raise ChangedTextError(news.key, news.version or 0)
        return int(found.id)
    version = news.version or (conn.scalar(select(func.max(template_version.c.version)).where(ours)) or 0) + 1
    version_id: int = conn.scalars(
        insert(template_version)
        .values(
            organisation_id=organisation_id,
            key=news.key,
            version=version,
            checksum=news.checksum,
            recorded_at=now,
        )
        .returning(template_version.c.id)
    ).one()
    if news.texts:
        conn.execute(insert(template), [{"template_version_id": version_id, **_row(each)} for each in news.texts])
    return version_id


_COLUMNS = (
    "channel",
    "language",
    "segment",
    "step_kind",
    "step",
    "season",
    "incentive",
    "cents",
    "subject",
    "body",
)


def _row(text: Template) -> dict[str, Any]:
    return {name: getattr(text, name) for name in _COLUMNS}


def read(conn: Connection, template_id: int) -> Template:
    """One text."""
    return _text(conn.execute(select(template).where(template.c.id == template_id)).mappings().one())


def ids_of(conn: Connection, version_id: int) -> set[int]:
    """The ids of a version's texts."""
    return set(conn.scalars(select(template.c.id).where(template.c.template_version_id == version_id)))


def texts_of(conn: Connection, version_id: int) -> list[Template]:
    """The texts of a version."""
    rows = conn.execute(select(template).where(template.c.template_version_id == version_id).order_by(template.c.id))
    return [_text(row) for row in rows.mappings()]


def _text(row: Mapping[Any, Any]) -> Template:
    return Template(**{name: row[name] for name in _COLUMNS})


def versions_of(conn: Connection, campaign_id: int) -> Sequence[int]:
    """The template versions a campaign was started with."""
    return conn.scalars(
        select(campaign_template.c.template_version_id)
        .where(campaign_template.c.campaign_id == campaign_id)
        .order_by(campaign_template.c.id)
    ).all()
