"""One field of a CSV row by its mapping: taken from columns, translated, and read as what it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import Final

from producers.importing.dates import date_of, instant_of
from producers.importing.mapping_file import FieldSpec
from producers.importing.organisation_file import IGNORE
from producers.importing.outcome import Unusable

Row = Sequence[str]

_YES: Final = frozenset({"true", "t", "yes", "y", "1"})
_NO: Final = frozenset({"false", "f", "no", "n", "0"})


class IgnoredRow(Exception):  # noqa: N818 (it is no error: the mapping says that the row is of no concern)
    """A value was translated to `ignore`."""


class Fields:
    """The fields of one file's rows; every getter returns None for an empty value or a field that is not mapped."""

    def __init__(self, specs: Mapping[str, FieldSpec], header: Sequence[str], zone: tzinfo) -> None:
        self._zone = zone
        self._specs = specs
        positions = {name: position for position, name in enumerate(header)}
        self._getters = {name: _getter(name, spec, positions) for name, spec in specs.items()}

    def text(self, row: Row, name: str) -> str | None:
        """The text, trimmed and translated.

        Raises:
            Unusable: the mapping lists values and this is none of them.
            IgnoredRow: it was translated to `ignore`.
        """
        getter = self._getters.get(name)
        return getter(row) if getter is not None else None

    def needed(self, row: Row, name: str) -> str:
        """The text. Raises Unusable where there is none."""
        return _there(name, self.text(row, name))

    def instant(self, row: Row, name: str) -> datetime | None:
        """The instant in UTC. Raises Unusable where it is not one."""
        written = self.text(row, name)
        if written is None:
            return None
        found = instant_of(written, self._zone, self._formats(name))
        if found is None:
            raise Unusable(name, "not a date or time as the mapping describes it")
        return found

    def day(self, row: Row, name: str) -> date | None:
        """The date. Raises Unusable where it is not one."""
        written = self.text(row, name)
        if written is None:
            return None
        found = date_of(written, self._formats(name))
        if found is None:
            raise Unusable(name, "not a date as the mapping describes it")
        return found

    def flag(self, row: Row, name: str) -> bool | None:
        """Yes or no. Raises Unusable where it is neither."""
        written = self.text(row, name)
        if written is None:
            return None
        if written.lower() in _YES | _NO:
            return written.lower() in _YES
        raise Unusable(name, "neither yes nor no")

    def number(self, row: Row, name: str) -> int | None:
        """A whole number. Raises Unusable where it is not one."""
        written = self.text(row, name)
        if written is None:
            return None
        if not written.isascii() or not written.isdigit() or len(written) > 9:
            raise Unusable(name, "not a whole number")
        return int(written)

    def _formats(self, name: str) -> Sequence[str]:
        return self._specs[name].formats or ()


def missing_columns(specs: Mapping[str, FieldSpec], header: Sequence[str]) -> list[tuple[str, str]]:
    """(field, column) pairs that the mapping wants and the header lacks."""
    return [(name, column) for name, spec in specs.items() for column in spec.needs() if column not in header]


def _there(name: str, value: str | None) -> str:
    if value is None:
        raise Unusable(name, "missing")
    return value


def _getter(name: str, spec: FieldSpec, positions: Mapping[str, int]) -> Callable[[Row], str | None]:
    if spec.constant is not None:
        constant = spec.constant
        return lambda _row: constant
    columns = [positions[column] for column in spec.needs()]
    if spec.columns is not None:
        return lambda row: _joined([row[column].strip() for column in columns])
    (column,) = columns
    if spec.values is None:
        return lambda row: row[column].strip() or None
    values, otherwise = spec.values, spec.otherwise
    return lambda row: _translated(name, row[column].strip(), values, otherwise)


def _joined(parts: Sequence[str]) -> str | None:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest() if any(parts) else None


def _translated(name: str, value: str, values: Mapping[str, str], otherwise: str | None) -> str | None:
    found = values.get(value, otherwise)
    if found is None:
        if value:
            raise Unusable(name, "a value the mapping does not list")
        return None
    if found == IGNORE:
        raise IgnoredRow
    return found
