"""Households: who is of one family as far as the ledger can tell, by the numbers and addresses people share.

Patients who may be reached at one contact point are of one household, and so are those whom a third joins. A contact
point that more than CROWD people share is a home's, a shelter's or a stopgap such as none@example.com: it joins nobody.
Who asked to be reached at a certain contact point and nowhere else shares that one only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from domain.ledger.among import among
from domain.ledger.patients import may_be_used, patient_contact
from domain.ledger.store import chunks

#: More people than this at one number or address are no family (rule `house.household`).
CROWD: Final = 8


class Households:
    """The households of some patients, each known by its smallest patient id."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        """`pairs` are people who share a contact point."""
        self._root: dict[int, int] = {}
        for one, other in pairs:
            first, second = sorted((self.of(one), self.of(other)))
            if first != second:
                self._root[second] = first
        self._members: defaultdict[int, set[int]] = defaultdict(set)
        for each in [*self._root, *self._root.values()]:
            self._members[self.of(each)].add(each)

    def of(self, patient_id: int) -> int:
        """The household's name; somebody alone is a household of one."""
        while patient_id in self._root:
            patient_id = self._root[patient_id]
        return patient_id

    def members(self, patient_id: int) -> set[int]:
        """Everybody in the patient's household."""
        return self._members.get(self.of(patient_id)) or {patient_id}

    @property
    def relatives(self) -> set[int]:
        """Everybody who is not alone."""
        return {each for members in self._members.values() for each in members}


def of(conn: Connection, patient_ids: Collection[int]) -> Households:
    """The households of these patients: from each to those who share with them, until nobody new is found."""
    pairs: set[tuple[int, int]] = set()
    known, new = set(patient_ids), set(patient_ids)
    while new:
        found = {(row[0], row[1]) for ids in chunks(sorted(new)) for row in conn.execute(_SHARING, {"ids": ids})}
        pairs |= found
        new = {other for _, other in found} - known
        known |= new
    return Households(pairs)


_link, _other, _crowd = patient_contact.alias("link"), patient_contact.alias("other"), patient_contact.alias("crowd")


def _sharing() -> Select[Any]:
    # looks no further than one too many: a stopgap may be shared by ten thousand
    one_too_many = (
        select(_crowd.c.id)
        .where(_crowd.c.contact_point_id == _link.c.contact_point_id, _crowd.c.detached_at.is_(None))
        .limit(1)
        .offset(CROWD)
        .scalar_subquery()
    )
    return (
        select(_link.c.patient_id, _other.c.patient_id)
        .join(_other, _other.c.contact_point_id == _link.c.contact_point_id)
        .where(
            among(_link.c.patient_id, "ids"),
            _other.c.patient_id != _link.c.patient_id,
            may_be_used(_link),
            may_be_used(_other),
            one_too_many.is_(None),
        )
    )


_SHARING: Final = _sharing()
