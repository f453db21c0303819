"""The claim decides under lock: whom no call ever reaches, who must wait and until when, and who is moved elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from household import NOW, StoppedClock, add, row, rows
from practice import Desk, Elapsed, Person, Practice, Provider, Unpaced
from sqlalchemy import Connection, Engine, update

from channels.kit.contract import Outcome, OutcomeKind, Outgoing
from domain.ledger import choices, consents, enrolments, pauses
from domain.ledger.appointments import care
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import suppression
from domain.ledger.consents import consent
from domain.ledger.enrolments import enrolment
from domain.ledger.patients import contact_point, patient
from domain.ledger.touches import touch, touch_event

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def standing(ledger: Engine, touch_id: int) -> tuple[str, str | None]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"]


def waiting(ledger: Engine, touch_id: int) -> tuple[str, str | None, datetime]:
    return *standing(ledger, touch_id), row(ledger, touch, touch_id)["due_at"]


def test_a_touch_that_nothing_speaks_against_is_called_and_accepted(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()

    desk.worker(provider).send([who.touch])

    (call,) = provider.calls
    (made,) = rows(ledger, attempt)
    assert (call.to, call.reference, call.now) == (who.number, made["token"], NOW)
    assert call.valid_until == datetime(2026, 3, 5, 3, tzinfo=UTC)
    assert call.body.startswith("sms from Northstar Health: https://reach.example.org/b/")
    assert (made["state"], made["called_at"], made["zones"]) == ("accepted", NOW, "America/Denver")
    assert standing(ledger, who.touch) == ("accepted", None)
    assert row(ledger, touch, who.touch)["accepted_at"] == NOW


def test_the_same_batch_a_second_time_calls_nobody(practice: Practice, desk: Desk, provider: Provider) -> None:
    people = [practice.person() for _ in range(3)]
    worker = desk.worker(provider)

    for _ in range(2):
        worker.send([each.touch for each in people])

    assert provider.called == {each.number: 1 for each in people}


def test_an_opt_out_committed_before_the_claim_means_no_call(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    practice.stop(who)

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert standing(ledger, who.touch) == ("cancelled", "opted_out")


@pytest.mark.parametrize("subject", ["contact_point_id", "patient_id"])
@pytest.mark.parametrize("channel", [None, "sms"])
def test_the_claim_itself_refuses_whoever_is_suppressed(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, subject: str, channel: str | None
) -> None:
    who, free = practice.person(), practice.person()
    stopped = {subject: who.phone if subject == "contact_point_id" else who.id}
    with ledger.begin() as conn:
        common = {"organisation_id": practice.organisation, "reason": "opt_out", "since": NOW}
        add(conn, suppression, **common, channel=channel, **stopped)
        add(conn, suppression, **common, channel="email", contact_point_id=free.phone)
        add(conn, suppression, **common, lifted_at=NOW, patient_id=free.id)

    desk.worker(provider).send([who.touch, free.touch])

    why = "suppressed_contact" if subject == "contact_point_id" else "suppressed_patient"
    assert provider.called == {free.number: 1}
    assert standing(ledger, who.touch) == ("suppressed", why)
    (told,) = rows(ledger, touch_event, touch_id=who.touch)
    assert (told["what"], told["reason"]) == ("suppressed", why)


@pytest.mark.parametrize(("age", "calls"), [(1.5, 0), (0.5, 1)])
def test_an_opt_out_after_the_claim_is_seen_right_before_the_call_once_the_claim_is_a_second_old(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    age: float,
    calls: int,
) -> None:
    who, other = practice.person(), practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(age))
    worker = desk.worker(provider, Unpaced(before=lambda: practice.stop(who)))

    worker.send([who.touch, other.touch])

    assert (provider.called[who.number], provider.called[other.number]) == (calls, 1)
    if not calls:
        desk.worker(provider).send([who.touch])
        assert provider.called[who.number] == 0
        assert standing(ledger, who.touch)[0] in {"suppressed", "cancelled"}


def leaves(conn: Connection, _practice: Practice, who: Person) -> None:
    enrolments.leave(conn, [who.id], NOW)


def books(conn: Connection, practice: Practice, who: Person) -> None:
    common = {"site_id": practice.site, "service_line": "cardiology"}
    add(conn, care, patient_id=who.id, **common, next_appointment_at=NOW + DAY)


@pytest.mark.parametrize(
    ("change", "why", "then"),
    [(leaves, "enrolment_ended", ("suppressed", "enrolment_ended")), (books, "booked", ("planned", "booked"))],
)
def test_who_left_or_booked_after_the_claim_is_seen_right_before_the_call(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Connection, Practice, Person], None],
    why: str,
    then: tuple[str, str],
) -> None:
    who, other = practice.person(), practice.person()
    answer = practice.plan(
        who.id, None, kind="answer", answer="help", contact_point_id=who.phone, expires_at=NOW + HOUR, priority=0
    )
    with ledger.begin() as conn:
        # one of yesterday is ahead of nobody
        gone = {"site_id": practice.site, "service_line": "primary_care", "next_appointment_at": NOW - DAY}
        add(conn, care, patient_id=other.id, **gone)
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    def happen() -> None:
        with ledger.begin() as conn:
            change(conn, practice, who)

    desk.worker(provider, Unpaced(before=happen)).send([who.touch, other.touch, answer])

    assert provider.called == {other.number: 1, who.number: 1}
    assert standing(ledger, answer) == ("accepted", None)
    assert waiting(ledger, who.touch) == ("planned", why, NOW)
    desk.worker(provider).send([who.touch])
    assert standing(ledger, who.touch) == then


def test_a_consent_revoked_after_the_claim_is_seen_right_before_the_call_like_any_opt_out(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, other = practice.person(), practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    def revoke() -> None:
        for each, channel in ((who, "sms"), (other, "email")):
            assert each.phone is not None
            with ledger.begin() as conn:
                consents.record(
                    conn,
                    organisation_id=practice.organisation,
                    contact_point_id=each.phone,
                    channel=channel,
                    purpose="outreach",
                    is_granted=False,
                    source="portal",
                    at=NOW,
                    now=NOW,
                )

    desk.worker(provider, Unpaced(before=revoke)).send([who.touch, other.touch])

    assert provider.called == {other.number: 1}
    desk.worker(provider).send([who.touch])
    assert standing(ledger, who.touch) == ("suppressed", "no_consent")


def test_a_pause_after_the_claim_is_seen_right_before_the_call_once_the_claim_is_a_second_old(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    def pause() -> None:
        with ledger.begin() as conn:
            pauses.pause(conn, "sms", "operator", NOW)

    desk.worker(provider, Unpaced(before=pause)).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch) == ("planned", "channel_paused", NOW)


def test_an_opt_out_during_a_wave_is_seen_by_what_could_not_start_with_it(
    ledger: Engine, practice: Practice, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = practice.person(), practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    def answer(_message: Outgoing) -> Outcome:
        practice.stop(second)
        return Outcome(OutcomeKind.ACCEPTED)

    provider = Provider(answer=answer, at_once=1)
    desk.worker(provider).send([first.touch, second.touch])

    assert provider.called == {first.number: 1}


def test_what_could_outlive_its_lease_is_given_back_untouched(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(31))

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch) == ("planned", "lease_short", NOW)
    assert row(ledger, touch, who.touch)["attempts"] == 0


@pytest.mark.parametrize(
    ("table", "of", "values", "why"),
    [
        (patient, "id", {"deceased_at": NOW}, "deceased"),
        (enrolment, "enrolment", {"ended_at": NOW, "state": "finished"}, "enrolment_ended"),
        (enrolment, "enrolment", {"arm": "holdout"}, "enrolment_ended"),
        (contact_point, "phone", {"quality": "bad"}, "unreachable"),
        (touch, "touch", {"expires_at": NOW}, "expired"),
    ],
)
def test_whom_a_call_must_never_reach_is_ended_with_the_reason(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    table: Any,
    of: str,
    values: dict[str, Any],
    why: str,
) -> None:
    who = practice.person()
    with ledger.begin() as conn:
        conn.execute(update(table).where(table.c.id == getattr(who, of)).values(**values))

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert standing(ledger, who.touch) == ("expired" if why == "expired" else "suppressed", why)


def test_revoked_consent_stops_its_channel_only(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    people = {channel: practice.person() for channel in ("sms", "email")}
    with ledger.begin() as conn:
        for channel, who in people.items():
            add(
                conn,
                consent,
                organisation_id=practice.organisation,
                contact_point_id=who.phone,
                channel=channel,
                status="revoked",
                since=NOW,
            )

    desk.worker(provider).send([each.touch for each in people.values()])

    assert provider.called == {people["email"].number: 1}
    assert standing(ledger, people["sms"].touch) == ("suppressed", "no_consent")


def test_quiet_hours_wait_for_the_very_instant_and_then_it_goes(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    clock.at = datetime(2026, 3, 5, 3, tzinfo=UTC)
    opening = datetime(2026, 3, 5, 16, tzinfo=UTC)
    worker = desk.worker(provider)

    worker.send([who.touch])

    assert waiting(ledger, who.touch) == ("planned", "quiet_hours", opening)
    (told,) = rows(ledger, touch_event, touch_id=who.touch)
    assert (told["what"], told["reason"], told["until"]) == ("waited", "quiet_hours", opening)

    for clock.at in (opening - timedelta(seconds=1), opening):
        worker.send([who.touch])

    assert [call.now for call in provider.calls] == [opening]


def test_every_zone_of_the_number_and_of_everyone_behind_it_must_be_awake(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    moved, shared = practice.person(), practice.person()
    practice.change_zones(moved.phone, "Pacific/Honolulu,America/Denver")
    practice.person(number=shared.number, zone="America/Anchorage")

    desk.worker(provider).send([moved.touch, shared.touch])

    assert provider.calls == []
    assert waiting(ledger, moved.touch) == ("planned", "quiet_hours", NOW + 2 * HOUR)
    assert waiting(ledger, shared.touch) == ("planned", "quiet_hours", NOW + HOUR)


def test_an_appointment_ahead_holds_a_touch_back_until_the_day_after(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    with ledger.begin() as conn:
        add(
            conn,
            care,
            patient_id=who.id,
            site_id=practice.site,
            service_line="dental",
            next_appointment_at=NOW + DAY,
        )

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch) == ("planned", "booked", NOW + 2 * DAY)


def test_a_paused_channel_makes_claims_wait_and_goes_on_when_resumed(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    worker = desk.worker(provider)
    with ledger.begin() as conn:
        pauses.pause(conn, "sms", "30034", NOW)

    worker.send([who.touch])
    assert waiting(ledger, who.touch) == ("planned", "channel_paused", NOW + timedelta(minutes=15))

    with ledger.begin() as conn:
        pauses.resume(conn, "sms")
    clock.at += timedelta(minutes=15)
    worker.send([who.touch])
    assert provider.called == {who.number: 1}


def test_a_patient_whose_number_is_bad_is_moved_to_the_channel_that_reaches_them(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person(mail="jane.doe@example.com")
    with ledger.begin() as conn:
        choices.mark_bad(conn, who.phone or 0, "provider", NOW)

    desk.worker(provider).send([who.touch])

    mailer = Provider("email", "email")
    desk.worker(mailer).send([who.touch])
    assert provider.calls == []
    assert mailer.called == {"jane.doe@example.com": 1}
    assert [each["reason"] for each in rows(ledger, touch_event, touch_id=who.touch)][:1] == ["to_email"]
