"""How patients take a message: whether they answer, with which words, after how long, and what they then do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from ops.simulator import texts
from ops.simulator.agenda import Agenda, Kind, next_slot
from ops.simulator.calls import Call, Caller
from ops.simulator.contacts import Contacts
from ops.simulator.diary import Diary
from ops.simulator.draws import Draws
from ops.simulator.lexicon import names
from ops.simulator.people import Person
from ops.simulator.provider_sms import SmsProvider
from ops.simulator.provider_smtp import Mail
from ops.simulator.witness import Witness


class Reaction(StrEnum):
    """What a patient does about one message."""

    BOOK = "book"
    RESCHEDULE = "reschedule"
    LINK = "link"
    STOP = "stop"
    REFUSE = "refuse"
    """In free words: a person must read it."""
    HELP = "help"
    OTHER = "other"
    DANGER = "danger"
    WRONG_NUMBER = "wrong_number"
    DIED = "died"
    UNSUBSCRIBE = "unsubscribe"


#: Chance per delivered message. Over a year's cadence some 11 % of those who would stay away book, which with
#: no-shows is a lift of six to nine points, as in published trials (J Hum Hypertens s41371-024-00942-1: 5.8).
TO_TEXT = (
    (Reaction.BOOK, 0.0110),
    (Reaction.RESCHEDULE, 0.0030),
    (Reaction.LINK, 0.0090),
    (Reaction.STOP, 0.0090),
    (Reaction.REFUSE, 0.0006),
    (Reaction.HELP, 0.0030),
    (Reaction.OTHER, 0.0070),
    (Reaction.DANGER, 0.0006),
    (Reaction.WRONG_NUMBER, 0.0010),
    (Reaction.DIED, 0.0003),
)
TO_MAIL = (
    (Reaction.LINK, 0.0155),
    (Reaction.UNSUBSCRIBE, 0.0060),
)
#: The first messages move more people than the later ones.
_EAGERNESS = (1.4, 1.2, 1.0, 0.9, 0.8)
_WANTS_TO_COME = frozenset({Reaction.BOOK, Reaction.RESCHEDULE, Reaction.LINK})
#: Said of the one whose number it is: of a household nobody could tell whom they mean.
_OF_THE_OWNER = frozenset({Reaction.WRONG_NUMBER, Reaction.DIED})

SCANS_LINKS = 0.05
"""Mailboxes behind a scanner that opens every link of every message."""
STARTS_AGAIN = 0.06
SAYS_YES_AFTER_STOP = 0.05

_LINK = re.compile(r"https?://[^\s<>\"')\]]+")


class Patients:
    """The people behind the contact points."""

    def __init__(
        self,
        *,
        draws: Draws,
        now: Callable[[], datetime],
        agenda: Agenda,
        contacts: Contacts,
        diary: Diary,
        witness: Witness,
        caller: Caller,
    ) -> None:
        self._draws = draws
        self._now = now
        self._agenda = agenda
        self._contacts = contacts
        self._diary = diary
        self._witness = witness
        self._caller = caller
        self._sms: SmsProvider | None = None
        self._messages: Counter[str] = Counter()
        self.did: Counter[str] = Counter()
        """Reactions begun, by kind; `scan` for link scanners, `start` and `yes_after_stop` for later words."""

    def use(self, sms: SmsProvider) -> None:
        """Text through this provider."""
        self._sms = sms

    def text_arrived(self, number: str, text: str) -> None:
        """A text message was delivered now."""
        person = self._addressed(number, text)
        # an answer to one's own words ends the conversation
        if person is None or self._witness.just_wrote(number, self._now()):
            return
        turn = self._turn(number)
        reaction = self._reaction(TO_TEXT, number, turn, person)
        link = self._booking_link(text, None)
        if reaction is Reaction.LINK and link is None:
            reaction = Reaction.BOOK
        if reaction in _OF_THE_OWNER and len(self._contacts.owners(number)) > 1:
            return
        if reaction is Reaction.LINK and link is not None:
            self._later(number, turn, Kind.CLICK, partial(self._follow, person, link))
        elif reaction is not None:
            self._later(number, turn, Kind.REPLY, partial(self._reply, person, number, turn, reaction))

    def mail_arrived(self, mail: Mail) -> None:
        """A mail was delivered now."""
        person = self._addressed(mail.to, mail.text)
        if person is None:
            return
        turn = self._turn(mail.to)
        link = self._booking_link(mail.text, mail.unsubscribe_url)
        if self._draws.happens(SCANS_LINKS, "scans links", mail.to):
            for url in filter(None, (mail.unsubscribe_url, link)):
                self._caller.plan(Call("scanner", url, mail.to), next_slot(self._now() + timedelta(hours=1)))
                self.did["scan"] += 1
        reaction = self._reaction(TO_MAIL, mail.to, turn, person)
        if reaction is Reaction.LINK and link is not None:
            self._later(mail.to, turn, Kind.CLICK, partial(self._follow, person, link))
        elif reaction is Reaction.UNSUBSCRIBE and mail.unsubscribe_url is not None:
            self._later(mail.to, turn, Kind.CLICK, partial(self._unsubscribe, mail.to, mail.unsubscribe_url))

    def _addressed(self, contact: str, text: str) -> Person | None:
        """Whom of a household the message is for: the one it names, else the first who is away."""
        owners = self._contacts.owners(contact)
        named = [person for person in owners if names(text, person)]
        away = [person for person in owners if self._diary.wants_back(person)]
        return next(iter((*named, *away, *owners)), None)

    def _turn(self, contact: str) -> int:
        self._messages[contact] += 1
        return self._messages[contact]

    def _reaction(
        self, chances: tuple[tuple[Reaction, float], ...], contact: str, turn: int, person: Person
    ) -> Reaction | None:
        eagerness = _EAGERNESS[min(turn, len(_EAGERNESS)) - 1]
        left = self._draws.fraction("reaction", contact, turn)
        for reaction, chance in chances:
            left -= chance * (eagerness if reaction in _WANTS_TO_COME else 1.0)
            if left < 0:
                is_idle = reaction in _WANTS_TO_COME and not self._diary.wants_back(person)
                return None if is_idle else reaction
        return None

    def _booking_link(self, text: str, unsubscribe_url: str | None) -> str | None:
        """The first link to our web process that is not the one to unsubscribe."""
        for found in _LINK.findall(text):
            url = found.rstrip(".,;:!?")
            if url.startswith(self._caller.public_url + "/") and url != unsubscribe_url:
                return str(url)
        return None

    def _later(self, contact: str, turn: int, kind: Kind, happen: Callable[[], None]) -> None:
        """One to 48 hours from now, most within a few."""
        hours = 1 + int(47 * self._draws.fraction("after", contact, turn) ** 3)
        self._at(next_slot(self._now() + timedelta(hours=hours)), kind, contact, happen)

    def _at(self, at: datetime, kind: Kind, contact: str, happen: Callable[[], None]) -> None:
        async def act() -> None:
            happen()

        self._agenda.add(at, kind, contact, act)

    def _reply(self, person: Person, number: str, turn: int, reaction: Reaction) -> None:
        self.did[reaction] += 1
        words = self._words(person.language, reaction, number, turn)
        if reaction is Reaction.STOP:
            self._text(number, words, is_opt_out=True, answered=lambda: self._has_stopped(number, turn))
        elif reaction in _WANTS_TO_COME:
            self._text(number, words, answered=lambda: self._diary.invite(person, "reply"))
        elif reaction is Reaction.DANGER:
            self._text(number, words, answered=lambda: self._witness.in_danger(number, self._now()))
        elif reaction is Reaction.WRONG_NUMBER:
            self._text(number, words, answered=lambda: self._witness.is_a_strangers(number, self._now()))
        elif reaction is Reaction.DIED:
            self._text(number, words, answered=lambda: self._witness.died(number, self._now()))
        else:
            self._text(number, words)

    def _has_stopped(self, number: str, turn: int) -> None:
        self._witness.opted_out(number, self._now())
        if self._draws.happens(STARTS_AGAIN, "starts again", number, turn):
            days = self._draws.whole(5, 30, "starts when", number, turn)
            words = self._draws.pick(texts.START, "start", number, turn)
            at = next_slot(self._now() + timedelta(days=days))
            self._at(at, Kind.REPLY, number, lambda: self._start(number, words))
        elif self._draws.happens(SAYS_YES_AFTER_STOP, "says yes", number, turn):
            at = next_slot(self._now() + timedelta(hours=3))
            self._at(at, Kind.REPLY, number, lambda: self._say_yes(number))

    def _start(self, number: str, words: str) -> None:
        self.did["start"] += 1
        # from the moment it is sent they may be written to again
        self._witness.opted_in(number)
        self._text(number, words)

    def _say_yes(self, number: str) -> None:
        """A yes after a stop: the provider opens its gate, ours must stay shut."""
        self.did["yes_after_stop"] += 1
        self._text(number, "YES")

    def _text(
        self, number: str, words: str, *, is_opt_out: bool = False, answered: Callable[[], None] = lambda: None
    ) -> None:
        if self._sms is None:
            raise RuntimeError("Patients.use first")

        def begins() -> None:
            self._witness.wrote(number, self._now(), is_opt_out=is_opt_out)

        self._sms.text_from_patient(number, words, begins=begins, answered=answered)

    def _follow(self, person: Person, link: str) -> None:
        """Open the booking link; who gets to the booking page books."""
        self.did[Reaction.LINK] += 1
        call = Call("booking_link", link, person.key, answered=lambda: self._diary.invite(person, "link"))
        self._caller.plan(call, self._now())

    def _unsubscribe(self, address: str, url: str) -> None:
        """What a mail program does at one click: a POST without cookies (RFC 8058)."""
        self.did[Reaction.UNSUBSCRIBE] += 1
        form = {"List-Unsubscribe": "One-Click"}
        answered = partial(self._unsubscribed, address)
        self._caller.plan(Call("unsubscribe", url, address, form=form, answered=answered), self._now())

    def _unsubscribed(self, address: str) -> None:
        self._witness.opted_out(address, self._now())

    def _words(self, language: str, reaction: Reaction, number: str, turn: int) -> str:
        if reaction is Reaction.RESCHEDULE:
            return self._draws.pick(texts.RESCHEDULE, "words", number, turn)
        by_language = {
            Reaction.BOOK: texts.BOOK,
            Reaction.STOP: texts.STOP,
            Reaction.REFUSE: texts.REFUSAL,
            Reaction.HELP: texts.HELP,
            Reaction.OTHER: texts.OTHER,
            Reaction.DANGER: texts.DANGER,
            Reaction.WRONG_NUMBER: texts.WRONG_NUMBER,
            Reaction.DIED: texts.DIED,
        }[reaction]
        return self._draws.pick(by_language.get(language, by_language["en"]), "words", number, turn)
