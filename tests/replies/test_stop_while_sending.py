"""Promise 3: no claim that begins after an opt-out's commit takes a touch of that number, whatever else is running."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from household import NOW, Household, add, enrol, meet, plan_touch, rows, send
from rulebooks import STANDARD
from sqlalchemy import Engine, select

from domain.ledger import replies
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign
from domain.ledger.claims import claim
from domain.ledger.patients import patient, patient_contact
from domain.ledger.touches import touch
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault

_PEOPLE = 24
_SYSTEMS = {"sms": "phone", "email": "email"}


def _settle_more(ledger: Engine, vault: Vault, household: Household) -> dict[str, list[int]]:
    """More patients, two to a number, each with one text due: touch ids by number."""
    by_number: dict[str, list[int]] = {}
    with ledger.begin() as conn:
        plan = conn.execute(select(campaign.c.id)).scalar_one()
        for index in range(_PEOPLE):
            number = f"+130355501{40 + index // 2}"
            point = meet(conn, vault, household.organisation, "phone", number)
            person = add(
                conn,
                patient,
                organisation_id=household.organisation,
                ref=f"PMORE{index}",
                home_site_id=household.site,
                language="en",
            )
            add(conn, patient_contact, patient_id=person, contact_point_id=point)
            enrolled = enrol(conn, household.organisation, household.site, plan, person)
            made = plan_touch(
                conn,
                organisation_id=household.organisation,
                patient_id=person,
                site_id=household.site,
                enrolment_id=enrolled,
            )
            by_number.setdefault(number, []).append(made)
    return by_number


def _claim(ledger: Engine, ids: list[int]) -> set[int]:
    with ledger.begin() as conn:
        result = claim(conn, ids, channel="sms", system="phone", systems=_SYSTEMS, rules=STANDARD, now=NOW)
    return {each.touch_id for each in result.claimed}


def _stop(ledger: Engine, vault: Vault, number: str) -> None:
    transact(
        ledger,
        lambda conn: replies.take(
            conn, vault, channel="sms", system="phone", provider_id=number, sender=number, text="STOP", now=NOW
        ),
    )


def test_after_a_stop_no_claim_takes_the_touch_while_others_go_on(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    by_number = _settle_more(ledger, vault, household)
    everything = [each for ids in by_number.values() for each in ids]
    stopping = list(by_number)[::2]
    start = threading.Barrier(4)
    claimed_late: set[int] = set()

    def claim_in_small_batches(worker: int) -> None:
        start.wait(timeout=60)
        for begin in range(worker, len(everything), 3):
            _claim(ledger, [everything[begin], everything[-begin - 1]])

    def stop_all() -> None:
        start.wait(timeout=60)
        for number in stopping:
            _stop(ledger, vault, number)
            claimed_late.update(_claim(ledger, by_number[number]))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(claim_in_small_batches, worker) for worker in range(3)] + [pool.submit(stop_all)]
        for each in running:
            each.result(timeout=60)

    _claim(ledger, everything)
    states = {each["id"]: each["state"] for each in rows(ledger, touch, kind="outreach") if each["id"] in everything}
    stopped = {each for number in stopping for each in by_number[number]}
    assert claimed_late == set()
    assert {states[each] for each in stopped} <= {"cancelled", "sending"}
    assert sum(state == "sending" for state in states.values()) == len(rows(ledger, attempt))


def test_a_stop_before_the_claim_leaves_nothing_to_send(ledger: Engine, vault: Vault, household: Household) -> None:
    by_number = _settle_more(ledger, vault, household)
    number, ids = next(iter(by_number.items()))

    _stop(ledger, vault, number)

    assert _claim(ledger, ids) == set()
    assert {each["state"] for each in rows(ledger, touch, kind="outreach") if each["id"] in ids} == {"cancelled"}


def test_the_confirmation_itself_may_be_claimed(ledger: Engine, vault: Vault, household: Household) -> None:
    with ledger.begin() as conn:
        send(conn, household)
    _stop(ledger, vault, "+13035550101")

    answers = [each["id"] for each in rows(ledger, touch, kind="answer")]

    assert _claim(ledger, answers) == set(answers) != set()
