"""The nouns of the trade: the closed sets and small values every other module speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ServiceLine(StrEnum):
    """A line of care with an inactivity threshold of its own."""

    PRIMARY = "primary_care"
    DENTAL = "dental"
    CHRONIC = "chronic_care"


class Segment(StrEnum):
    """Why, and for how long, a patient has been away; decides wording and priority."""

    MONTHS_6_12 = "6_12_months"
    MONTHS_12_24 = "12_24_months"
    BEYOND_24 = "beyond_24_months"
    NEVER_REBOOKED = "never_rebooked"
    CHRONIC_OVERDUE = "chronic_overdue"


class AppointmentStatus(StrEnum):
    """FHIR R4 Appointment.status."""

    PROPOSED = "proposed"
    PENDING = "pending"
    BOOKED = "booked"
    ARRIVED = "arrived"
    CHECKED_IN = "checked-in"
    WAITLIST = "waitlist"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NOSHOW = "noshow"
    ENTERED_IN_ERROR = "entered-in-error"


#: Statuses that hold a place in the diary; a patient with one ahead is never reached out to.
AHEAD = frozenset(
    {
        AppointmentStatus.PROPOSED,
        AppointmentStatus.PENDING,
        AppointmentStatus.BOOKED,
        AppointmentStatus.ARRIVED,
        AppointmentStatus.CHECKED_IN,
    }
)


class ContactSystem(StrEnum):
    """FHIR ContactPoint.system, as far as we use it."""

    PHONE = "phone"
    EMAIL = "email"


class Arm(StrEnum):
    """The experiment's two arms; the holdout is never contacted."""

    TREATMENT = "treatment"
    HOLDOUT = "holdout"


class EnrolmentState(StrEnum):
    """Where an enrolment stands; every enrolment is in exactly one."""

    WAITING = "waiting"
    GRADUATED = "graduated"
    FINISHED = "finished"
    OPTED_OUT = "opted_out"
    REACTIVATED = "reactivated"
    LEFT = "left"
    """The patient wants no more of this campaign; the next one may ask again."""
    INELIGIBLE = "ineligible"


#: States in which an enrolment may still plan touches; at most one such per patient and campaign.
LIVE = frozenset({EnrolmentState.WAITING, EnrolmentState.GRADUATED})


class Hold(StrEnum):
    """Why outreach to a patient waits until a person has looked; the gravest first."""

    REPORTED_DEATH = "reported_deceased"
    """Somebody wrote that the patient, or a housemate with the same number, has died."""
    COMPLAINT = "complaint"
    UNCLEAR = "unclear_whose"
    """A reply from a number of several patients concerns one of them, and nobody knows which."""


class TouchState(StrEnum):
    """Where a touch stands. PLANNED may go out, SENDING has a live attempt, the others are at rest."""

    PLANNED = "planned"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TouchKind(StrEnum):
    """What a touch is for; answers are exempt from hours and caps, outreach and reminders are not."""

    OUTREACH = "outreach"
    REMINDER = "reminder"
    ANSWER = "answer"


class AttemptState(StrEnum):
    """The life of one provider call."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    RETRY = "retry"
    UNCERTAIN = "uncertain"
    RELEASED = "released"


#: Attempts that (may) have reached the patient and so count against caps.
COUNTS_AGAINST_CAPS = frozenset({AttemptState.SENDING, AttemptState.ACCEPTED, AttemptState.UNCERTAIN})


class Role(StrEnum):
    """In which role a person releases a template; it takes two people, one in each."""

    MARKETING = "marketing"
    CLINICAL = "clinical"


class Delivery(StrEnum):
    """What receipts said of an accepted touch; never regresses from a terminal value."""

    UNKNOWN = "unknown"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


class Intent(StrEnum):
    """What a reply means; `other` is what no rule knows."""

    REACTION = "reaction"
    """A phone's reaction that quotes our own text: it has no effect."""
    AUTO_REPLY = "auto_reply"
    """A machine answered; its footers and words are nobody's wish."""
    EMERGENCY = "emergency"
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    HELP = "help"
    DECEASED = "deceased"
    """The patient died; the death of anyone else is none of it."""
    WRONG_NUMBER = "wrong_number"
    COMPLAINT = "complaint"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"
    SEEN_ELSEWHERE = "seen_elsewhere"
    DECLINES_CARE = "declines_care"
    """Wants no visit; the messages may go on."""
    MOVED = "moved"
    QUESTION = "question"
    BOOK = "book"
    OTHER = "other"


class Effect(StrEnum):
    """What a reply asks for, beside its intent."""

    URGENT = "urgent"
    """The fixed emergency text, and a person paged at any hour."""
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    DECEASED = "deceased"
    """Everything to the patient stops."""
    WRONG_NUMBER = "wrong_number"
    """The contact point is not the patient's."""
    PAUSE = "pause"
    """No outreach until a person has seen to it."""
    LEAVE_CAMPAIGN = "leave_campaign"
    """The campaign has no purpose any more; distinct from an opt-out."""
    BOOK = "book"
    HUMAN = "human"
    """A person reads it."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Send:
    """The guard lets this touch go now."""

    valid_until: datetime
    """End of the window in which it may still reach the patient (UTC)."""
    rule: str | None = None
    """The row of the rules that ends it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: try again at `until`, because of `why` (a reason id)."""

    until: datetime
    why: str
    rule: str | None = None
    """The row of the rules that says so."""


@dataclass(frozen=True, slots=True)
class Never:
    """Not ever, because of `why` (a reason id)."""

    why: str
    waited_for: str | None = None
    """Of a touch that expired: the wait (a reason id) that lasted until it was too late."""
    rule: str | None = None
    """The row of the rules that says so."""


Decision = Send | Wait | Never
