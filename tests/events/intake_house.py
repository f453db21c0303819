"""A house for the tests of the intake: a fresh ledger with one site, and the events that publishers send it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, Engine, func, insert, select

from domain.events.envelope import STRUCTURED
from domain.ledger.organisations import organisation, site, site_line
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.runtime.bus import BusMessage
from workers.intake import Intake

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
PREFIX = "org.reactivation."

PATIENT = {
    "site": "tucson",
    "mrn": "M-1",
    "name": {"given": "Ana", "family": "Example"},
    "contact_points": [{"system": "phone", "value": "+15205550123"}, {"system": "email", "value": "ana@example.com"}],
    "language": "es",
    "address": {"state": "AZ"},
    "version": 1,
}


class StoppedClock:
    """Shows `at` until told otherwise."""

    at = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class House:
    """An intake on a fresh ledger with one site, and what it hinted at."""

    intake: Intake
    engine: Engine
    clock: StoppedClock
    replies: list[int]
    receipts: list[int]

    def count(self, table: Any, *where: Any) -> int:
        with self.engine.connect() as conn:
            return conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

    def all(self, *columns: Any) -> list[Any]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(select(*columns).order_by(columns[0]))]


def settle(engine: Engine, number: int, key: str, town: str) -> None:
    """An organisation `key` with one site in Arizona, in `town`."""
    with engine.begin() as conn:
        conn.execute(
            insert(organisation).values(
                id=number,
                key=key,
                name=f"{key.title()} Health",
                phone=f"+155555501{number:02d}",
                postal_address="1 Example Way",
            )
        )
        open_site(conn, town, organisation_id=number)


def open_site(conn: Connection, town: str, *, organisation_id: int = 1) -> None:
    """One more site in Arizona, which offers primary care."""
    opened = insert(site).values(
        organisation_id=organisation_id, key=town, name=town.title(), zone="America/Phoenix", state="AZ"
    )
    number = conn.execute(opened.returning(site.c.id)).scalar_one()
    conn.execute(insert(site_line).values(site_id=number, service_line="primary_care"))


def house_on(engine: Engine, vault: Vault) -> House:
    """An intake whose one organisation is `ponderosa`, with a site in Tucson."""
    settle(engine, 1, "ponderosa", "tucson")
    replies: list[int] = []
    receipts: list[int] = []
    clock = StoppedClock()
    intake = Intake(engine, vault, clock, on_replies=replies.extend, on_receipts=receipts.extend)
    return House(intake, engine, clock, replies, receipts)


@pytest.fixture
def house(ledger: Engine, vault: Vault) -> House:
    """On each store."""
    return house_on(ledger, vault)


@pytest.fixture
def small_house(sqlite_url: str, vault: Vault) -> Iterator[House]:
    """On SQLite only: where the store makes no difference."""
    engine = open_ledger(sqlite_url)
    yield house_on(engine, vault)
    engine.dispose()


def appointment_data(number: str = "A-1", version: int = 1, **changes: Any) -> dict[str, Any]:
    """What an event says of an appointment of `PATIENT`."""
    return {
        "site": "tucson",
        "appointment_id": number,
        "version": version,
        "patient": {"mrn": "M-1", "site": "tucson"},
        "service_line": "primary_care",
        "starts_at": "2026-04-01T16:00:00Z",
    } | changes


def event(name: str, data: dict[str, Any], number: str | None = None, **attributes: Any) -> BusMessage:
    """A structured CloudEvent of the record system; `attributes` are changed or added."""
    document = {
        "specversion": "1.0",
        "id": number or f"{name}-{data.get('appointment_id', '')}-{data.get('version', '')}",
        "source": "urn:example:ehr",
        "type": PREFIX + name,
        "data": data,
    } | attributes
    return BusMessage(name, orjson.dumps(document), STRUCTURED)
