"""The calendar of a campaign file: blackouts, seasons and benefit years, as people write them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from domain.rules.seasons import KNOWN, month_day
from domain.rules.vocabulary import Payer

#: A blackout is no longer: a campaign that is silent for months is better paused, or ends.
LONGEST_BLACKOUT = timedelta(days=31)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

#: Weeks before and after the reset of a benefit year that a season may have: never a whole year.
Weeks = Annotated[int, Field(ge=1, le=20)]


class BlackoutEntry(BaseModel):
    """Dates on which the campaign is silent; one is written as itself, a range as `{first: …, last: …}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: date
    last: date

    @model_validator(mode="before")
    @classmethod
    def _is_one_day(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        try:
            day = date.fromisoformat(str(value))
        except ValueError:
            raise ValueError("expected a date such as 2026-12-24, or {first: 2026-12-24, last: 2027-01-01}") from None
        return {"first": day, "last": day}

    @model_validator(mode="after")
    def _is_a_range(self) -> BlackoutEntry:
        if not timedelta() <= self.last - self.first < LONGEST_BLACKOUT:
            raise ValueError(f"must end on its first day or later, and within {LONGEST_BLACKOUT.days} days")
        return self


class SeasonEntry(BaseModel):
    """A season: days of every year, or weeks around the reset of a patient's benefit year.

    Written `{first: 09-01, last: 01-31}`, `oct` for a whole month, `{weeks_before_reset: 6}` or
    `{weeks_after_reset: 4}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str | None = None
    last: str | None = None
    weeks_before_reset: Weeks | None = None
    weeks_after_reset: Weeks | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_a_month(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        if str(value) not in _MONTHS:
            raise ValueError(f"expected a month ({', '.join(_MONTHS)}) or {{first: 09-01, last: 01-31}}")
        month = _MONTHS.index(str(value)) + 1
        # the last day that the month ever has
        last = (date(2024 + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
        return {"first": f"{month:02}-01", "last": f"{month:02}-{last}"}

    @field_validator("first", "last")
    @classmethod
    def _is_a_day(cls, text: str | None) -> str | None:
        if text is not None:
            month_day(text)
        return text

    @model_validator(mode="after")
    def _is_one_kind(self) -> SeasonEntry:
        days = (self.first is not None, self.last is not None)
        is_of_benefits = self.weeks_before_reset is not None or self.weeks_after_reset is not None
        if any(days) == is_of_benefits or any(days) != all(days):
            raise ValueError("wants first and last, or weeks_before_reset, or weeks_after_reset")
        return self

    @property
    def is_of_benefits(self) -> bool:
        """Whether it follows each patient's benefit year."""
        return self.first is None


class BenefitYearEntry(BaseModel):
    """The month (1 to 12) with which the benefit year of a class of payer begins, where a patient's own is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    medicare: Annotated[int, Field(ge=1, le=12)] | None = None
    medicaid: Annotated[int, Field(ge=1, le=12)] | None = None
    other_federal: Annotated[int, Field(ge=1, le=12)] | None = None
    commercial: Annotated[int, Field(ge=1, le=12)] | None = None
    self_pay: Annotated[int, Field(ge=1, le=12)] | None = None

    def months(self) -> dict[str, int]:
        """Class of payer -> month."""
        return {payer.value: month for payer in Payer if (month := getattr(self, payer.value)) is not None}


def known(own: dict[str, SeasonEntry]) -> dict[str, SeasonEntry]:
    """A file's seasons, and those that everybody knows."""
    return {name: SeasonEntry.model_validate(dict(each)) for name, each in KNOWN.items()} | own
