"""What one line of an import file comes to: news, nothing to do, or a reason why not."""

from __future__ import annotations

from dataclasses import dataclass

from domain.rules.news import AppointmentNews, GapNews, PatientNews

News = PatientNews | AppointmentNews | GapNews


@dataclass(frozen=True, slots=True)
class Read:
    """The line is news; `left_out` are (field, reason) pairs of what could not be used of it."""

    news: News
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """The line is understood and of no concern here."""


class Unusable(Exception):  # noqa: N818 (a fact about the line, told by its field and reason)
    """The line cannot be taken. Never holds the offending value."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


IGNORED = Ignored()
Outcome = Read | Ignored | Unusable
