"""While the ledger is away, what the outside tells us waits on disk, sealed and in order, and is dated as it came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from household import NOW, PHONE, StoppedClock, count, rows
from outage import Outage, is_drained, on_disk, sid, start_before
from sqlalchemy import Engine
from waiting import wait_until
from webserver import Serve, start_web

from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.organisations import organisation
from domain.ledger.store import open_ledger
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.runtime import metrics

_TEXT = "my knee hurts so much"
_ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def test_a_stop_while_the_ledger_is_away_is_answered_kept_and_in_force_once_it_is_back(outage: Outage) -> None:
    web = outage.start()
    outage.begin()

    answers = [web.inbound("STOP"), web.inbound(_TEXT, sid=sid(2)), web.status("delivered")]

    assert [each.status_code for each in answers] == [200, 200, 204]
    assert answers[0].text.endswith("<Response/>")
    kept = on_disk(outage.directory)
    assert len(kept) > 300
    assert _TEXT.encode() not in kept
    assert PHONE.encode() not in kept
    assert PHONE[2:].encode() not in kept

    outage.end()

    assert len(rows(outage.ledger, suppression, lifted_at=None)) == 3
    assert (count(outage.ledger, reply), count(outage.ledger, receipt)) == (2, 1)
    assert len(web.opt_out_seconds) == 1


def test_what_waits_is_readable_by_us_alone(outage: Outage) -> None:
    web = outage.start()
    outage.begin()
    web.inbound("STOP")

    (path,) = outage.directory.glob("*.spool")

    assert (outage.directory.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_start_does_not_overtake_the_stop_that_waits(outage: Outage) -> None:
    clock = StoppedClock()
    web = outage.start(clock=clock)
    outage.begin()
    for number, text in enumerate(("STOP", "START", "STOP", "START")):
        clock.at = NOW + timedelta(seconds=number)
        assert web.inbound(text, sid=sid(number)).status_code == 200

    outage.end()

    assert [each["provider_id"] for each in rows(outage.ledger, reply)] == [sid(number) for number in range(4)]
    assert rows(outage.ledger, suppression, lifted_at=None) == []
    assert len(rows(outage.ledger, choice_event, kind="restored")) == 6


def test_what_comes_while_others_wait_goes_behind_them_even_if_the_ledger_is_back(outage: Outage) -> None:
    clock = StoppedClock()
    web = outage.start(clock=clock)
    other = open_ledger(str(outage.ledger.url.render_as_string(hide_password=False)))
    outage.begin()
    web.inbound("STOP")
    outage.relay.mend()
    with other.begin() as conn:
        # the ledger is there, and the replay cannot go on yet
        conn.execute(organisation.update().values(name="Lakeside"))
        conn.exec_driver_sql("LOCK TABLE reply")
        clock.at = NOW + timedelta(minutes=1)
        behind = web.inbound("START", sid=sid(2))

        assert behind.status_code == 200
        assert not is_drained(outage.directory)

    wait_until(lambda: is_drained(outage.directory))
    other.dispose()
    assert [each["intent"] for each in rows(outage.ledger, reply)] == ["opt_out", "opt_in"]
    assert rows(outage.ledger, suppression, lifted_at=None) == []


def test_a_message_is_dated_by_its_reception_and_written_when_it_is(outage: Outage) -> None:
    clock = StoppedClock()
    web = outage.start(clock=clock)
    outage.begin()
    web.inbound("STOP")
    web.status("delivered")
    clock.at = NOW + timedelta(hours=2)

    outage.end()

    assert [each["received_at"] for each in (*rows(outage.ledger, reply), *rows(outage.ledger, receipt))] == [NOW, NOW]
    assert {each["since"] for each in rows(outage.ledger, suppression)} == {NOW}
    events = rows(outage.ledger, choice_event, kind="suppressed")
    # the audit judges calls by when it was written: before, no claim could see it
    assert {(each["at"], each["recorded_at"]) for each in events} == {(NOW, clock.at)}
    assert web.opt_out_seconds == [7200.0]


def test_an_opt_out_is_confirmed_within_five_minutes_of_its_reception_and_help_is_answered_whenever_it_can_be(
    outage: Outage,
) -> None:
    clock = StoppedClock()
    web = outage.start(clock=clock)
    outage.begin()
    web.inbound("STOP")
    web.inbound("HELP", sid=sid(2))
    clock.at = later = NOW + timedelta(hours=2)

    outage.end()

    due = {each["answer"]: (each["due_at"], each["expires_at"]) for each in rows(outage.ledger, touch, kind="answer")}
    # planned when the message is stored, and over before that
    assert due["opt_out_confirmation"] == (later, NOW + timedelta(minutes=5))
    assert due["help"] == (later, later + timedelta(minutes=5))


def test_a_late_start_does_not_lift_an_opt_out_made_after_it(outage: Outage) -> None:
    clock = StoppedClock(NOW + timedelta(minutes=2))
    web = outage.start(clock=clock)
    web.inbound("STOP")
    outage.begin()
    # as by another process, which received it before and could not store it
    clock.at = NOW + timedelta(minutes=1)
    web.inbound("START", sid=sid(2))

    outage.end()

    assert count(outage.ledger, reply) == 2
    assert len(rows(outage.ledger, suppression, lifted_at=None)) == 3
    # kept all the same, and nothing of it reached the patients
    assert [each["patient_id"] for each in rows(outage.ledger, choice_event, kind="restored")] == [None]


def test_a_start_that_waited_at_one_process_does_not_lift_the_second_stop_taken_by_another(
    outage: Outage, postgres_url: str, vault: Vault, serve: Serve
) -> None:
    clock = StoppedClock()
    cut_off = outage.start(clock=clock)
    other = open_ledger(postgres_url)
    connected = start_before(other, vault, serve, outage.directory, settles=False, clock=clock)
    connected.inbound("STOP")
    outage.begin()
    clock.at = NOW + timedelta(minutes=10)
    cut_off.inbound("START", sid=sid(2))
    clock.at = NOW + timedelta(minutes=20)
    connected.inbound("STOP", sid=sid(3))

    outage.end()

    assert count(other, reply) == 3
    assert len(rows(other, suppression, lifted_at=None)) == 3
    other.dispose()


def test_a_one_click_unsubscribe_is_kept_too_and_the_patient_is_told_that_it_is_done(outage: Outage) -> None:
    web = outage.start()
    path = web.link("unsubscribe", web.household.touches[0])
    with outage.ledger.begin() as conn:
        conn.execute(touch.update().values(contact_point_id=web.household.email))
    outage.begin()

    asked = web.client.get(path, headers={"accept-language": "es-US,es;q=0.9"})
    done = web.client.post(path, data=_ONE_CLICK, headers={"accept-language": "es-US"})
    unclear = web.client.post(path, data={"List-Unsubscribe": "Maybe"})
    forged = web.client.post("/u/nonsense", data=_ONE_CLICK)

    assert [each.status_code for each in (asked, done, unclear, forged)] == [200, 200, 400, 404]
    assert asked.headers["content-language"] == done.headers["content-language"] == "es"
    assert "<form" in asked.text
    assert "baja" in done.text

    outage.end()

    stopped = {
        (each["contact_point_id"], each["patient_id"]) for each in rows(outage.ledger, suppression, lifted_at=None)
    }
    assert stopped == {(web.household.email, None), (None, web.household.jane)}


def test_an_unsubscribe_taken_twice_does_not_undo_the_start_that_followed(
    ledger: Engine, vault: Vault, serve: Serve
) -> None:
    clock = StoppedClock()
    web = start_web(ledger, vault, serve, clock=clock)
    with ledger.begin() as conn:
        conn.execute(touch.update().values(contact_point_id=web.household.phone))
    path = web.link("unsubscribe", web.household.touches[0])
    web.client.post(path, data=_ONE_CLICK)
    clock.at = NOW + timedelta(minutes=1)
    web.inbound("START")

    # of the same instant: for the ledger it is the same POST, taken from disk once more
    clock.at = NOW
    answer = web.client.post(path, data=_ONE_CLICK)

    assert answer.status_code == 200
    assert rows(ledger, suppression, lifted_at=None) == []
    assert len(rows(ledger, choice_event, kind="suppressed")) == 3


def test_a_booking_link_asks_for_patience_while_the_ledger_is_away(outage: Outage) -> None:
    web = outage.start()
    outage.begin()

    answer = web.client.get(web.link("book", web.household.touches[0]), headers={"accept-language": "fr"})

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["content-language"] == "fr"
    assert "<main>" in answer.text


def test_a_publisher_of_events_can_ask_again_and_is_told_to(vault: Vault, serve: Serve, sqlite_url: str) -> None:
    engine = open_ledger(sqlite_url)

    def unreachable(*_: object) -> None:
        with engine.connect() as conn:
            conn.exec_driver_sql("SELECT * FROM nowhere")

    web = start_web(engine, vault, serve, take_event=unreachable)
    answer = web.client.post("/events", content=b"{}", headers={"authorization": "Bearer a-token-of-a-publisher"})

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    engine.dispose()


def test_a_process_stays_ready_while_only_the_ledger_is_away(outage: Outage) -> None:
    web = outage.start()
    outage.begin()

    answer = web.client.get("/ready")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "ledger": "away"})


def test_where_neither_ledger_nor_disk_takes_it_nothing_is_claimed(
    outage: Outage, capfd: pytest.CaptureFixture[str]
) -> None:
    # root may write everywhere, but not below a file
    outage.directory.parent.write_text("no directory")
    unkept = metrics.webhook_rejected_total.labels("sms", "unkept")
    before = unkept._value.get()
    web = outage.start()
    outage.begin()

    answers = [web.inbound(_TEXT), web.status("sent"), web.client.get("/ready")]

    assert [each.status_code for each in answers] == [503] * 3
    assert answers[0].headers["retry-after"] == "5"
    assert unkept._value.get() == before + 2
    said = capfd.readouterr()
    assert "knee" not in said.out + said.err + "".join(each.text for each in answers)
    outage.relay.mend()
    assert web.inbound(_TEXT).status_code == 200
