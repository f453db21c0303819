"""Organisations and their sites: who reaches out, from where, under which thresholds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from sqlalchemy import Column, Connection, Integer, String, Table, UniqueConstraint, bindparam, delete, select

from domain.ledger import store
from domain.ledger.columns import Id, id_column, metadata, ref
from domain.rules.vocabulary import ServiceLine

organisation = Table(
    "organisation",
    metadata,
    id_column(),
    Column("key", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("phone", String(32), nullable=False),
    Column("postal_address", String(300), nullable=False),
)

site = Table(
    "site",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("key", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("state", String(8)),
    Column("booking_url", String(300)),
    Column("capacity_per_day", Integer, nullable=False, default=100),
    #: At most so many touches on one of its days, over all campaigns; null = no ceiling.
    Column("daily_touches", Integer),
    Column("weight", Integer, nullable=False, default=1),
    UniqueConstraint("organisation_id", "key"),
)

#: A line a site offers; `threshold_months` null means the default of the line.
site_line = Table(
    "site_line",
    metadata,
    id_column(),
    ref("site_id", "site"),
    Column("service_line", String(32), nullable=False),
    Column("threshold_months", Integer),
    UniqueConstraint("site_id", "service_line"),
)

_SITES: Final = (
    select(site.c.id, site.c.key, site.c.organisation_id, organisation.c.key.label("organisation_key"))
    .join(organisation, organisation.c.id == site.c.organisation_id)
    .where(organisation.c.id.in_(bindparam("ids", type_=Id, expanding=True)))
)
_THRESHOLDS: Final = select(site_line).where(site_line.c.threshold_months.is_not(None))


@dataclass(frozen=True, slots=True)
class OrganisationNews:
    """An organisation as its file describes it."""

    key: str
    name: str
    phone: str
    postal_address: str


@dataclass(frozen=True, slots=True)
class SiteNews:
    """A site as its organisation's file describes it; `thresholds` has every line it offers (None = the default)."""

    key: str
    name: str
    zone: str
    state: str | None = None
    booking_url: str | None = None
    capacity_per_day: int = 100
    daily_touches: int | None = None
    weight: int = 1
    thresholds: Mapping[ServiceLine, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upserted:
    """The organisation's id, its sites' ids by key, and the sites whose thresholds are no longer what they were."""

    organisation_id: int
    site_ids: Mapping[str, int]
    changed_sites: frozenset[int]


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What intake needs to know of a site."""

    id: int
    key: str
    organisation_id: int
    organisation_key: str


def upsert(conn: Connection, news: OrganisationNews, sites: Sequence[SiteNews]) -> Upserted:
    """Make the ledger agree with the file. Sites the file no longer lists stay: patients and visits belong to them."""
    _upsert(conn, organisation, [asdict(news)], ["key"])
    organisation_id = conn.execute(select(organisation.c.id).where(organisation.c.key == news.key)).scalar_one()
    rows = []
    for each in sites:
        row = {name: value for name, value in asdict(each).items() if name != "thresholds"}
        rows.append(row | {"organisation_id": organisation_id})
    _upsert(conn, site, rows, ["organisation_id", "key"])
    known = conn.execute(select(site.c.key, site.c.id).where(site.c.organisation_id == organisation_id))
    site_ids = {row.key: row.id for row in known}
    changed = _upsert_lines(conn, {site_ids[each.key]: each.thresholds for each in sites})
    return Upserted(organisation_id, site_ids, changed)


def sites_of(conn: Connection, organisation_ids: Collection[int]) -> dict[tuple[int, str], SiteFacts]:
    """Every site of these organisations, by organisation id and site key."""
    rows = conn.execute(_SITES, {"ids": list(organisation_ids)})
    return {(row.organisation_id, row.key): SiteFacts(*row) for row in rows}


def thresholds(conn: Connection) -> dict[tuple[int, str], int]:
    """Thresholds in months that differ from their line's default, by site id and line."""
    return {(row.site_id, row.service_line): row.threshold_months for row in conn.execute(_THRESHOLDS)}


def _upsert_lines(conn: Connection, wanted: Mapping[int, Mapping[ServiceLine, int | None]]) -> frozenset[int]:
    stored = conn.execute(select(site_line).where(site_line.c.site_id.in_(wanted))).all()
    before = {(row.site_id, row.service_line): row.threshold_months for row in stored}
    after = {(site_id, line.value): months for site_id, lines in wanted.items() for line, months in lines.items()}
    _upsert(
        conn,
        site_line,
        [{"site_id": key[0], "service_line": key[1], "threshold_months": months} for key, months in after.items()],
        ["site_id", "service_line"],
    )
    gone = [row.id for row in stored if (row.site_id, row.service_line) not in after]
    if gone:
        conn.execute(delete(site_line).where(site_line.c.id.in_(gone)))
    return frozenset(key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _upsert(conn: Connection, table: Table, rows: Sequence[Mapping[str, object]], key: Sequence[str]) -> None:
    if not rows:
        return
    statement = store.insert(conn, table)
    told = {name: statement.excluded[name] for name in rows[0] if name not in key}
    conn.execute(statement.on_conflict_do_update(index_elements=key, set_=told), list(rows))
