"""The file of open slots: a CSV with a row for each site, line and week; one mistake, and none of it is used."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, TextIO

from domain.ledger.slots import SlotNews, monday
from domain.rules.vocabulary import ServiceLine
from ops.runtime.yamlfile import FileProblems, Problem

COLUMNS: Final = ("site", "service_line", "week", "open")

#: More in a week is a wrong column.
_MOST: Final = 100_000


def read_slots(path: Path, text: TextIO | Iterable[str], sites: Mapping[str, int]) -> list[SlotNews]:
    """What the file tells; `sites` are the organisation's, by key. `week` is any day of it.

    Raises:
        FileProblems: every problem with its line, column and reason; then nothing of the file is to be used.
    """
    reader = csv.DictReader(text)
    problems: list[Problem] = []
    told: dict[tuple[int, str, date], tuple[int, SlotNews]] = {}
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            expected = f"required, but not there; expected the columns {', '.join(COLUMNS)}"
            raise FileProblems(path, [Problem(1, name, expected) for name in missing])
        for row in reader:
            found, wrong = _read(row, sites)
            problems += (Problem(reader.line_num, column, reason) for column, reason in wrong)
            if found is None:
                continue
            key = (found.site_id, found.service_line, found.week)
            if key in told:
                reason = f"the same site, line and week as line {told[key][0]}: which of them counts?"
                problems.append(Problem(reader.line_num, "week", reason))
            told.setdefault(key, (reader.line_num, found))
    except csv.Error as error:
        problems.append(Problem(reader.line_num, "row", f"not CSV: {error}"))
    if problems:
        raise FileProblems(path, problems)
    return [news for _, news in told.values()]


def _read(row: Mapping[Any, Any], sites: Mapping[str, int]) -> tuple[SlotNews | None, list[tuple[str, str]]]:
    if None in row:
        return None, [("row", "more fields than the header has")]
    values = {name: (row[name] or "").strip() for name in COLUMNS}
    wrong = list(_wrong(values, sites))
    if wrong:
        return None, wrong
    week = monday(date.fromisoformat(values["week"]))
    return SlotNews(sites[values["site"]], values["service_line"], week, int(values["open"])), []


def _wrong(values: Mapping[str, str], sites: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    if values["site"] not in sites:
        yield "site", f"no such site (there are: {', '.join(sorted(sites))})"
    if values["service_line"] not in set(ServiceLine):
        yield "service_line", f"expected one of {', '.join(ServiceLine)}"
    if not _is_date(values["week"]):
        yield "week", "expected a date of the week such as 2026-12-07"
    if not (values["open"].isascii() and values["open"].isdigit() and int(values["open"]) <= _MOST):
        yield "open", f"expected a whole number from 0 to {_MOST}"


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
