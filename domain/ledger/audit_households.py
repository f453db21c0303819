"""Audit of households: whether a family was called more often than its ceiling, by the links the ledger has now.

It asks nobody whom the claim took for a family: it joins people by what they share, link by link, in the order in
which the links came, and counts the calls in the order in which they were made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.audit_terms import CapTerm
from domain.ledger.columns import Instant
from domain.ledger.patients import patient_contact
from domain.ledger.touches import touch
from domain.rules.vocabulary import AttemptState, TouchKind

AnyRow = Row[*tuple[Any, ...]]

#: So many at one contact point are surely a family. A crowd of nine makes none, and some may have left it since.
_SURELY_A_FAMILY = 6
#: A link is written with the instant at which its news was taken up; a claim sees it once that transaction is over.
_SEEN_AFTER = timedelta(minutes=10)
_REACHED = [AttemptState.SENDING.value, AttemptState.ACCEPTED.value, AttemptState.UNCERTAIN.value]
_called = func.coalesce(attempt.c.called_at, attempt.c.claimed_at, type_=Instant())

_sharers = (
    select(patient_contact.c.contact_point_id)
    .group_by(patient_contact.c.contact_point_id)
    .having(func.count().between(2, _SURELY_A_FAMILY))
)
_elsewhere = patient_contact.alias("elsewhere")
_LINKS = (
    select(patient_contact.c.contact_point_id, patient_contact.c.patient_id, patient_contact.c.since)
    .where(
        patient_contact.c.contact_point_id.in_(_sharers),
        patient_contact.c.detached_at.is_(None),
        or_(
            patient_contact.c.confidential_since.is_not(None),
            ~exists().where(
                _elsewhere.c.patient_id == patient_contact.c.patient_id, _elsewhere.c.confidential_since.is_not(None)
            ),
        ),
    )
    .order_by(patient_contact.c.since.asc().nulls_first(), patient_contact.c.id)
)


def beyond(conn: Connection, terms: Mapping[int, Sequence[CapTerm]]) -> dict[CapTerm, list[int]]:
    """Attempts beyond each term; `terms` by organisation id."""
    families = _Families(conn.execute(_LINKS).all())
    longest = max((term.window for each in terms.values() for term in each), default=timedelta())
    wrong: defaultdict[CapTerm, list[int]] = defaultdict(list)
    for row in conn.execute(_calls(), execution_options={"yield_per": 5_000}):
        families.grow(row.claimed_at - _SEEN_AFTER)
        before = families.calls_to(row.patient_id, row.at - longest)
        for term in terms.get(row.organisation_id, ()):
            if sum(at > row.at - term.window for at in before) >= term.back:
                wrong[term].append(row.id)
        before.append(row.at)
    return wrong


def _calls() -> Select[Any]:
    """The calls to everybody who shares something, first things first."""
    sharing = select(patient_contact.c.patient_id).where(patient_contact.c.contact_point_id.in_(_sharers))
    return (
        # of the touch: merging records later moves the attempt, and breaks no promise
        select(attempt.c.id, attempt.c.claimed_at, _called.label("at"), touch.c.patient_id, touch.c.organisation_id)
        .join(touch, touch.c.id == attempt.c.touch_id)
        .where(
            and_(attempt.c.state.in_(_REACHED), attempt.c.kind != TouchKind.ANSWER.value),
            touch.c.patient_id.in_(sharing),
        )
        .order_by(_called, attempt.c.id)
    )


class _Families:
    """People joined link by link, and when each family was called lately."""

    def __init__(self, links: Sequence[AnyRow]) -> None:
        self._ahead: Iterator[AnyRow] = iter(links)
        self._next = next(self._ahead, None)
        self._first_at: dict[int, int] = {}
        self._joined: dict[int, int] = {}
        self._calls: defaultdict[int, list[datetime]] = defaultdict(list)

    def grow(self, until: datetime) -> None:
        """Take in the links that were there by then."""
        while self._next is not None and (self._next.since is None or self._next.since <= until):
            first = self._first_at.setdefault(self._next.contact_point_id, self._next.patient_id)
            self._join(first, self._next.patient_id)
            self._next = next(self._ahead, None)

    def calls_to(self, patient_id: int, after: datetime) -> list[datetime]:
        """When the patient's family was called after an instant; whoever calls them again adds to it."""
        calls = self._calls[self._root(patient_id)]
        calls[:] = [at for at in calls if at > after]
        return calls

    def _join(self, one: int, other: int) -> None:
        kept, gone = self._root(one), self._root(other)
        if kept != gone:
            self._joined[gone] = kept
            self._calls[kept] += self._calls.pop(gone, [])

    def _root(self, patient_id: int) -> int:
        while patient_id in self._joined:
            patient_id = self._joined[patient_id]
        return patient_id
