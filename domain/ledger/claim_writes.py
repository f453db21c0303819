"""What a claim writes: attempts of what may go; waits, endings and moves to other channels, with their history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, update

from domain.ledger.among import among
from domain.ledger.attempts import attempt
from domain.ledger.ceilings import Ceilings
from domain.ledger.claim_facts import LEASE
from domain.ledger.claimed import Claim
from domain.ledger.touches import IS_PLANNED, tell, touch
from domain.rules.guard import Facts
from domain.rules.vocabulary import AttemptState, TouchState, Wait

_TO_SENDING = (
    update(touch)
    .where(among(touch.c.id, "ids"), IS_PLANNED)
    .values(state=TouchState.SENDING.value, attempts=touch.c.attempts + 1, reason=None, dispatched_until=None)
    .returning(touch.c.id)
)


def write_claimed(
    conn: Connection,
    result: Claim,
    ceilings: Ceilings,
    facts: Mapping[int, Facts],
    now: datetime,
    lease: timedelta,
) -> None:
    if result.claimed:
        # the fence, should a lock ever have been missed: only what was planned until this statement is ours
        ours = set(conn.scalars(_TO_SENDING, {"ids": [each.touch_id for each in result.claimed]}))
        result.claimed = [each for each in result.claimed if each.touch_id in ours]
    if result.claimed:
        conn.execute(
            insert(attempt),
            [
                {
                    "touch_id": each.touch_id,
                    "token": each.token,
                    "channel": each.channel,
                    "provider": each.provider,
                    "kind": each.kind,
                    "patient_id": each.patient_id,
                    "contact_point_id": each.contact_point_id,
                    "site_id": ceilings.counted.get(each.touch_id),
                    "template_id": each.template_id,
                    "state": AttemptState.SENDING.value,
                    "claimed_at": now,
                    # half an hour of a person's ends with the hours; a worker's minute outlasts its call
                    "lease_until": max(now + min(lease, LEASE), min(now + lease, each.valid_until)),
                    "zones": ",".join(facts[each.touch_id].zones),
                    "states": ",".join(facts[each.touch_id].states) or None,
                }
                for each in result.claimed
            ],
        )


def write_waits(conn: Connection, waits: Sequence[tuple[int, Wait]], now: datetime) -> None:
    groups: defaultdict[tuple[datetime, str], list[int]] = defaultdict(list)
    for id_, wait in waits:
        groups[wait.until, wait.why].append(id_)
    for (until, why), ids in groups.items():
        write(conn, ids, due_at=until, reason=why, dispatched_until=None)
    tell(
        conn,
        [
            {"touch_id": id_, "what": "waited", "reason": wait.why, "until": wait.until, "rule": wait.rule}
            for id_, wait in waits
        ],
        now,
    )


def write_nevers(conn: Connection, result: Claim, now: datetime) -> None:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for id_, why in result.nevers:
        groups[why].append(id_)
    for why, ids in groups.items():
        state = TouchState.EXPIRED if why == "expired" else TouchState.SUPPRESSED
        write(conn, ids, state=state.value, reason=why, ended_at=now, dispatched_until=None)
        told = [
            {
                "touch_id": id_,
                "what": state.value,
                "reason": result.outwaited.get(id_, why),
                "rule": result.rules.get(id_),
            }
            for id_ in ids
        ]
        tell(conn, told, now)


def write_reroutes(conn: Connection, rerouted: Sequence[tuple[int, str, str | None]], now: datetime) -> None:
    groups: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    for id_, channel, why in rerouted:
        groups[channel, why].append(id_)
    for (channel, why), ids in groups.items():
        write(conn, ids, channel=channel, reason=why or "rerouted", dispatched_until=None)
        tell(conn, [{"touch_id": id_, "what": "rerouted", "reason": why or f"to_{channel}"} for id_ in ids], now)


def write(conn: Connection, ids: Sequence[int], **values: Any) -> None:
    conn.execute(update(touch).where(touch.c.id.in_(ids), IS_PLANNED).values(**values))
