"""Incentives offered: what each patient was offered in a calendar year, and which offers a claim must withhold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    case,
    or_,
    select,
)

from domain.ledger import store
from domain.ledger.among import among
from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.touches import tell
from domain.rules.incentives import is_federal, refusal
from domain.rules.quiet_hours import zone_info
from domain.rules.rulebook import Rulebook

#: One row for each thing offered in an enrolment and calendar year, however often the messages repeat it.
incentive_offer = Table(
    "incentive_offer",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("patient_id", "patient"),
    ref("enrolment_id", "enrolment"),
    Column("incentive", String(64), nullable=False),
    Column("cents", Integer, nullable=False),
    #: By the calendar where the patient is.
    Column("year", Integer, nullable=False),
    #: The payer was federal, or nobody knew it: the ceilings held.
    Column("is_federal", Boolean, nullable=False),
    Column("offered_at", Instant, nullable=False),
    #: Since when it counts for this patient, of whose records another was offered it; null = since it was offered.
    Column("carried_at", Instant),
    UniqueConstraint("enrolment_id", "incentive", "year"),
)
Index("ix_incentive_offer_patient", incentive_offer.c.patient_id, incentive_offer.c.year)

_OFFERED: Final = select(
    incentive_offer.c.patient_id,
    incentive_offer.c.enrolment_id,
    incentive_offer.c.incentive,
    incentive_offer.c.cents,
    incentive_offer.c.year,
).where(among(incentive_offer.c.patient_id, "patients"))

#: An offer of an enrolment in a year.
_Key = tuple[int, str, int]


class Offer(Protocol):
    """A text that offers something."""

    @property
    def incentive(self) -> str: ...
    @property
    def cents(self) -> int: ...


class Offers:
    """What the patients of a claim were offered, and may still be. Make it with the patients locked.

    Two claims of one patient take turns by that lock, and within a claim what is taken counts at once: together they
    cannot pass a ceiling.
    """

    def __init__(self, conn: Connection, rows: Sequence[Row[Any]], rules: Rulebook, now: datetime) -> None:
        self._conn, self._rules, self._now = conn, rules, now
        self._patients = sorted({row.patient_id for row in rows if row.patient_id is not None})
        self._is_read = False
        self._years: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._known: defaultdict[_Key, int] = defaultdict(int)
        self._taken: dict[int, dict[str, Any]] = {}
        self._withheld: dict[int, tuple[str, str]] = {}

    def allows(self, row: Row[Any], offer: Offer) -> bool:
        """Whether this touch may make this offer; why not is noted.

        What was offered before may be repeated where the ceilings would let it be offered now: what it is worth, and
        who pays, may have changed since.
        """
        self._read()
        if not is_federal(row.payer):
            return True
        year = self._year(row)
        besides = self._years[row.patient_id, year] - self._known[row.enrolment_id, offer.incentive, year]
        states = filter(None, [row.home_state])
        ceilings = self._rules.in_force(row.organisation_key, states).ceilings
        why = refusal(ceilings, offer.cents, besides)
        if why is not None:
            self._withheld[row.id] = why
        return why is None

    def take(self, row: Row[Any], offer: Offer) -> None:
        """Count the offer that this touch makes."""
        key = (row.enrolment_id, offer.incentive, self._year(row))
        self._withheld.pop(row.id, None)
        self._taken[row.id] = {
            "organisation_id": row.organisation_id,
            "patient_id": row.patient_id,
            "enrolment_id": row.enrolment_id,
            "incentive": offer.incentive,
            "cents": offer.cents,
            "year": key[2],
            "is_federal": is_federal(row.payer),
            "offered_at": self._now,
        }
        more = max(0, offer.cents - self._known[key])
        self._known[key] += more
        self._years[row.patient_id, key[2]] += more

    def write(self, conn: Connection, claimed: Collection[int]) -> None:
        """Keep what the touches that were claimed offer, and tell what was withheld from them."""
        taken = [self._taken[id_] for id_ in sorted(claimed) if id_ in self._taken]
        if taken:
            conn.execute(_keep(conn), taken)
        withheld = [(id_, *self._withheld[id_]) for id_ in sorted(claimed) if id_ in self._withheld]
        tell(
            conn,
            [{"touch_id": id_, "what": "withheld", "reason": why, "rule": rule} for id_, why, rule in withheld],
            self._now,
        )

    def _read(self) -> None:
        """Once, and only where there is anything to offer: most claims have nothing."""
        if self._is_read:
            return
        self._is_read = True
        for each in self._conn.execute(_OFFERED, {"patients": self._patients}):
            self._years[each.patient_id, each.year] += each.cents
            self._known[each.enrolment_id, each.incentive, each.year] += each.cents

    def _year(self, row: Row[Any]) -> int:
        return self._now.astimezone(zone_info(row.zone)).year


def _keep(conn: Connection) -> Any:
    """Keep an offer; of one made before, the most that it was worth, and whether the ceilings ever held."""
    statement = store.insert(conn, incentive_offer)
    before, now = incentive_offer.c, statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["enrolment_id", "incentive", "year"],
        set_={
            "cents": case((now.cents > before.cents, now.cents), else_=before.cents),
            "is_federal": or_(before.is_federal, now.is_federal),
        },
    )


def offered(conn: Connection, patients: Collection[int]) -> Mapping[tuple[int, int], int]:
    """Patient and calendar year -> cents offered."""
    found: defaultdict[tuple[int, int], int] = defaultdict(int)
    for each in conn.execute(_OFFERED, {"patients": sorted(patients)}):
        found[each.patient_id, each.year] += each.cents
    return found
