"""The sites of the synthetic health system: where they are, what they offer, and how they export their records."""

from __future__ import annotations

from dataclasses import dataclass

from domain.rules.vocabulary import ServiceLine
from ops.simulator import geography
from ops.simulator.geography import Place

ORGANISATION_KEY = "northstar"
ORGANISATION_NAME = "Northstar Health"
ORGANISATION_PHONE = "+12125550199"
ORGANISATION_ADDRESS = "100 Example Street, New York, NY 10001"

ALL_LINES = (ServiceLine.PRIMARY, ServiceLine.DENTAL, ServiceLine.CHRONIC)


@dataclass(frozen=True, slots=True)
class Site:
    """One site. `weight` is its share of the patients; `export` is `fhir` or `csv`."""

    key: str
    name: str
    place: Place
    weight: int
    export: str = "fhir"

    @property
    def zone(self) -> str:
        """Its IANA zone."""
        return self.place.zone

    @property
    def booking_url(self) -> str:
        """Where its patients book for themselves."""
        return f"https://book.example.org/{self.key}"


#: The first four already span four zones; Phoenix is small because Arizona has five area codes.
_SITES = (
    Site("harbor", "Harbor Point", geography.NEW_YORK_CITY, 24),
    Site("lakeshore", "Lakeshore", geography.CHICAGO_CITY, 20),
    Site("mesa", "Desert Mesa", geography.PHOENIX_CITY, 7),
    Site("bayview", "Bayview", geography.LOS_ANGELES_CITY, 18, export="csv"),
    Site("commonwealth", "Commonwealth", geography.BOSTON, 18),
    Site("prairie", "Prairie", geography.MINNEAPOLIS, 13),
    Site("foothills", "Foothills", geography.DENVER_CITY, 10),
)

MOST_SITES = 28


def make_sites(count: int) -> tuple[Site, ...]:
    """The first `count` sites; beyond the named ones, second and third houses of the same.

    Raises:
        ValueError: fewer than one or more than MOST_SITES.
    """
    if not 1 <= count <= MOST_SITES:
        raise ValueError(f"sites: expected 1 to {MOST_SITES}, got {count}")
    made = []
    for number in range(count):
        house, which = divmod(number, len(_SITES))
        base = _SITES[which]
        key, name = (base.key, base.name) if house == 0 else (f"{base.key}-{house + 1}", f"{base.name} {house + 1}")
        made.append(Site(key, name, base.place, base.weight, base.export))
    return tuple(made)
