"""Three-way reconciliation: the ledger's opt-outs, the provider's, and what was sent since."""

from __future__ import annotations

from datetime import datetime, timedelta

from household import NOW, PHONE, STRANGER, Household, row, rows, send
from sqlalchemy import Connection, Engine, update

from domain.ledger import choices, reconciling, senders
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.patients import contact_point
from domain.ledger.reconciling import Differences, Listed, reconciliation
from domain.ledger.vault import Vault
from ops.assembly import means_opted_out
from ops.runtime import metrics
from producers.gauges import observe

HOUR = timedelta(hours=1)
LATER = NOW + 9 * HOUR


def _listed(value: str, at: datetime | None) -> Listed:
    sender = senders.known_as("phone", value)
    assert sender is not None
    return Listed(sender, at)


def _compare(ledger: Engine, vault: Vault, household: Household, *listed: Listed) -> Differences:
    return reconciling.with_list(ledger, vault, household.organisation, "phone", listed, LATER)


def _choose(conn: Connection, household: Household, word: str, hours: int) -> None:
    choose = choices.opt_out if word == "STOP" else choices.opt_in
    at = NOW + hours * HOUR
    choose(
        conn,
        organisation_id=household.organisation,
        contact_point_id=household.phone,
        source="reply",
        at=at,
        now=at,
    )


def _refuse(ledger: Engine, household: Household) -> None:
    with ledger.begin() as conn:
        number, _ = send(conn, household, state="rejected")
        conn.execute(update(attempt).where(attempt.c.id == number).values(error_code="21610", finished_at=NOW + HOUR))


def test_an_opt_out_that_only_the_provider_knew_is_in_force_at_once_with_its_date(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    found = _compare(ledger, vault, household, _listed(PHONE, NOW))

    assert (found.listed, found.missing, found.patients) == (1, 1, ["PTEST0", "PTEST1"])
    in_force = {each["patient_id"]: each["since"] for each in rows(ledger, suppression, lifted_at=None)}
    assert in_force == {None: NOW, household.jane: NOW, household.john: NOW}
    assert row(ledger, enrolment, household.enrolments[0])["state"] == "opted_out"
    assert {each["source"] for each in rows(ledger, choice_event)} == {"provider_list"}


def test_the_same_list_again_changes_nothing(ledger: Engine, vault: Vault, household: Household) -> None:
    listed = (_listed(PHONE, None), _listed(PHONE, NOW), _listed(STRANGER, NOW))
    first = _compare(ledger, vault, household, *listed)
    before = rows(ledger, choice_event)

    again = _compare(ledger, vault, household, *listed)

    assert (first.missing, again.missing) == (2, 0)
    assert rows(ledger, choice_event) == before


def test_calls_made_since_the_provider_heard_of_it_are_counted(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    with ledger.begin() as conn:
        send(conn, household, 0, claimed_at=NOW - HOUR)
        send(conn, household, 1, claimed_at=NOW + HOUR)

    assert _compare(ledger, vault, household, _listed(PHONE, NOW)).sent_after == 1


def test_a_start_after_the_listed_opt_out_stays_in_force_and_is_told(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    with ledger.begin() as conn:
        _choose(conn, household, "STOP", 1)
        _choose(conn, household, "START", 3)

    found = _compare(ledger, vault, household, _listed(PHONE, NOW + 2 * HOUR))

    assert (found.missing, found.overtaken) == (0, 1)
    assert rows(ledger, suppression, lifted_at=None) == []


def test_what_is_in_force_here_alone_is_counted_and_left(ledger: Engine, vault: Vault, household: Household) -> None:
    with ledger.begin() as conn:
        _choose(conn, household, "STOP", 1)

    found = _compare(ledger, vault, household, _listed(STRANGER, NOW))

    assert (found.missing, found.ours_alone) == (1, 1)
    assert len(rows(ledger, suppression, lifted_at=None, contact_point_id=household.phone)) == 1


def test_a_strangers_opt_out_is_kept_for_the_day_the_number_is_imported(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    found = _compare(ledger, vault, household, _listed(STRANGER, NOW))

    (stop,) = rows(ledger, suppression)
    assert (found.missing, found.patients) == (1, [])
    assert row(ledger, contact_point, stop["contact_point_id"])["system"] == "phone"


def test_a_refusal_that_never_reached_the_ledger_is_found_in_what_was_sent(
    ledger: Engine, household: Household
) -> None:
    _refuse(ledger, household)

    first = reconciling.with_refusals(ledger, means_opted_out, LATER)
    again = reconciling.with_refusals(ledger, means_opted_out, LATER)

    assert (first.missing, again.missing) == (1, 0)
    (stop,) = rows(ledger, suppression, lifted_at=None, contact_point_id=household.phone)
    assert stop["since"] == NOW + HOUR


def test_a_refusal_before_a_start_is_no_difference(ledger: Engine, household: Household) -> None:
    _refuse(ledger, household)
    with ledger.begin() as conn:
        _choose(conn, household, "START", 2)

    found = reconciling.with_refusals(ledger, means_opted_out, LATER)

    assert (found.missing, found.overtaken) == (0, 0)
    assert rows(ledger, suppression) == []


def test_a_refusal_for_another_reason_stops_nobody(ledger: Engine, household: Household) -> None:
    with ledger.begin() as conn:
        number, _ = send(conn, household, state="rejected")
        conn.execute(update(attempt).where(attempt.c.id == number).values(error_code="30006", finished_at=NOW))

    assert reconciling.with_refusals(ledger, means_opted_out, LATER).missing == 0


def test_the_clock_shows_what_the_last_comparison_found(ledger: Engine, vault: Vault, household: Household) -> None:
    _compare(ledger, vault, household, _listed(PHONE, NOW))
    observe(ledger, [], LATER)
    first = metrics.opt_out_differences.labels("list", "missing")._value.get()
    _compare(ledger, vault, household, _listed(PHONE, NOW))
    observe(ledger, [], LATER)

    assert (first, metrics.opt_out_differences.labels("list", "missing")._value.get()) == (1, 0)
    assert [(each["source"], each["missing"]) for each in rows(ledger, reconciliation)] == [("list", 1), ("list", 0)]
