"""The people of a campaign of faults: who they are, and the events by which a record system tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import pika

from ops.runtime.amqp import BrokerUnavailable, close_quietly, connect, read_url
from ops.runtime.bus_contract import EXCHANGE
from ops.simulator.draws import Draws
from ops.simulator.geography import CHICAGO, DENVER_CITY, NEW_YORK, fictional_number
from ops.simulator.news import STRUCTURED, News
from ops.simulator.people import Person

ORGANISATION = """\
organisation:
  key: northstar
  name: Northstar Health
  phone: +1 212 555 0199
  postal_address: "100 Example Street, New York, NY 10001"
sites:
  - {key: foothills, name: Foothills, zone: America/Denver, state: CO, lines: {primary_care: {}}}
  - {key: canyon, name: Canyon, zone: America/Denver, state: CO, lines: {primary_care: {}}}
"""

#: What differs from the campaign of the demonstration.
CAMPAIGN = {"cadence": "[0, 7, 14, 21]", "holdout": "0.05"}

_SITES = ("foothills", "canyon")
#: Every so manieth shares the phone of the one before, has no mailbox, or prefers mail.
_HOUSEHOLD, _PHONE_ONLY, _PREFERS_MAIL = 12, 9, 2
#: Every so manieth says a word by way of the organisation's own gateway.
_THANKFUL = 25
#: Days since the last visit.
_AWAY = 400


@dataclass
class Population:
    """Everybody so far; each cohort is told of on its first day."""

    seed: int
    people: list[Person] = field(default_factory=list)

    def cohort(self, size: int) -> list[Person]:
        """So many new people."""
        draws = Draws(self.seed)
        new = [self._person(draws, len(self.people) + nth) for nth in range(size)]
        for nth, person in enumerate(new[1:], 1):
            if draws.whole(1, _HOUSEHOLD, "household", person.key) == 1:
                new[nth] = _at_home_of(person, new[nth - 1])
        self.people += new
        return new

    @staticmethod
    def _person(draws: Draws, nth: int) -> Person:
        key = f"f{nth + 1:06d}"
        zone, line = (NEW_YORK, nth // 2) if nth % 2 else (CHICAGO, nth // 2)
        has_mail = draws.whole(1, _PHONE_ONLY, "phone only", key) > 1
        return Person(
            key=key,
            given=f"Given{nth}",
            family=f"Family{nth}",
            sex="female",
            birth_date=date(1970, 1, 1) + timedelta(days=nth % 9000),
            language="en",
            home=DENVER_CITY,
            registrations=((_SITES[nth % len(_SITES)], f"MRN{nth:06d}"),),
            phone=fictional_number(zone, line),
            email=f"{key}@example.com" if has_mail else None,
            prefers="email" if has_mail and draws.whole(1, _PREFERS_MAIL, "prefers", key) == 1 else "sms",
            deceased_on=None,
        )


def news_of(people: Sequence[Person], now: datetime) -> list[News]:
    """Each is registered, and was last seen long ago; some say a word."""
    told = [each for person in people for each in _news(person, now)]
    return told + [thanks_of(person, now) for person in people[::_THANKFUL] if person.phone]


def thanks_of(person: Person, now: datetime) -> News:
    """A word by way of a gateway of the organisation, which asks for no answer."""
    sender = {"system": "phone", "value": person.phone}
    data = {"channel": "sms", "provider_id": f"{person.key}-thanks", "sender": sender, "text": "thanks!"}
    return News("reply.received", f"{person.key}-thanks", now, person.key, data)


def publish(url: str, news: Sequence[News]) -> None:
    """Publish with confirms, as any record system does.

    Raises:
        BrokerUnavailable: not all of it was confirmed; publish all of it again.
    """
    connection = connect(read_url(url))
    try:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        channel.confirm_delivery()
        for each in news:
            properties = pika.BasicProperties(content_type=STRUCTURED, delivery_mode=2)
            channel.basic_publish(EXCHANGE, each.name, each.structured(), properties)
    except (pika.exceptions.AMQPError, OSError) as error:
        raise BrokerUnavailable(type(error).__name__) from None
    finally:
        close_quietly(connection)


def _news(person: Person, now: datetime) -> list[News]:
    site, mrn = person.registrations[0]
    version = int(now.timestamp() * 1_000_000)
    points = [{"system": "phone", "value": person.phone, "use": "mobile"}] if person.phone else []
    points += [{"system": "email", "value": person.email}] if person.email else []
    registered = {
        "site": site,
        "mrn": mrn,
        "version": version,
        "name": {"given": person.given, "family": person.family},
        "birth_date": person.birth_date.isoformat(),
        "contact_points": points,
        "language": person.language,
        "address": {"zone": person.home.zone, "state": person.home.state},
        "preferences": {"channel": person.prefers},
    }
    visit = {
        "site": site,
        "appointment_id": f"{person.key}-visit",
        "patient": {"site": site, "mrn": mrn},
        "service_line": "primary_care",
        "starts_at": (now - timedelta(days=_AWAY)).isoformat(),
        "version": version,
    }
    return [
        News("patient.registered", f"{person.key}-registered", now, person.key, registered),
        News("appointment.fulfilled", f"{person.key}-fulfilled", now, person.key, visit),
    ]


def _at_home_of(person: Person, other: Person) -> Person:
    return replace(person, phone=other.phone)
