"""What was really accepted, when and for whom: the ledger the promises are judged by, kept apart from ours."""

from __future__ import annotations

import json
import math
import re
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

from ops.simulator.contacts import Contacts
from ops.simulator.lexicon import has_link, identifying, identity, outline, tells_care

PROMISES = (
    "sent_after_opt_out",
    "accepted_twice",
    "outside_hours",
    "over_cap",
    "emergency_unanswered",
    "phi_in_outreach",
)

#: A message so soon after the patient wrote may be the answer.
ANSWER_WITHIN = timedelta(hours=1)
#: A call already on its way when the opt-out was answered is no breach (real seconds, at one simulated instant).
ON_ITS_WAY = 1.0
#: Until who wrote of danger must have been told where to turn.
HELP_WITHIN = timedelta(minutes=10)
#: What every text that tells it names.
_HELP = re.compile(r"\b911\b")
DAY, WEEK = timedelta(days=1), timedelta(days=7)
PER_DAY, PER_WEEK = 1, 3


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message a provider took on. `arrived` is when its request came in (real seconds, monotonic)."""

    at: datetime
    channel: str
    to: str
    reference: str
    body: str
    arrived: float


@dataclass(frozen=True, slots=True)
class _Turn:
    number: int
    at: datetime
    is_opt_out: bool


@dataclass(slots=True)
class _Entry:
    at: datetime
    channel: str
    to: str
    reference: str
    digest: bytes
    outline: bytes
    is_linked: bool
    tells_care: bool
    identifying: frozenset[str]
    """Words of it that are also a name, date or number of the patient's."""
    is_barred: bool
    turns: tuple[_Turn, ...]
    """What the patient wrote within the hour before."""
    delivered_at: datetime | None = None


class Witness:
    """Keeps a line per accepted message in a file, and the counts of what should never have happened."""

    def __init__(self, contacts: Contacts, path: Path, own_words: Sequence[str] = ()) -> None:
        """`own_words`: the organisation's name and address, which betray nothing whatever they contain."""
        self._contacts = contacts
        self._own_words = tuple(own_words)
        self._file = path.open("w", encoding="utf-8", buffering=1 << 16)
        self._entries: list[_Entry] = []
        self._barred: dict[str, tuple[datetime, float]] = {}
        self._wrote: dict[str, list[_Turn]] = defaultdict(list)
        self._strangers: dict[str, tuple[datetime, float]] = {}
        self._in_danger: list[tuple[str, datetime]] = []
        self._helped: dict[str, list[datetime]] = defaultdict(list)

    def accept(self, message: Accepted) -> None:
        """Write down one accepted message."""
        owners = self._contacts.owners(message.to)
        shape = outline(message.body, owners)
        entry = _Entry(
            at=message.at,
            channel=message.channel,
            to=message.to,
            reference=message.reference,
            digest=sha256(message.body.encode()).digest(),
            outline=sha256(shape.encode()).digest()[:16],
            is_linked=has_link(message.body),
            tells_care=tells_care(self._without_own_words(shape)),
            identifying=identifying(self._without_own_words(message.body), owners),
            is_barred=self._is_barred(message),
            turns=self._turns(message.to, message.at),
        )
        self._entries.append(entry)
        if _HELP.search(message.body):
            self._helped[message.to].append(message.at)
        line = {
            "at": message.at.isoformat(),
            "channel": message.channel,
            "to": message.to,
            "reference": message.reference,
            "sha256": entry.digest.hex(),
            "zones": [zone.key for zone in self._contacts.zones(message.to)],
            "just_wrote": bool(entry.turns),
        }
        self._file.write(json.dumps(line) + "\n")

    def delivered(self, reference: str, at: datetime) -> None:
        """A message held up on its way reached the patient only at `at`."""
        for entry in reversed(self._entries):
            if entry.reference == reference:
                entry.delivered_at = at
                return

    def wrote(self, contact: str, at: datetime, *, is_opt_out: bool = False) -> None:
        """A patient wrote to us from this contact point; one message may answer it."""
        turns = self._wrote[contact]
        turns.append(_Turn(len(turns), at, is_opt_out))

    def just_wrote(self, contact: str, at: datetime) -> bool:
        """Whether a message there at `at` may be an answer."""
        return bool(self._turns(contact, at))

    def opted_out(self, contact: str, at: datetime) -> None:
        """Our web process has answered 2xx to an opt-out from this contact point."""
        self._barred.setdefault(contact, (at, time.monotonic()))

    def in_danger(self, contact: str, at: datetime) -> None:
        """Our web process has answered 2xx to a message of danger; who had opted out there is not reached by texts."""
        if contact not in self._barred:
            self._in_danger.append((contact, at))

    def is_a_strangers(self, number: str, at: datetime) -> None:
        """Our web process has answered 2xx to word that the number is not its patient's: mail may still reach them.

        It is understood at leisure, so it counts from the next instant only.
        """
        self._strangers.setdefault(number, (at, math.inf))

    def died(self, contact: str, at: datetime) -> None:
        """Our web process has answered 2xx to word of the patient's death; see `is_a_strangers` for from when."""
        self._barred.setdefault(contact, (at, math.inf))

    def opted_in(self, contact: str) -> None:
        """The patient has asked for messages again."""
        self._barred.pop(contact, None)

    def is_opted_out(self, contact: str) -> bool:
        """Whether messages there are refused."""
        return contact in self._barred

    def accepted(self) -> dict[str, int]:
        """Messages accepted by channel."""
        return {"sms": 0, "email": 0, **Counter(entry.channel for entry in self._entries)}

    def references(self) -> list[str]:
        """The references of everything accepted, in order."""
        return [entry.reference for entry in self._entries]

    def promises(self) -> dict[str, int]:
        """How often each promise was broken, by this ledger alone."""
        outreach = self._without_answers()
        return {
            "sent_after_opt_out": sum(entry.is_barred for entry in outreach),
            "accepted_twice": self._twice(outreach),
            "outside_hours": sum(self._is_untimely(entry) for entry in outreach),
            "over_cap": self._over_cap(outreach),
            "emergency_unanswered": sum(not self._is_helped(*each) for each in self._in_danger),
            "phi_in_outreach": sum(entry.tells_care or self._tells_identity(entry) for entry in self._entries),
        }

    def answers(self) -> int:
        """How many accepted messages answered a patient."""
        return len(self._entries) - len(self._without_answers())

    def flush(self) -> None:
        """Bring every line to the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _turns(self, contact: str, at: datetime) -> tuple[_Turn, ...]:
        # without a default, or every number ever texted would get a list
        return tuple(turn for turn in self._wrote.get(contact, ()) if at - turn.at <= ANSWER_WITHIN)

    def _is_barred(self, message: Accepted) -> bool:
        since = self._barred.get(message.to) or self._strangers.get(message.to)
        if since is None:
            # an opt-out covers every contact point all of whose owners have one
            sinces = [self._refusal(person_contacts) for person_contacts in self._owned(message.to)]
            if not sinces or None in sinces:
                return False
            since = max(found for found in sinces if found is not None)
        at, answered = since
        return message.at > at or message.arrived > answered + ON_ITS_WAY

    def _is_helped(self, contact: str, at: datetime) -> bool:
        return any(at <= helped <= at + HELP_WITHIN for helped in self._helped.get(contact, ()))

    def _owned(self, contact: str) -> list[list[str]]:
        return [self._contacts.of(person) for person in self._contacts.owners(contact)]

    def _refusal(self, contacts: list[str]) -> tuple[datetime, float] | None:
        return min((self._barred[contact] for contact in contacts if contact in self._barred), default=None)

    def _without_answers(self) -> list[_Entry]:
        """Everything but answers: one per message of the patient, of a text that goes to nobody who did not write."""
        unasked = {entry.outline for entry in self._entries if not entry.turns}
        answered: set[tuple[str, int]] = set()
        outreach = []
        for entry in self._entries:
            turn = _answered_turn(entry, answered) if entry.outline not in unasked else None
            if turn is None:
                outreach.append(entry)
            else:
                answered.add((entry.to, turn.number))
        return outreach

    def _twice(self, outreach: list[_Entry]) -> int:
        """One reference twice; or one text twice to one contact point: a link names its touch, so at any distance."""
        references = Counter(entry.reference for entry in self._entries)
        broken = sum(number - 1 for number in references.values())
        seen: dict[tuple[str, bytes], _Entry] = {}
        for entry in outreach:
            before = seen.get((entry.to, entry.digest))
            if before is not None and before.reference != entry.reference:
                broken += entry.is_linked or entry.at - before.at < DAY
            seen[entry.to, entry.digest] = entry
        return broken

    def _without_own_words(self, text: str) -> str:
        for words in self._own_words:
            text = text.replace(words, " ")
        return text

    def _tells_identity(self, entry: _Entry) -> bool:
        """Whether it identifies the patient: by a word that the same text does not say to those it does not fit.

        A text that reads `Have a nice day` to everybody does not tell that one of them is called Day.
        """
        told = entry.identifying
        for other in self._entries if told else ():
            if other.outline == entry.outline:
                owners = self._contacts.owners(other.to)
                told -= {word for word in told if not any(word in identity(person) for person in owners)}
        return bool(told)

    def _is_untimely(self, entry: _Entry) -> bool:
        zones = self._contacts.zones(entry.to)
        instants = (entry.at,) if entry.delivered_at is None else (entry.at, entry.delivered_at)
        return any(not _is_allowed(at, zone) for at in instants for zone in zones)

    def _over_cap(self, outreach: list[_Entry]) -> int:
        """Messages too many for their contact point or, where it reaches one patient only, for that person."""
        times: dict[str, list[datetime]] = defaultdict(list)
        broken = 0
        for entry in sorted(outreach, key=lambda entry: entry.at):
            owners = self._contacts.owners(entry.to)
            keys = [entry.to] if len(owners) != 1 else [entry.to, owners[0].key]
            broken += any(_is_too_many(times[key], entry.at) for key in keys)
            for key in keys:
                times[key].append(entry.at)
        return broken


def _answered_turn(entry: _Entry, answered: set[tuple[str, int]]) -> _Turn | None:
    """The patient's message this one may answer; the confirmation of an opt-out carries no offer."""
    for turn in entry.turns:
        if (entry.to, turn.number) not in answered and not (turn.is_opt_out and entry.is_linked):
            return turn
    return None


def _is_allowed(at: datetime, zone: ZoneInfo) -> bool:
    """Monday to Saturday from 9 to 20, Sunday from 12 to 20, by the clock of the zone."""
    local = at.astimezone(zone)
    return (12 if local.weekday() == 6 else 9) <= local.hour < 20


def _is_too_many(earlier: list[datetime], at: datetime) -> bool:
    """Whether one more at `at` exceeds a cap of a rolling window; `earlier` is in order."""
    in_day = len(earlier) - bisect_left(earlier, at - DAY + timedelta.resolution)
    in_week = len(earlier) - bisect_left(earlier, at - WEEK + timedelta.resolution)
    return in_day >= PER_DAY or in_week >= PER_WEEK
