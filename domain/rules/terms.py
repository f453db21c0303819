"""Terms: what a campaign promises of its touches beside their dates, as a claim reads it from one column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from domain.rules import cadence, seasons
from domain.rules.cadence import Cadence
from domain.rules.seasons import Season

_FIELDS = (
    "cadence",
    "channels",
    "send_at",
    "graduate_after_days",
    "reminder",
    "graduation",
    "high_risk",
    "seasons",
    "benefit_year",
    "enrol_in",
)


@dataclass(frozen=True, slots=True)
class Terms:
    """The cadence, and the times of the year that matter to a campaign."""

    cadence: Cadence | None = None
    """None: of a campaign that was not started from a file."""
    seasons: tuple[Season, ...] = ()
    enrol_in: tuple[str, ...] = ()
    """It enrols in these seasons only; none: always."""
    resets: tuple[tuple[str, int], ...] = ()
    """Class of payer -> the month with which its benefit year begins."""

    def open_on(self, day: date, *, payer: str | None, benefit_month: int | None) -> frozenset[str]:
        """The names of its seasons that `day` is in for such a patient.

        The patient's own month (1 to 12) goes before that of their class of payer; without either, nobody knows their
        benefit year.
        """
        return seasons.open_on(self.seasons, day, benefit_month or dict(self.resets).get(payer or ""))

    def enrols_on(self, day: date, *, payer: str | None, benefit_month: int | None) -> bool:
        """Whether it enrols such a patient on this day."""
        if not self.enrol_in:
            return True
        return not self.open_on(day, payer=payer, benefit_month=benefit_month).isdisjoint(self.enrol_in)


#: Of a campaign that says nothing of the kind.
NO_TERMS = Terms()


def as_text(definition: Mapping[str, Any]) -> str:
    """What the ledger keeps where a claim reads it."""
    return json.dumps({name: definition[name] for name in _FIELDS if name in definition}, sort_keys=True)


@lru_cache(maxsize=1024)
def from_text(text: str | None) -> Terms:
    """What `as_text` wrote."""
    return NO_TERMS if text is None else from_definition(json.loads(text))


def from_definition(definition: Mapping[str, Any]) -> Terms:
    """The terms of a campaign's stored definition."""
    return Terms(
        cadence=cadence.from_definition(definition),
        seasons=seasons.from_entries(definition.get("seasons") or {}),
        enrol_in=tuple(definition.get("enrol_in") or ()),
        resets=tuple(sorted((definition.get("benefit_year") or {}).items())),
    )
