"""Decides what an outcome says of the provider itself: that it works, that it fails, that it refuses us, or nothing."""

from __future__ import annotations

from enum import StrEnum

from channels.kit.contract import Outcome, OutcomeKind, SideEffect
from channels.kit.errors import WINDOW_CLOSED, says_something_of_the_message


class Health(StrEnum):
    """What one outcome says of the provider."""

    WELL = "well"
    """It answered, whatever it said of the message."""
    ILL = "ill"
    """It could not be reached, did not answer in time, or answered that it failed."""
    REFUSING = "refusing"
    """Our account, registration or set-up there is in trouble: every other message would fare alike."""
    SILENT = "silent"
    """It was not asked, or we were only too fast: pacing is for that."""


def health_of(outcome: Outcome) -> Health:
    """What the outcome says of its provider."""
    if outcome.effect is SideEffect.PAUSE_CHANNEL:
        return Health.REFUSING
    if outcome.kind is OutcomeKind.UNCERTAIN:
        return Health.ILL
    if outcome.kind is OutcomeKind.THROTTLED or outcome.code == WINDOW_CLOSED.code:
        return Health.SILENT
    return Health.WELL if says_something_of_the_message(outcome) else Health.ILL
