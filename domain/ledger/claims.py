"""The claim: which of a batch of touches may go now. Locks, facts, decisions and writes of one short transaction."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, update

from domain.ledger import holds
from domain.ledger.among import among
from domain.ledger.attempts import attempt
from domain.ledger.ceilings import Ceilings
from domain.ledger.claim_facts import LEASE, Contacts, read_contacts, read_facts
from domain.ledger.claim_rows import AnyRow, lock_and_read, read
from domain.ledger.claim_steps import Wish, read_wishes
from domain.ledger.claim_stops import departed, overtaken, revoked, suppressed, usable
from domain.ledger.claim_texts import Usable, held, read_texts
from domain.ledger.claim_ways import ways_round
from domain.ledger.households import Households
from domain.ledger.incentives import Offers
from domain.ledger.reach import with_calls
from domain.ledger.touches import IS_PLANNED, tell, touch
from domain.rules.guard import Facts, decide, may_answer_suppressed, with_sent
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import AttemptState, Decision, Never, Send, TouchKind, TouchState, Wait

__all__ = [
    "LEASE",
    "Claim",
    "Claimed",
    "Route",
    "claim",
    "judge",
    "new_token",
    "overtaken",
    "still_suppressed",
    "texts_held",
]

#: Contact point, and the provider whose number received the reply that is answered (None: none is, or nobody knows)
#: -> the provider that is to deliver to it, or until when and why none may now.
Route = Callable[[int, str | None], str | Wait]

_AS_PLANNED = Wish()
_TO_SENDING = (
    update(touch)
    .where(among(touch.c.id, "ids"), IS_PLANNED)
    .values(state=TouchState.SENDING.value, attempts=touch.c.attempts + 1, reason=None, dispatched_until=None)
    .returning(touch.c.id)
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """One touch this process alone may now send, once, before `lease_until`."""

    touch_id: int
    token: str
    kind: str
    answer: str | None
    channel: str
    provider: str
    """Who is to deliver it; receipts, refusals and doubts are this one's."""
    organisation_id: int
    patient_id: int | None
    contact_point_id: int
    sealed_address: bytes
    template_id: int | None
    """The released text it says; None for an answer, and where its campaign has none."""
    language: str
    organisation: str
    organisation_phone: str
    postal_address: str
    site: str
    valid_until: datetime
    due_at: datetime
    dispatched_until: datetime | None
    attempts: int
    """This one included."""
    came_by: str | None = None
    """Of an answer: whose number received the reply, if that is known."""


@dataclass
class Claim:
    """What a claim decided, touch by touch."""

    claimed: list[Claimed] = field(default_factory=list)
    waits: list[tuple[int, Wait]] = field(default_factory=list)
    nevers: list[tuple[int, str]] = field(default_factory=list)
    outwaited: dict[int, str] = field(default_factory=dict)
    """Of those that expired: what they had waited for until it was too late."""
    rules: dict[int, str | None] = field(default_factory=dict)
    """Of the nevers: the row of the rules that decided."""
    rerouted: list[tuple[int, str, str | None]] = field(default_factory=list)
    """Touch, its new channel, and why (a reason id; None: this one does not reach the patient)."""


def claim(
    conn: Connection,
    ids: Collection[int],
    *,
    channel: str,
    system: str,
    systems: Mapping[str, str],
    rules: Rulebook,
    now: datetime,
    lease: timedelta = LEASE,
    kept_until: datetime | None = None,
    route: Route | None = None,
) -> Claim:
    """Decide about each planned, due touch among `ids`, by the `rules`, and write the decisions.

    Those that may go become `sending` under a fresh attempt; those that must wait get a new `due_at`; those that may
    never go end `suppressed`. A patient without a working contact point for this channel is moved to another channel
    of `systems` (channel -> contact system) that reaches them, if the campaign has words for one. Touches that are not
    planned any more are left alone. `route` names the provider of each, or makes it wait (None: the channel has one, of
    its own name).

    With `kept_until`, what may go is only kept for somebody until then, if nobody keeps it: it stays planned, whatever
    ends what is planned ends it, and another claim asks again before it goes.
    """
    rows, families = lock_and_read(conn, sorted(ids), channel, system, now)
    if kept_until is not None:
        rows = [row for row in rows if row.dispatched_until is None or row.dispatched_until <= now]
    if not rows:
        return Claim()
    offers, ceilings = Offers(conn, rows, rules, now), Ceilings(conn, rows, now)
    route = route or (lambda _point, _came_by: channel)
    result, facts = _ask(conn, rows, families, ceilings, offers, channel, system, systems, route, rules, now)
    if kept_until is None:
        _write_claimed(conn, result, ceilings, facts, now, lease)
        offers.write(conn, [each.touch_id for each in result.claimed])
    elif result.claimed:
        _update(conn, [each.touch_id for each in result.claimed], dispatched_until=kept_until)
    _write_waits(conn, result.waits, now)
    _write_nevers(conn, result, now)
    _write_reroutes(conn, result.rerouted, now)
    return result


def judge(
    conn: Connection,
    ids: Collection[int],
    *,
    channel: str,
    system: str,
    systems: Mapping[str, str],
    rules: Rulebook,
    now: datetime,
) -> Claim:
    """What a claim would decide about these touches, but for the ceilings of sites; nothing is locked or written."""
    rows, families = read(conn, sorted(ids), channel, system, now)
    if not rows:
        return Claim()
    offers, no_ceilings = Offers(conn, rows, rules, now), Ceilings(conn, [], now)
    return _ask(conn, rows, families, no_ceilings, offers, channel, system, systems, lambda *_: channel, rules, now)[0]


def still_suppressed(conn: Connection, claimed: Sequence[Claimed]) -> set[int]:
    """Touch ids among an aged claim that an opt-out committed since then must stop; a revoked consent is one, too.

    So is a death, and a merge: what the patient chooses from then on is the survivor's. Outreach also stops where a
    person has to look first, and where the contact point is not the patient's any more, or they asked for another one.
    """
    touches_of = {each.touch_id: each for each in claimed if not may_answer_suppressed(each.kind, each.answer)}
    points = sorted({each.contact_point_id for each in touches_of.values()})
    patients = sorted({each.patient_id for each in touches_of.values() if each.patient_id is not None})
    channel = claimed[0].channel if claimed else ""
    stopped_points, stopped_patients = suppressed(conn, points, patients, channel)
    stopped_points |= revoked(conn, points, channel)
    stopped_patients |= departed(conn, patients)
    held = holds.held(conn, patients)
    may_use = usable(conn, patients, points)

    def outreach_stops(each: Claimed) -> bool:
        return each.patient_id in held or (each.patient_id, each.contact_point_id) not in may_use

    return {
        id_
        for id_, each in touches_of.items()
        if each.contact_point_id in stopped_points
        or each.patient_id in stopped_patients
        or (each.kind != TouchKind.ANSWER and outreach_stops(each))
    }


def texts_held(conn: Connection, claimed: Sequence[Claimed]) -> set[int]:
    """Touch ids among an aged claim whose text was recalled since then."""
    stopped = held(conn, {each.template_id for each in claimed if each.template_id is not None})
    return {each.touch_id for each in claimed if each.template_id in stopped}


def _ask(
    conn: Connection,
    rows: Sequence[AnyRow],
    families: Households,
    ceilings: Ceilings,
    offers: Offers,
    channel: str,
    system: str,
    systems: Mapping[str, str],
    route: Route,
    rules: Rulebook,
    now: datetime,
) -> tuple[Claim, Mapping[int, Facts]]:
    all_systems = with_calls(systems)
    contacts = read_contacts(conn, rows, system, all_systems)
    said = read_texts(conn, rows, channel, now, offers)
    wishes = read_wishes(conn, rows, all_systems, channel)
    unwanted = {id_: wish.refusal for id_, wish in wishes.items()}
    facts = read_facts(conn, rows, contacts, said, families, unwanted, channel, rules, now)
    ways = ways_round(conn, rows, contacts, channel, now)
    return _decide(rows, contacts, families, ceilings, facts, said, wishes, ways, channel, route, now), facts


def _decide(
    rows: Sequence[AnyRow],
    contacts: Contacts,
    families: Households,
    ceilings: Ceilings,
    facts: Mapping[int, Facts],
    said: Mapping[int, Usable],
    wishes: Mapping[int, Wish],
    ways: Mapping[int, str],
    channel: str,
    route: Route,
    now: datetime,
) -> Claim:
    """Row by row, so that a send counts at once for its patient, household and contact point in the same batch."""
    result = Claim()
    sent_patient: defaultdict[int | None, list[datetime]] = defaultdict(list)
    sent_family: defaultdict[int, list[datetime]] = defaultdict(list)
    sent_point: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in rows:
        known, point = facts[row.id], contacts.of(row)
        if row.id in ways and known.live:
            result.rerouted.append((row.id, ways[row.id], None))
            continue
        if point is not None and row.kind != TouchKind.ANSWER:
            known = with_sent(
                known,
                to_patient=sent_patient[row.patient_id],
                to_household=sent_family[families.of(row.patient_id)],
                to_contact=sent_point[point.id],
            )
        decision: Decision = decide(ceilings.judge(row, known), now)
        wish = wishes.get(row.id, _AS_PLANNED)
        if isinstance(decision, Send) and wish.channel is not None:
            result.rerouted.append((row.id, wish.channel, wish.why))
        elif isinstance(decision, Wait):
            result.waits.append((row.id, decision))
        elif isinstance(decision, Send) and point is not None:
            provider = route(point.id, row.came_by)
            if isinstance(provider, Wait):
                result.waits.append((row.id, provider))
                continue
            result.claimed.append(_claimed(row, point, said.get(row.id), channel, provider, decision))
            ceilings.take(row)
            if row.kind != TouchKind.ANSWER:
                sent_patient[row.patient_id].append(now)
                sent_family[families.of(row.patient_id)].append(now)
                sent_point[point.id].append(now)
        else:
            result.nevers.append((row.id, getattr(decision, "why", "unreachable")))
            result.rules[row.id] = decision.rule
            if isinstance(decision, Never) and decision.waited_for is not None:
                result.outwaited[row.id] = decision.waited_for
    return result


def _claimed(row: AnyRow, point: AnyRow, text: Usable | None, channel: str, provider: str, decision: Send) -> Claimed:
    return Claimed(
        touch_id=row.id,
        token=new_token(),
        kind=row.kind,
        answer=row.answer,
        channel=channel,
        provider=provider,
        organisation_id=row.organisation_id,
        patient_id=row.patient_id,
        contact_point_id=point.id,
        sealed_address=point.value,
        template_id=None if text is None else text.id,
        language=row.language,
        organisation=row.organisation,
        organisation_phone=row.phone,
        postal_address=row.postal_address,
        site=row.site or "",
        valid_until=decision.valid_until,
        due_at=row.due_at,
        dispatched_until=row.dispatched_until,
        attempts=row.attempts + 1,
        came_by=row.came_by,
    )


def new_token() -> str:
    """A fresh attempt token: 26 characters base32, lower case; unguessable, and valid in an address or a Message-ID."""
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()


def _write_claimed(
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


def _write_waits(conn: Connection, waits: Sequence[tuple[int, Wait]], now: datetime) -> None:
    groups: defaultdict[tuple[datetime, str], list[int]] = defaultdict(list)
    for id_, wait in waits:
        groups[wait.until, wait.why].append(id_)
    for (until, why), ids in groups.items():
        _update(conn, ids, due_at=until, reason=why, dispatched_until=None)
    tell(
        conn,
        [
            {"touch_id": id_, "what": "waited", "reason": wait.why, "until": wait.until, "rule": wait.rule}
            for id_, wait in waits
        ],
        now,
    )


def _write_nevers(conn: Connection, result: Claim, now: datetime) -> None:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for id_, why in result.nevers:
        groups[why].append(id_)
    for why, ids in groups.items():
        state = TouchState.EXPIRED if why == "expired" else TouchState.SUPPRESSED
        _update(conn, ids, state=state.value, reason=why, ended_at=now, dispatched_until=None)
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


def _write_reroutes(conn: Connection, rerouted: Sequence[tuple[int, str, str | None]], now: datetime) -> None:
    groups: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    for id_, channel, why in rerouted:
        groups[channel, why].append(id_)
    for (channel, why), ids in groups.items():
        _update(conn, ids, channel=channel, reason=why or "rerouted", dispatched_until=None)
        tell(conn, [{"touch_id": id_, "what": "rerouted", "reason": why or f"to_{channel}"} for id_ in ids], now)


def _update(conn: Connection, ids: Sequence[int], **values: Any) -> None:
    conn.execute(update(touch).where(touch.c.id.in_(ids), IS_PLANNED).values(**values))
