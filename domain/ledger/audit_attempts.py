"""Audited attempts: which calls were made, when, and for whom, as every check of the audit reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, or_

from domain.ledger.attempts import attempt
from domain.ledger.columns import Instant
from domain.ledger.touches import touch
from domain.rules.vocabulary import AttemptState, TouchKind

#: States in which the patient was, or may have been, reached.
_STATES: Final = [AttemptState.SENDING.value, AttemptState.ACCEPTED.value, AttemptState.UNCERTAIN.value]
REACHED: Final[ColumnElement[bool]] = attempt.c.state.in_(_STATES)
#: A crash between call and finish leaves only the claim's instant.
CALLED: Final[ColumnElement[datetime]] = func.coalesce(attempt.c.called_at, attempt.c.claimed_at, type_=Instant())
MADE: Final[ColumnElement[bool]] = or_(attempt.c.called_at.is_not(None), REACHED)
UNASKED: Final[ColumnElement[bool]] = attempt.c.kind != TouchKind.ANSWER.value
#: The record that the call was made for: merging records later moves the attempt, not the touch, and breaks no promise.
MEANT_FOR: Final = {"patient_id": touch.c.patient_id, "contact_point_id": attempt.c.contact_point_id}
