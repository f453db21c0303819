"""Hearing: what came of the touches of an enrolment, read for the steps and campaigns that ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, or_, select

from domain.ledger.among import among
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.patients import patient_contact
from domain.ledger.touches import touch, touch_event
from domain.rules.steps import SPOKEN_WITH, Heard
from domain.rules.vocabulary import Delivery, Intent, TouchKind, TouchState

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

#: What the history of a touch calls it when its link was opened.
_CLICKED: Final = "clicked"

#: Who wrote back: from any of the patient's numbers and addresses, whoever else shares it.
_REPLIED: Final = (
    select(enrolment.c.id, func.max(reply.c.received_at))
    .join(patient_contact, patient_contact.c.patient_id == enrolment.c.patient_id)
    .join(reply, reply.c.contact_point_id == patient_contact.c.contact_point_id)
    .where(
        among(enrolment.c.id, "ids"),
        reply.c.received_at >= enrolment.c.enrolled_at,
        # one that is not understood yet was written by somebody
        or_(reply.c.intent.is_(None), reply.c.intent.not_in([Intent.REACTION.value, Intent.AUTO_REPLY.value])),
    )
    .group_by(enrolment.c.id)
)
_DID: Final = (
    select(touch.c.enrolment_id, touch_event.c.what, func.max(touch_event.c.at))
    .join(touch_event, touch_event.c.touch_id == touch.c.id)
    .where(among(touch.c.enrolment_id, "ids"), touch_event.c.what.in_([_CLICKED, SPOKEN_WITH]))
    .group_by(touch.c.enrolment_id, touch_event.c.what)
)
_WENT: Final = (
    select(touch.c.enrolment_id, touch.c.state, touch.c.delivery, touch.c.accepted_at)
    .where(
        among(touch.c.enrolment_id, "ids"),
        touch.c.kind == TouchKind.OUTREACH.value,
        touch.c.state.in_([TouchState.ACCEPTED.value, TouchState.REJECTED.value]),
    )
    .order_by(touch.c.step, touch.c.id)
)


def hear(conn: Connection, enrolment_ids: Collection[int]) -> dict[int, Heard]:
    """What came of the touches of these enrolments, by enrolment."""
    if not enrolment_ids:
        return {}
    ids = {"ids": sorted(enrolment_ids)}
    wrote: dict[int, datetime] = {row[0]: row[1] for row in conn.execute(_REPLIED, ids)}
    did: dict[tuple[int, str], datetime] = {(row[0], row[1]): row[2] for row in conn.execute(_DID, ids)}
    went: defaultdict[int, list[AnyRow]] = defaultdict(list)
    for row in conn.execute(_WENT, ids):
        went[row.enrolment_id].append(row)
    return {
        id_: Heard(
            replied_at=max(filter(None, [wrote.get(id_), did.get((id_, SPOKEN_WITH))]), default=None),
            clicked_at=did.get((id_, _CLICKED)),
            is_undelivered=_is_undelivered(went[id_]),
            sent_at=tuple(row.accepted_at for row in went[id_] if row.accepted_at is not None),
        )
        for id_ in enrolment_ids
    }


def _is_undelivered(went: Sequence[AnyRow]) -> bool:
    return bool(went) and (went[-1].state == TouchState.REJECTED or went[-1].delivery == Delivery.UNDELIVERED)
