"""What a provider's answer makes of its touch, and what it says beyond its own message."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from channels.kit.contract import Outcome, SideEffect
from channels.kit.errors import says_something_of_the_message
from channels.kit.provider_ids import on_channel
from domain.ledger import choices, pauses
from domain.ledger.claimed import Claimed
from domain.ledger.finishes import MOST_ATTEMPTS, Finish
from domain.rules.vocabulary import AttemptState

#: First wait of a send that surely did not reach the provider; doubles with every try that counts.
_FIRST_RETRY = timedelta(minutes=5)


def finish_of(
    claimed: Claimed, outcome: Outcome, called_at: datetime, segments: int, most: int = MOST_ATTEMPTS
) -> Finish:
    """The end of an attempt whose call was answered so.

    Only tries that the provider judged are limited, to `most`; for all others the touch's expiry is the limit.
    """
    state = AttemptState(outcome.kind.value)
    reason = None if state == AttemptState.ACCEPTED else (outcome.code or state.value)
    retry_at = None
    counts = says_something_of_the_message(outcome)
    given = outcome.provider_ref
    if state in {AttemptState.THROTTLED, AttemptState.RETRY}:
        tries = most if outcome.later_tries is None else min(most, 1 + outcome.later_tries)
        if counts and claimed.attempts >= tries:
            state, reason = AttemptState.REJECTED, "attempts_exhausted"
        else:
            after = outcome.retry_after or _FIRST_RETRY * 2 ** (claimed.attempts - 1)
            retry_at = called_at + after
            reason = "throttled" if state == AttemptState.THROTTLED else "provider_retry"
    return Finish(
        claimed.touch_id,
        claimed.token,
        state,
        reason=reason,
        provider_ref=None if given is None else on_channel(claimed.channel, claimed.provider, given),
        error_code=outcome.code,
        called_at=called_at,
        retry_at=retry_at,
        segments=segments,
        retry_counts=counts,
    )


def take_effect(conn: Connection, *, claimed: Claimed, outcome: Outcome, now: datetime) -> None:
    """Write what the answer says beyond its message: an opt-out, a bad address, a channel in trouble."""
    if outcome.effect == SideEffect.OPTED_OUT:
        choices.opt_out(
            conn,
            organisation_id=claimed.organisation_id,
            contact_point_id=claimed.contact_point_id,
            source="provider",
            at=now,
            now=now,
        )
    elif outcome.effect == SideEffect.BAD_ADDRESS:
        choices.mark_bad(conn, claimed.contact_point_id, "provider", now)
    elif outcome.effect == SideEffect.PAUSE_CHANNEL:
        pauses.pause(conn, claimed.channel, outcome.code or "provider", now)
