"""Rule entries: how a row of a rule table, and what an organisation puts in its place, are written and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from domain.rules.limits import Amount, AtMost, Covers, Holidays, Limit, Scope, Week, Words, Years
from domain.rules.places import state_code
from domain.rules.quiet_days import DayRule, QuietDays, day_rule
from domain.rules.quiet_hours import END_OF_DAY
from domain.rules.rulebook import COUNTRY, Basis, Kind, Per, Row, broken_floor
from ops.runtime.yamlfile import repeated

#: Beside limits in words, what a kind of row may say.
_LIMITS: Mapping[Kind, tuple[type, ...]] = {
    Kind.OPTING_OUT: (Scope,),
    Kind.HOURS: (Week, Holidays),
    Kind.CAPS: (AtMost,),
    Kind.INCENTIVES: (Amount,),
    Kind.RETENTION: (Years,),
    Kind.HOUSE: (),
}
#: Runs of quiet days have an end: beyond it a search for the next allowed instant would find none.
_LONGEST_RUN = 31
_ANY_YEAR = range(2024, 2036)

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?[-–] ?(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
_Id = Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[a-z0-9-]+)+$", max_length=48)]


def _weekdays(text: object) -> tuple[int, ...]:
    first, _, last = str(text).partition("-")
    if first not in _WEEKDAYS or (last or first) not in _WEEKDAYS:
        raise ValueError(f"{text} is no weekday or range such as mon-sat")
    days = tuple(range(_WEEKDAYS.index(first), _WEEKDAYS.index(last or first) + 1))
    if not days:
        raise ValueError(f"{text} ends before it begins; the week runs from mon to sun")
    return days


def _span(text: object) -> tuple[time, time] | None:
    if text is None or text == "none":
        return None
    match = _SPAN.fullmatch(str(text))
    if match is None:
        raise ValueError("expected hours such as 09:00-20:00, or none")
    opens = time(int(match[1]), int(match[2]))
    closes = END_OF_DAY if match[3] is None else time(int(match[3]), int(match[4]))
    if closes <= opens:
        raise ValueError("closes before it opens; hours lie within one day")
    return opens, closes


def _day(text: object) -> DayRule:
    return day_rule(str(text))


def _scope(text: object) -> Covers:
    try:
        return Covers(str(text))
    except ValueError:
        raise ValueError(
            f"expected one of {', '.join(Covers)}; anything narrower, such as a channel, a campaign or a site, is "
            "refused: whoever says STOP gets neither calls nor texts any more, whichever it was said to and whatever "
            "it was about (47 CFR 64.1200(a)(10) and (a)(12))"
        ) from None


def _checked_on(text: object) -> object:
    return None if text == "recalled" else text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitEntry(_Part):
    """A limit as it is written: exactly one of its forms."""

    week: dict[Annotated[tuple[int, ...], PlainValidator(_weekdays)], Annotated[Any, PlainValidator(_span)]] | None = (
        None
    )
    quiet_days: dict[_Text, Annotated[DayRule, PlainValidator(_day)]] | None = None
    observed: bool = False
    at_most: Annotated[int, Field(ge=0, le=100)] | None = None
    hours: Annotated[int, Field(ge=1, le=28 * 24)] | None = None
    dollars: Annotated[int, Field(ge=0)] | None = None
    years: Annotated[int, Field(ge=0, le=100)] | None = None
    scope: Annotated[Covers, BeforeValidator(_scope)] | None = None
    words: _Text | None = None

    @field_validator("week")
    @classmethod
    def _has_every_day_once(cls, week: dict[tuple[int, ...], Any] | None) -> dict[tuple[int, ...], Any] | None:
        if week is not None and sorted(day for days in week for day in days) != list(range(7)):
            raise ValueError("every weekday must be there once: say `sun: none` of one that is quiet")
        return week

    @field_validator("quiet_days")
    @classmethod
    def _come_to_an_end(cls, days: dict[str, DayRule] | None) -> dict[str, DayRule] | None:
        quiet = QuietDays(tuple((days or {}).items()), observed=True)
        if max(quiet.longest_run(year) for year in _ANY_YEAR) > _LONGEST_RUN:
            raise ValueError(f"more than {_LONGEST_RUN} quiet days in a row: pause the channels instead")
        return days

    @model_validator(mode="after")
    def _is_one(self) -> LimitEntry:
        forms = ("week", "quiet_days", "at_most", "dollars", "years", "scope", "words")
        if sum(getattr(self, name) is not None for name in forms) != 1:
            raise ValueError(f"expected exactly one of {', '.join(forms)}")
        if (self.at_most is None) != (self.hours is None):
            raise ValueError("at_most and hours belong together")
        return self

    def limit(self) -> Limit:
        """As the rules see it."""
        if self.week is not None:
            return Week({day: span for days, span in self.week.items() if span is not None for day in days})
        if self.quiet_days is not None:
            return Holidays(QuietDays(tuple(self.quiet_days.items()), self.observed))
        if self.at_most is not None and self.hours is not None:
            return AtMost(self.at_most, timedelta(hours=self.hours))
        if self.dollars is not None:
            return Amount(self.dollars)
        if self.scope is not None:
            return Scope(self.scope)
        return Years(self.years) if self.years is not None else Words(self.words or "")


class RowEntry(_Part):
    """One row of a table."""

    id: _Id
    jurisdiction: str
    basis: Basis
    per: Per = Per.BOTH
    says: _Text
    limit: LimitEntry
    built_in: bool = False
    enforced: bool = True
    source: _Text
    checked_on: Annotated[date | None, BeforeValidator(_checked_on)]
    counsel_to_verify: bool

    @field_validator("jurisdiction")
    @classmethod
    def _is_known(cls, jurisdiction: str) -> str:
        state = jurisdiction.removeprefix(f"{COUNTRY}-")
        if jurisdiction != COUNTRY and (state == jurisdiction or state_code(state) != state.upper()):
            raise ValueError("expected us, or us- and a state's code such as us-fl")
        return jurisdiction

    def row(self, kind: Kind) -> Row:
        """As the rules see it."""
        return Row(
            id=self.id,
            kind=kind,
            jurisdiction=self.jurisdiction,
            basis=self.basis,
            says=self.says,
            limit=self.limit.limit(),
            source=self.source,
            checked_on=self.checked_on,
            counsel=self.counsel_to_verify,
            built_in=self.built_in,
            enforced=self.enforced,
            per=self.per,
        )


class TableFile(_Part):
    """One table."""

    kind: Kind
    rows: Annotated[list[RowEntry], Field(min_length=1)]

    @field_validator("rows")
    @classmethod
    def _fit_the_table(cls, rows: list[RowEntry], info: ValidationInfo) -> list[RowEntry]:
        kind, seen = info.data.get("kind"), set()
        for row in rows:
            if kind is not None and not row.id.startswith(f"{kind}."):
                raise ValueError(f"{row.id}: an id in this table begins with {kind}.")
            if kind is not None and not isinstance(row.limit.limit(), (Words, *_LIMITS[kind])):
                raise ValueError(f"{row.id}: no limit of this kind of table")
            if isinstance(row.limit.limit(), Words) and not row.built_in:
                raise ValueError(f"{row.id}: a limit in words must be built in: no file can change what it does")
            if row.id in seen:
                raise ValueError(f"{row.id}: repeated")
            seen.add(row.id)
        return rows


def _rows_of(info: ValidationInfo) -> tuple[Row, ...]:
    """The rows of the tables, against which a file is checked."""
    rows: Any = info.context
    return tuple(rows)


class OverrideEntry(_Part):
    """A row's replacement."""

    row: _Id
    acknowledged_by: _Text | None = None
    acknowledged_on: date | None = None
    reason: _Text | None = None
    limit: LimitEntry

    @field_validator("row")
    @classmethod
    def _can_be_changed(cls, row: str, info: ValidationInfo) -> str:
        known = {each.id: each for each in _rows_of(info)}
        if row not in known:
            raise ValueError(f"there is no rule {row}: `reactivate rules` lists them")
        if known[row].built_in:
            raise ValueError(f"{row} is built in: no file can change it")
        return row

    @field_validator("limit")
    @classmethod
    def _keeps_to_the_law(cls, entry: LimitEntry, info: ValidationInfo) -> LimitEntry:
        rows = _rows_of(info)
        row = next((each for each in rows if each.id == info.data.get("row")), None)
        if row is None:
            return entry
        limit = entry.limit()
        if type(limit) is not type(row.limit):
            raise ValueError(f"{row.id} has a limit of another form: {row.limit}")
        broken = broken_floor(row, limit, rows)
        missing = [name for name in ("acknowledged_by", "acknowledged_on", "reason") if not info.data.get(name)]
        if broken is not None and missing:
            raise ValueError(
                f"{limit} is laxer than the law ({broken.id}: {broken.limit}; {broken.source}): keep to it, or say who "
                f"answers for it: {', '.join(missing)}"
            )
        return entry


class OverridesFile(_Part):
    """What one organisation decided; without a key, all that have no file of their own."""

    organisation: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)] | None = None
    override: Annotated[list[OverrideEntry], Field(min_length=1)]

    @field_validator("override")
    @classmethod
    def _name_each_row_once(cls, entries: list[OverrideEntry]) -> list[OverrideEntry]:
        if twice := repeated([entry.row for entry in entries]):
            raise ValueError(f"named more than once: {', '.join(twice)}")
        return entries
