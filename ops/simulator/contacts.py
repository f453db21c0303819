"""Whom a number or mailbox reaches, and in which zones their clocks may stand."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from ops.simulator.geography import zone_of_number
from ops.simulator.people import Person


class Contacts:
    """The patients behind every contact point, by the health system's own records."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._owners: dict[str, list[Person]] = {}
        self._zones: dict[str, ZoneInfo] = {}
        for person in people:
            for contact in (person.phone, person.email):
                if contact:
                    self._owners.setdefault(contact, []).append(person)

    def owners(self, contact: str) -> list[Person]:
        """The patients reached there, in order of registration; empty for a stranger's."""
        return self._owners.get(contact, [])

    def of(self, person: Person) -> list[str]:
        """The contact points of one patient."""
        return [contact for contact in (person.phone, person.email) if contact]

    def zones(self, contact: str) -> list[ZoneInfo]:
        """Every zone it may be read in: its owners' homes and, for a number, its area code's."""
        names = {person.home_zone for person in self.owners(contact)}
        if (zone := zone_of_number(contact)) is not None:
            names.add(zone)
        return [self._zone(name) for name in sorted(names)]

    def _zone(self, name: str) -> ZoneInfo:
        return self._zones.setdefault(name, ZoneInfo(name))
