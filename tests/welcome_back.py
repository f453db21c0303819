"""Lakeside Health with a campaign running, and patients who have been away for thirteen months."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lakeside import NOW, news_of, take, visit_of
from rulebooks import STANDARD
from sqlalchemy import Engine, select, update

from domain.ledger import enrolling, reviews
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.outcomes import outcome
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.news import Contact
from domain.rules.vocabulary import AppointmentStatus, ContactSystem, Role
from producers.campaigns import start_campaign
from producers.scan import scan

SYSTEMS = {"sms": "phone", "email": "email"}
EXAMPLE = Path(__file__).parents[1] / "docs/examples/campaign.yaml"
REVIEWERS = {Role.MARKETING: "Maya Ortiz", Role.CLINICAL: "Sam Reed"}
AWAY = NOW - timedelta(days=400)


@dataclass
class Lakeside:
    """The organisation, told of day by day."""

    engine: Engine
    vault: Vault
    organisation: int
    people: int = 0

    def lapsed(self, count: int = 1, *, mail: bool = False, phone: bool = True, **more: Any) -> list[str]:
        """So many patients, each with a phone, whose last visit was 400 days ago; their record numbers."""
        numbers = [f"m{self.people + n}" for n in range(count)]
        news = []
        for number in numbers:
            nth = self.people = self.people + 1
            contacts = [Contact(ContactSystem.PHONE, f"+1{303 + nth // 100 * 417}55501{nth % 100:02}")] if phone else []
            contacts += [Contact(ContactSystem.EMAIL, f"p{nth}@example.com")] if mail else []
            news.append(news_of(self.organisation, number, AWAY, contacts=tuple(contacts), **more))
        take(self.engine, self.vault, *news, now=AWAY)
        take(self.engine, self.vault, *(visit_of(self.organisation, number, AWAY) for number in numbers), now=AWAY)
        return numbers

    def notice(self, now: datetime = NOW) -> list[int]:
        """Run the scan; the undecided lapses."""
        scan(self.engine, now)
        return [each["id"] for each in self.rows(lapse, decided_at=None)]

    def enrol(self, now: datetime = NOW, systems: Mapping[str, str] = SYSTEMS) -> dict[str, int]:
        """Scan, and decide about all lapses."""
        found = self.notice(now)
        with self.engine.begin() as conn:
            return dict(enrolling.enrol_lapses(conn, found, systems, STANDARD, now))

    def into(self, arm: str) -> None:
        """Put everybody enrolled so far into one arm, as the draw might have."""
        with self.engine.begin() as conn:
            conn.execute(update(enrolment).values(arm=arm))
            if arm == "holdout":
                conn.execute(touch.delete())

    def tell(
        self, number: str, starts_at: datetime, status: AppointmentStatus, now: datetime, source_id: str = "next"
    ) -> None:
        """News of an appointment."""
        news = visit_of(self.organisation, number, starts_at, status, told_at=now, source_id=f"{number}-{source_id}")
        take(self.engine, self.vault, news, now=now)

    def review(self, now: datetime) -> int:
        """One batch of reviews."""
        with self.engine.begin() as conn:
            return reviews.review(conn, SYSTEMS, STANDARD, now)

    def start(self, path: Path = EXAMPLE, now: datetime = NOW) -> bool:
        """Start a campaign file; whether it was new."""
        return start_campaign(self.engine, path, None, STANDARD, now, REVIEWERS)[1]

    def rows(self, table: Any, **where: Any) -> Sequence[Mapping[str, Any]]:
        """Rows in id order."""
        with reading(self.engine) as conn:
            wanted = [table.c[name] == value for name, value in where.items()]
            return conn.execute(select(table).where(*wanted).order_by(table.c.id)).mappings().all()

    def only(self, table: Any, **where: Any) -> Mapping[str, Any]:
        """The one row there is."""
        (row,) = self.rows(table, **where)
        return row

    def outcomes(self) -> list[tuple[int, str]]:
        """Enrolment and kind of every outcome."""
        return [(each["enrolment_id"], each["kind"]) for each in self.rows(outcome)]

    def change(self, **values: Any) -> None:
        """Change every patient."""
        with self.engine.begin() as conn:
            conn.execute(update(patient).values(**values))
