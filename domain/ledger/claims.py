"""The claim: which of a batch of touches may go now. Locks, facts, decisions and writes of one short transaction."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from domain.ledger import claim_writes
from domain.ledger.ceilings import Ceilings
from domain.ledger.claim_facts import LEASE, Contacts, read_contacts, read_facts
from domain.ledger.claim_rows import AnyRow, lock_and_read, read
from domain.ledger.claim_steps import Wish, read_wishes
from domain.ledger.claim_texts import Usable, read_texts
from domain.ledger.claim_ways import ways_round
from domain.ledger.claimed import Claim, Claimed, Route
from domain.ledger.households import Households
from domain.ledger.incentives import Offers
from domain.ledger.reach import with_calls
from domain.rules.guard import Facts, decide, with_sent
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Decision, Never, Send, TouchKind, Wait

__all__ = [
    "LEASE",
    "Claim",
    "Claimed",
    "Route",
    "claim",
    "judge",
    "new_token",
]

_AS_PLANNED = Wish()


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
        claim_writes.write_claimed(conn, result, ceilings, facts, now, lease)
        offers.write(conn, [each.touch_id for each in result.claimed])
    elif result.claimed:
        claim_writes.write(conn, [each.touch_id for each in result.claimed], dispatched_until=kept_until)
    claim_writes.write_waits(conn, result.waits, now)
    claim_writes.write_nevers(conn, result, now)
    claim_writes.write_reroutes(conn, result.rerouted, now)
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
