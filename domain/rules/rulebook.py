"""The rulebook: which rows of the rules are in force for an organisation and a state, and which of them decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from domain.rules.caps import Cap
from domain.rules.limits import AtMost, Covers, Holidays, Limit, Scope, Week, is_looser
from domain.rules.quiet_hours import END_OF_DAY, Hours, next_allowed

#: The jurisdiction of the whole country; that of a state is `us-` and its code.
COUNTRY = "us"

#: The row that says how far an opt-out without a scope reaches.
_SCOPE = "opting_out.scope"

#: Own reasons of the caps everybody knows; other rows of caps share one.
_CAP_REASONS = {"caps.person.day": "cap_day", "caps.person.week": "cap_week"}
_CONTACT_REASONS = {"caps.contact.day": "cap_contact_day", "caps.contact.week": "cap_contact_week"}
_ALWAYS = dict.fromkeys(range(7), (time.min, END_OF_DAY))
_NEVER = datetime.max.replace(tzinfo=UTC)


class Kind(StrEnum):
    """The tables: one per kind of rule."""

    OPTING_OUT = "opting_out"
    HOURS = "hours"
    CAPS = "caps"
    INCENTIVES = "incentives"
    RETENTION = "retention"
    HOUSE = "house"
    """What the system decides of itself, law or no law."""


class Basis(StrEnum):
    """Why a row is there."""

    LAW = "law"
    """Nobody may be laxer without acknowledging it."""
    POLICY = "policy"
    """A safe default, stricter than the law: an organisation may choose another within the law."""


class Per(StrEnum):
    """Whom a cap counts for."""

    PERSON = "person"
    CONTACT = "contact"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Override:
    """What an organisation put in a row's place; `acknowledged_by` is there where that is laxer than the law."""

    limit: Limit
    file: str
    reason: str | None = None
    acknowledged_by: str | None = None
    acknowledged_on: date | None = None
    is_looser: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One reviewed rule."""

    id: str
    kind: Kind
    jurisdiction: str
    basis: Basis
    says: str
    limit: Limit
    source: str
    checked_on: date | None
    """When somebody last read the source; None = recalled, not checked."""
    counsel: bool
    """To be verified by counsel."""
    built_in: bool = False
    """The code does exactly this; no file changes it."""
    enforced: bool = True
    """Whether the system acts on it; else it is there to be known."""
    per: Per = Per.BOTH
    override: Override | None = None

    @property
    def in_force(self) -> Limit:
        """What counts: the organisation's own limit, or the row's."""
        return self.limit if self.override is None else self.override.limit

    @property
    def state(self) -> str | None:
        """The state's code; None = the row is the whole country's."""
        return self.jurisdiction.removeprefix(f"{COUNTRY}-").upper() if self.jurisdiction != COUNTRY else None


@dataclass(frozen=True, slots=True)
class InForce:
    """What an organisation may send to somebody who may be in certain states: the strictest of all rows concerned."""

    hours: Hours
    week: Week
    """The same without the quiet days, to be read."""
    person_caps: tuple[Cap, ...]
    contact_caps: tuple[Cap, ...]
    _alone: tuple[tuple[int, str, Hours], ...] = field(repr=False)
    """(rank, row id, its hours) of each row of hours by itself; a state's row outranks the country's."""

    def deciding(self, now: datetime, zones: Collection[str]) -> str | None:
        """The row that keeps `now` quiet: of several the one that lets go last, then the state's; None = none does."""
        found = []
        for rank, row_id, hours in self._alone:
            opens = next_allowed(now, zones, hours)
            if opens != now:
                found.append((_NEVER if opens is None else opens, rank, row_id))
        return max(found)[2] if found else None


class Rulebook:
    """Every row, and every organisation's overrides."""

    def __init__(self, rows: Iterable[Row], overrides: Mapping[str | None, Mapping[str, Override]] | None = None):
        """`overrides`: organisation key -> row id -> override; the key None is for organisations without a file."""
        self._rows = tuple(rows)
        self._overrides = dict(overrides or {})
        self._in_force: dict[tuple[str | None, frozenset[str]], InForce] = {}
        every = [row for key in (None, *self._overrides) for row in self.rows(key)]
        self.longest_cap: timedelta = max(
            (row.in_force.window for row in every if isinstance(row.in_force, AtMost)), default=timedelta()
        )
        """No cap of anybody looks further back than this."""

    @property
    def organisations(self) -> list[str]:
        """Organisations with a file of their own."""
        return sorted(key for key in self._overrides if key is not None)

    def rows(
        self, organisation: str | None = None, *, kind: Kind | None = None, states: Collection[str] | None = None
    ) -> list[Row]:
        """The rows in force for an organisation, in the order of the tables.

        `states` keeps those of the country and of these states; None = every state's.
        """
        overrides = self._overrides.get(organisation, self._overrides.get(None, {}))
        return [
            replace(row, override=overrides.get(row.id))
            for row in self._rows
            if (kind is None or row.kind == kind) and (states is None or row.state is None or row.state in states)
        ]

    def in_force(self, organisation: str | None, states: Iterable[str] = ()) -> InForce:
        """What is in force there for somebody who may be in any of these states; made once for each combination."""
        key = (organisation, frozenset(states))
        found = self._in_force.get(key)
        if found is None:
            found = self._in_force[key] = _combine(self.rows(organisation, states=key[1]))
        return found

    def opting_out(self, organisation: str) -> Covers:
        """What an agreed word such as STOP, alone in a message, puts an end to there."""
        limits = [row.in_force for row in self.rows(organisation, kind=Kind.OPTING_OUT) if row.id == _SCOPE]
        return next((limit.covers for limit in limits if isinstance(limit, Scope)), Covers.EVERYTHING)

    @property
    def declared(self) -> Mapping[str | None, Mapping[str, Limit]]:
        """Organisation (None = every other) -> row id -> the limit it put in the row's place."""
        return {
            key: {row_id: override.limit for row_id, override in own.items()} for key, own in self._overrides.items()
        }

    def loosened(self) -> list[tuple[str | None, Row]]:
        """Every acknowledged override that is laxer than the law, with its organisation (None = all others)."""
        return [
            (key, row)
            for key in self._overrides
            for row in self.rows(key)
            if row.override is not None and row.override.is_looser
        ]


def floor_of(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows of law that bound an override of `row`: itself, or for a policy the country's of the same kind."""
    if row.basis == Basis.LAW:
        return [row]
    return [
        each
        for each in rows
        if each.kind == row.kind
        and each.basis == Basis.LAW
        and each.jurisdiction == row.jurisdiction
        and type(each.limit) is type(row.limit)
    ]


def broken_floor(row: Row, limit: Limit, rows: Sequence[Row]) -> Row | None:
    """The row of law that `limit`, in place of `row`, would be laxer than; None = it keeps to the law."""
    return next((each for each in floor_of(row, rows) if is_looser(limit, each.limit)), None)


def _combine(rows: Sequence[Row]) -> InForce:
    weeks = [(row, limit) for row in rows if isinstance(limit := row.in_force, Week)]
    holidays = [(row, limit.days) for row in rows if isinstance(limit := row.in_force, Holidays)]
    windows, closed_by = _strictest(weeks)
    alone = [(_rank(row), row.id, Hours(limit.windows)) for row, limit in weeks]
    alone += [(_rank(row), row.id, Hours(_ALWAYS, (days,))) for row, days in holidays]
    caps = [(row, limit) for row in rows if row.kind == Kind.CAPS and isinstance(limit := row.in_force, AtMost)]
    return InForce(
        hours=Hours(windows, tuple(days for _, days in holidays), closed_by),
        week=Week(windows),
        person_caps=_caps(caps, Per.PERSON, _CAP_REASONS, "cap_rule"),
        contact_caps=_caps(caps, Per.CONTACT, _CONTACT_REASONS, "cap_contact_rule"),
        _alone=tuple(alone),
    )


def _strictest(weeks: Sequence[tuple[Row, Week]]) -> tuple[dict[int, tuple[time, time]], dict[int, str]]:
    """Weekday by weekday the latest opening and the earliest closing, and whose that closing is."""
    windows, closed_by = {}, {}
    for day in range(7):
        theirs = [(row, limit.windows.get(day)) for row, limit in weeks]
        spans = [span for _, span in theirs if span is not None]
        if not spans or len(spans) < len(theirs):
            continue
        opens, closes = max(span[0] for span in spans), min(span[1] for span in spans)
        if opens < closes:
            windows[day] = (opens, closes)
            closed_by[day] = max((_rank(row), row.id) for row, span in theirs if span and span[1] == closes)[1]
    return windows, closed_by


def _rank(row: Row) -> int:
    return (2 if row.state is not None else 0) + (row.basis == Basis.POLICY)


def _caps(rows: Sequence[tuple[Row, AtMost]], per: Per, reasons: Mapping[str, str], other: str) -> tuple[Cap, ...]:
    return tuple(
        Cap(reasons.get(row.id, other), limit.count, limit.window, row.id)
        for row, limit in rows
        if row.per in {per, Per.BOTH}
    )
