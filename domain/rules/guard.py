"""The guard: the one gate before every send. It decides Send, Wait or Never from facts read under lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.rules.blackouts import NO_BLACKOUT, Blackout
from domain.rules.caps import Block, blocked_until
from domain.rules.quiet_hours import closing, next_allowed
from domain.rules.reasons import WAITS
from domain.rules.rulebook import InForce
from domain.rules.vocabulary import Decision, Hold, Never, Send, TouchKind, Wait

#: The fixed text that tells where help is to be had at once. Nothing about messages outweighs it.
EMERGENCY = "emergency"

#: The one confirmation of an opt-out: from everything; the same, with the question whether less was meant; and of one
#: that leaves mail alone.
CONFIRMATION = "opt_out_confirmation"
ASKING_FOR_SCOPE = "opt_out_confirmation_asking"
LIMITED_CONFIRMATION = "opt_out_confirmation_limited"
CONFIRMATIONS = frozenset({CONFIRMATION, ASKING_FOR_SCOPE, LIMITED_CONFIRMATION})

#: Answers that a person who opted out may still get: the one confirmation, help (rules of 10DLC carriers), and where to
#: turn in an emergency.
ALLOWED_WHEN_SUPPRESSED = frozenset({*CONFIRMATIONS, "help", EMERGENCY})

#: Reason of a decision -> the row of the rules it goes by; hours and caps name their own.
RULES = {
    "expired": "house.expired",
    "deceased": "house.deceased",
    "merged": "house.merged",
    "enrolment_ended": "house.enrolment",
    "unanswered": "house.graduation",
    "step_replied": "house.step",
    "step_clicked": "house.step",
    "step_delivered": "house.step",
    "unreachable": "house.reachable",
    "suppressed_contact": "opting_out.honour",
    "suppressed_patient": "opting_out.scope",
    "no_consent": "opting_out.revocation",
    "channel_paused": "house.paused",
    "provider_down": "house.provider",
    "campaign_paused": "house.campaign",
    "choices_kept": "house.kept",
    "blackout": "house.blackout",
    "site_full": "house.site-day",
    "campaign_full": "house.campaign-site-day",
    "slots_full": "house.open-slots",
    "booked": "house.booked",
    "template_unreleased": "house.released",
    "template_recalled": "house.recalled",
    "answer": "hours.answers",
    EMERGENCY: "hours.emergency",
    **{why.value: "house.held" for why in Hold},
}

#: Reasons of the ceilings of a site: its day in all, its day for a campaign, and its open slots of the week.
SITE_FULL, CAMPAIGN_FULL, SLOTS_FULL = "site_full", "campaign_full", "slots_full"

#: A provider holds a text at most ten hours (Twilio); an answer is worthless sooner.
_ANSWER_VALID = timedelta(minutes=5)

#: A touch that nobody took up for longer than this before it expired was not held by its last wait, but by an outage.
_TAKEN_UP_WITHIN = timedelta(hours=1)

#: How often a touch whose text is held back asks again; a release wakes it at once.
_ASK_FOR_TEXT = timedelta(hours=4)

#: How often a touch of a paused campaign asks again; resuming wakes it.
_ASK_FOR_CAMPAIGN = timedelta(hours=4)
#: How often a touch to a patient whom a person has to look at first asks again.
_ASK_FOR_PERSON = timedelta(hours=1)

#: How often a touch asks again that waits for choices which may still be on a web process's disk.
ASK_FOR_CHOICES = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows, at the claim, about one touch, its patient and its contact point."""

    kind: str
    expires_at: datetime
    rules: InForce
    """What the organisation, and the states the person may be in, allow."""
    answer: str | None = None
    live: bool = True
    """The enrolment is live and in the treatment arm (answers: always)."""
    unwanted: str | None = None
    """Why its campaign's cadence does not want it any more (a reason id)."""
    deceased: bool = False
    merged: bool = False
    reachable: bool = True
    """There is a contact point of this channel that works."""
    suppressed_contact: bool = False
    suppressed_patient: bool = False
    held: str | None = None
    """Why a person has to look before the patient gets any outreach (a Hold)."""
    consent_revoked: bool = False
    channel_paused: bool = False
    choices_kept: bool = False
    """What patients chose while the ledger was away may wait elsewhere, unknown to it."""
    campaign_paused: bool = False
    blackout: Blackout = NO_BLACKOUT
    """The dates on which its campaign is silent."""
    text_held: str | None = None
    """Why its text must not be sent (a rule id); None = two people have released it."""
    appointment_ahead: datetime | None = None
    """Start of the nearest appointment ahead, on any line."""
    zones: tuple[str, ...] = ()
    """Every zone the person may be in: address, and the number's own where it tells."""
    states: tuple[str, ...] = ()
    """Every state whose rules count."""
    sent_to_patient: tuple[datetime, ...] = ()
    sent_to_contact: tuple[datetime, ...] = ()
    sent_to_household: tuple[datetime, ...] = ()
    """To everybody of the patient's household, themselves included."""
    full: str | None = None
    """The ceiling that its site has met: SITE_FULL, CAMPAIGN_FULL or SLOTS_FULL."""
    full_until: datetime | None = None
    """When it asks again."""
    waited_for: str | None = None
    """What it has waited for until now (a rule id)."""


def decide(facts: Facts, now: datetime) -> Decision:
    """Whether the touch may go at `now`.

    Every decision names the row of the rules it goes by. A wait that would outlast the touch's expiry is a Never that
    names the wait and its row: it would only come too late.
    """
    refusal = _refusal(facts, now)
    if refusal is not None:
        return Never(refusal, waited_for=facts.waited_for if refusal == "expired" else None, rule=RULES[refusal])
    if facts.kind == TouchKind.ANSWER:
        if facts.choices_kept and not may_answer_suppressed(facts.kind, facts.answer):
            return Wait(until=now + ASK_FOR_CHOICES, why="choices_kept", rule=RULES["choices_kept"])
        rule = RULES[EMERGENCY if facts.answer == EMERGENCY else "answer"]
        return Send(valid_until=now + _ANSWER_VALID, rule=rule)
    decision = _hours_and_caps(facts, now)
    if isinstance(decision, Wait) and decision.until >= facts.expires_at:
        return Never("expired", waited_for=decision.why, rule=decision.rule)
    return decision


def may_answer_suppressed(kind: str, answer: str | None) -> bool:
    """Whether a touch is one of the few answers that a person who opted out may still get."""
    return kind == TouchKind.ANSWER and answer in ALLOWED_WHEN_SUPPRESSED


def held_by(reason: str | None, due_at: datetime, expires_at: datetime) -> str | None:
    """The wait that held a planned touch until it expired, by its latest `reason`; None = no wait of ours did."""
    return reason if reason in WAITS and expires_at - due_at <= _TAKEN_UP_WITHIN else None


def with_sent(
    facts: Facts, *, to_patient: Sequence[datetime], to_household: Sequence[datetime], to_contact: Sequence[datetime]
) -> Facts:
    """The same facts after more sends in the same claim."""
    return replace(
        facts,
        sent_to_patient=(*facts.sent_to_patient, *to_patient),
        sent_to_contact=(*facts.sent_to_contact, *to_contact),
        sent_to_household=(*facts.sent_to_household, *to_household),
    )


def at_ceiling(facts: Facts, full: str, until: datetime) -> Facts:
    """The same facts at a site that has sent all it may today."""
    return replace(facts, full=full, full_until=until)


def _refusal(facts: Facts, now: datetime) -> str | None:
    exempt = may_answer_suppressed(facts.kind, facts.answer)
    # whoever wrote is alive, whatever became of the patient their number is known by
    is_emergency = facts.kind == TouchKind.ANSWER and facts.answer == EMERGENCY
    checks = (
        (now >= facts.expires_at, "expired"),
        (facts.deceased and not is_emergency, "deceased"),
        # and answers are for the number that wrote, not for a record
        (facts.merged and not exempt, "merged"),
        (not facts.live, "enrolment_ended"),
        (facts.unwanted is not None, facts.unwanted or ""),
        (not facts.reachable, "unreachable"),
        (facts.suppressed_contact and not exempt, "suppressed_contact"),
        (facts.suppressed_patient and not exempt, "suppressed_patient"),
        (facts.consent_revoked and not exempt, "no_consent"),
    )
    return next((reason for is_so, reason in checks if is_so), None)


def _hours_and_caps(facts: Facts, now: datetime) -> Decision:
    """The latest of what must be waited for, pushed into the next hour allowed in every zone."""
    latest = max(_blocks(facts, now), default=None)
    earliest = now if latest is None else latest.until
    if not facts.zones:
        return Never("no_common_hour", rule=RULES["unreachable"])
    hours = facts.rules.hours
    open_until = closing(now, facts.zones, hours) if latest is None else None
    if open_until is not None:
        return Send(*open_until)
    allowed = next_allowed(earliest, facts.zones, hours)
    if allowed is None:
        return Never("no_common_hour", rule=facts.rules.deciding(earliest, facts.zones))
    if latest is not None:
        return Wait(until=allowed, why=latest.reason, rule=latest.rule)
    return Wait(until=allowed, why="quiet_hours", rule=facts.rules.deciding(now, facts.zones))


def _blocks(facts: Facts, now: datetime) -> Iterator[Block]:
    if facts.choices_kept:
        yield Block(now + ASK_FOR_CHOICES, "choices_kept", RULES["choices_kept"])
    if facts.channel_paused:
        yield Block(now + timedelta(minutes=15), "channel_paused", RULES["channel_paused"])
    if facts.campaign_paused:
        yield Block(now + _ASK_FOR_CAMPAIGN, "campaign_paused", RULES["campaign_paused"])
    silent_until = facts.blackout.ends(now, facts.zones) if facts.blackout else None
    if silent_until is not None:
        yield Block(silent_until, "blackout", RULES["blackout"])
    if facts.held is not None:
        yield Block(now + _ASK_FOR_PERSON, facts.held, RULES[facts.held])
    if facts.text_held is not None:
        yield Block(now + _ASK_FOR_TEXT, facts.text_held, RULES[facts.text_held])
    if facts.appointment_ahead is not None and facts.appointment_ahead >= now:
        yield Block(facts.appointment_ahead + timedelta(days=1), "booked", RULES["booked"])
    yield from _ceilings(facts, now)


def _ceilings(facts: Facts, now: datetime) -> Iterator[Block]:
    if facts.full is not None and facts.full_until is not None:
        yield Block(facts.full_until, facts.full, RULES[facts.full])
    rules = facts.rules
    for sent, caps in (
        (facts.sent_to_patient, rules.person_caps),
        (facts.sent_to_contact, rules.contact_caps),
        (facts.sent_to_household, rules.household_caps),
    ):
        block = blocked_until(now, sent, caps)
        if block is not None:
            yield block
