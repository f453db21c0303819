"""Who the patients are: names, homes, numbers, mailboxes, languages, households and record numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ops.simulator.draws import Draws
from ops.simulator.geography import AREA_CODES, PLACES, Place, fictional_number
from ops.simulator.names import FAMILY, GIVEN, LANGUAGES
from ops.simulator.sites import Site

#: Shares of the population.
HOUSEHOLD = 0.08
KEPT_OLD_NUMBER = 0.04
MOVED_AWAY = 0.02
TWO_REGISTRATIONS = 0.03
DECEASED = 0.006
HAS_PHONE = 0.93
HAS_EMAIL = 0.80
PREFERS = (("sms", 0.20), ("email", 0.12), (None, 0.68))


@dataclass(frozen=True, slots=True)
class Person:
    """One patient as the health system knows them. `registrations` are (site key, record number), home site first."""

    key: str
    given: str
    family: str
    sex: str
    birth_date: date
    language: str
    home: Place
    registrations: tuple[tuple[str, str], ...]
    phone: str | None
    email: str | None
    prefers: str | None
    deceased_on: date | None

    @property
    def home_zone(self) -> str:
        """IANA zone of the home address."""
        return self.home.zone

    @property
    def site(self) -> str:
        """Key of the home site."""
        return self.registrations[0][0]

    def mrn_at(self, site: str) -> str:
        """Record number at a site where the patient is registered."""
        return dict(self.registrations)[site]


def make_people(draws: Draws, sites: Sequence[Site], count: int, start: date) -> list[Person]:
    """The population in order of registration; some share the household of the person before them."""
    numbers = _Numbers()
    people: list[Person] = []
    for number in range(count):
        key = f"p{number + 1:06d}"
        person = _alone(draws, key, number, sites, start)
        if people and draws.happens(HOUSEHOLD, "household", key):
            person = _join(draws, person, people[-1])
        elif person.phone is not None:
            person = replace(person, phone=numbers.take(draws, person))
        people.append(person)
    return people


class _Numbers:
    """Hands out the numbers reserved for fiction, each once; when all are used up a patient has no phone."""

    def __init__(self) -> None:
        self._taken = dict.fromkeys(AREA_CODES, 0)

    def take(self, draws: Draws, person: Person) -> str | None:
        zone = person.home_zone
        others = sorted(set(AREA_CODES) - {zone})
        if draws.happens(KEPT_OLD_NUMBER, "old number", person.key):
            zone = draws.pick(others, "old number zone", person.key)
        # most numbers left first, so that a full zone borrows where borrowing hurts least
        by_supply = sorted(others, key=lambda other: -(100 * len(AREA_CODES[other]) - self._taken[other]))
        for candidate in (zone, *by_supply):
            number = fictional_number(candidate, self._taken[candidate])
            if number is not None:
                self._taken[candidate] += 1
                return number
        return None


def _alone(draws: Draws, key: str, number: int, sites: Sequence[Site], start: date) -> Person:
    site = draws.weighted([(site, float(site.weight)) for site in sites], "site", key)
    sex = draws.pick(("F", "M"), "sex", key)
    given, family = draws.pick(GIVEN[sex], "given", key), draws.pick(FAMILY, "family", key)
    has_email = draws.happens(HAS_EMAIL, "has email", key)
    return Person(
        key=key,
        given=given,
        family=family,
        sex=sex,
        birth_date=start - timedelta(days=draws.whole(19 * 365, 91 * 365, "age", key)),
        language=draws.weighted(LANGUAGES, "language", key),
        home=_home(draws, key, site),
        registrations=_registrations(draws, key, number, site, sites),
        phone="" if draws.happens(HAS_PHONE, "has phone", key) else None,  # the number itself is handed out later
        email=_mailbox(draws, key, given, family, number) if has_email else None,
        prefers=draws.weighted(PREFERS, "prefers", key),
        deceased_on=_death(draws, key, start),
    )


def _join(draws: Draws, person: Person, head: Person) -> Person:
    """The same home, number and usually name and mailbox as the person before."""
    same_mail = head.email is not None and draws.happens(0.6, "shared mail", person.key)
    return replace(
        person,
        family=head.family if draws.happens(0.8, "shared name", person.key) else person.family,
        language=head.language,
        home=head.home,
        registrations=((head.site, person.registrations[0][1]),),
        phone=head.phone,
        email=head.email if same_mail else person.email,
    )


def _home(draws: Draws, key: str, site: Site) -> Place:
    if draws.happens(MOVED_AWAY, "moved away", key):
        return draws.pick([place for place in PLACES if place.zone != site.zone], "moved to", key)
    return site.place


def _registrations(
    draws: Draws, key: str, number: int, site: Site, sites: Sequence[Site]
) -> tuple[tuple[str, str], ...]:
    own = (site.key, f"MRN{100_000 + number}")
    others = [other for other in sites if other is not site]
    if others and draws.happens(TWO_REGISTRATIONS, "second record", key):
        return own, (draws.pick(others, "second site", key).key, f"MRN{500_000 + number}")
    return (own,)


def _mailbox(draws: Draws, key: str, given: str, family: str, number: int) -> str:
    host = draws.pick(("example.com", "example.org"), "mail host", key)
    return f"{given}.{family}.{number + 1}@{host}".lower()


def _death(draws: Draws, key: str, start: date) -> date | None:
    if not draws.happens(DECEASED, "deceased", key):
        return None
    return start - timedelta(days=draws.whole(20, 900, "died", key))
