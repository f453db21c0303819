"""What a reply does to its patients beside what they chose: holds, wrong numbers, farewells; and how they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from household import NOW, PHONE, Household, StoppedClock, add, row, rows, send, words_for_mail
from rulebooks import STANDARD
from sqlalchemy import Engine, case, update

from domain.ledger import claim_recheck, claims, explain, holds, replies, verdicts
from domain.ledger.audit import audit, breaches
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.claimed import Claim
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.merging import merge
from domain.ledger.patients import patient, patient_contact
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.vocabulary import Hold

SYSTEMS = {"sms": "phone", "email": "email"}
HOUR = timedelta(hours=1)

Writes = Callable[..., int]


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def writes(ledger: Engine, vault: Vault, clock: StoppedClock) -> Writes:
    """The household's phone writes something, which a worker reads at once; the reply's id."""

    def write(text: str) -> int:
        number = len(rows(ledger, reply)) + 1
        with ledger.begin() as conn:
            taken = replies.take(
                conn,
                vault,
                channel="sms",
                system="phone",
                provider_id=f"SM{number}",
                sender=PHONE,
                text=text,
                now=clock.now(),
            )
        with ledger.begin() as conn:
            replies.read(conn, vault, [taken.reply_id or 0], clock.now())
        return taken.reply_id or 0

    return write


def claimed(ledger: Engine, household: Household, clock: StoppedClock) -> Claim:
    """What a worker may send of the household's two texts now."""
    with ledger.begin() as conn:
        return claims.claim(
            conn, household.touches, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=clock.now()
        )


def attached(ledger: Engine, household: Household) -> list[int]:
    links = rows(ledger, patient_contact, contact_point_id=household.phone)
    return [each["patient_id"] for each in links if each["detached_at"] is None]


def told(ledger: Engine, ref: str, clock: StoppedClock) -> str:
    with ledger.begin() as conn:
        return "\n".join(explain.explain(conn, ref, clock.now()).lines())


def is_kept(ledger: Engine, clock: StoppedClock) -> bool:
    with ledger.begin() as conn:
        return breaches(audit(conn, clock.now())) == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [("my husband passed away in may", "reported_deceased"), ("you text me way too early in the morning", "complaint")],
)
def test_a_reported_death_and_a_complaint_hold_the_whole_household_and_mark_nobody(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes, text: str, why: str
) -> None:
    writes(text)

    claim = claimed(ledger, household, clock)
    assert claim.claimed == []
    assert {(wait.why, wait.rule, wait.until) for _, wait in claim.waits} == {(why, "house.held", NOW + HOUR)}
    assert {each["deceased_at"] for each in rows(ledger, patient)} == {None}
    assert {each["state"] for each in rows(ledger, enrolment)} == {"waiting"}
    assert is_kept(ledger, clock)


def test_a_start_ends_no_hold(ledger: Engine, household: Household, clock: StoppedClock, writes: Writes) -> None:
    writes("he died, stop texting him")
    clock.at = NOW + HOUR
    writes("START")

    with ledger.begin() as conn:
        assert set(holds.held(conn, [household.jane, household.john]).values()) == {"reported_deceased"}
    assert rows(ledger, suppression, reason="opt_out", lifted_at=None) == []
    assert is_kept(ledger, clock)


def test_whom_a_person_confirms_as_dead_is_never_contacted_again_and_the_others_go_on(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    reported = writes("my husband passed away in may")
    claimed(ledger, household, clock)
    clock.at = NOW + timedelta(minutes=5)

    with ledger.begin() as conn:
        assert verdicts.confirm_death(conn, reported, ["ptest1"], clock.now()) == ["PTEST1"]

    assert row(ledger, patient, household.john)["deceased_at"] == clock.at
    assert row(ledger, enrolment, household.enrolments[1])["reason"] == "deceased"
    assert row(ledger, reply, reported)["state"] == "closed"
    assert row(ledger, patient, household.jane)["deceased_at"] is None
    assert [each.patient_id for each in claimed(ledger, household, clock).claimed] == [household.jane]
    with ledger.begin() as conn:
        # a source of records that does not know yet
        conn.execute(update(patient).values(deceased_at=None))
        conn.execute(update(touch).where(touch.c.id == household.touches[1]).values(state="planned", due_at=NOW))
        conn.execute(update(enrolment).values(state="waiting", ended_at=None, review_at=clock.at))
    assert [why for _, why in claimed(ledger, household, clock).nevers] == ["suppressed_patient"]


def test_a_household_s_death_is_confirmed_for_nobody_who_was_not_named(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    reported = writes("my husband passed away in may")

    with ledger.begin() as conn:
        for refs in ([], ["PTEST1", "PNOBODY"]):
            with pytest.raises(verdicts.VerdictError, match="name who has died, of PTEST0, PTEST1"):
                verdicts.confirm_death(conn, reported, refs, NOW)
        with pytest.raises(verdicts.VerdictError, match="inbox lift"):
            verdicts.close(conn, reported, NOW)

    assert row(ledger, reply, reported)["state"] == "human"
    assert claimed(ledger, household, clock).claimed == []


def test_a_lifted_report_lets_outreach_go_on_at_once_unless_another_report_waits(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    first, second = writes("my husband passed away in may"), writes("he is dead")
    claimed(ledger, household, clock)

    with ledger.begin() as conn:
        assert verdicts.lift(conn, first, NOW) == []
    assert claimed(ledger, household, clock).claimed == []
    clock.at = NOW + timedelta(minutes=1)
    with ledger.begin() as conn:
        assert verdicts.lift(conn, second, clock.now()) == ["PTEST0", "PTEST1"]
        with pytest.raises(verdicts.VerdictError, match="does not wait"):
            verdicts.lift(conn, second, clock.now())

    assert len(claimed(ledger, household, clock).claimed) == 1
    assert is_kept(ledger, clock)


def test_a_complaint_is_over_once_a_person_closed_it(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    complained = writes("you text me way too early in the morning")
    assert claimed(ledger, household, clock).claimed == []

    clock.at = NOW + timedelta(minutes=1)
    with ledger.begin() as conn:
        assert verdicts.close(conn, complained, clock.now())

    assert len(claimed(ledger, household, clock).claimed) == 1


def test_a_hold_follows_its_patient_into_a_merge_and_ends_with_its_reply(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    with ledger.begin() as conn:
        other = add(conn, patient, organisation_id=household.organisation, ref="PTEST2", home_site_id=household.site)
    reported = writes("my husband passed away in may")
    with ledger.begin() as conn:
        merge(conn, household.john, other, NOW)
        assert set(holds.held(conn, [other])) == {other}

    clock.at = NOW + HOUR
    assert is_kept(ledger, clock)
    with ledger.begin() as conn:
        assert verdicts.lift(conn, reported, clock.now()) == ["PTEST0", "PTEST2"]
        assert holds.held(conn, [other, household.john]) == {}
    assert is_kept(ledger, clock)


def test_a_wrong_number_is_detached_from_whom_we_wrote_to_last_and_never_from_the_others(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    with ledger.begin() as conn:
        send(conn, household, 0, claimed_at=NOW - timedelta(days=2))
        send(conn, household, 1, claimed_at=NOW - timedelta(days=3))

    wrong = writes("wrong number")

    assert attached(ledger, household) == [household.john]
    assert row(ledger, reply, wrong)["state"] == "handled"
    assert rows(ledger, suppression) == []
    assert "detached from contact point 1: the number is not theirs (told by reply 1, rule wrong_number.en.wrong)" in (
        told(ledger, "PTEST0", clock)
    )
    assert "detached" not in told(ledger, "PTEST1", clock)


def test_what_was_planned_at_a_wrong_number_takes_another_way_or_ends(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    words_for_mail(ledger, household)
    writes("this is my number now")

    claim = claimed(ledger, household, clock)

    assert attached(ledger, household) == []
    assert claim.rerouted == [(household.touches[0], "email", None)]
    assert claim.nevers == [(household.touches[1], "unreachable")]


def test_what_is_claimed_when_its_number_turns_out_wrong_is_stopped_before_its_call(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    claim = claimed(ledger, household, clock)

    writes("this is my number now")

    with ledger.begin() as conn:
        assert claim_recheck.still_suppressed(conn, claim.claimed) == {each.touch_id for each in claim.claimed} != set()


@pytest.mark.parametrize("text", ["wrong number", "we moved to Ohio"])
def test_where_nobody_was_written_to_a_person_says_whom_of_a_household_it_concerns(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes, text: str
) -> None:
    unclear = writes(text)

    assert row(ledger, reply, unclear)["state"] == "human"
    assert attached(ledger, household) == [household.jane, household.john]
    assert {wait.why for _, wait in claimed(ledger, household, clock).waits} == {Hold.UNCLEAR.value}
    with ledger.begin() as conn:
        verdicts.close(conn, unclear, NOW)
        assert holds.held(conn, [household.jane, household.john]) == {}


def test_a_number_is_detached_from_whom_a_person_names_and_the_others_go_on_at_once(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    unclear = writes("wrong number")
    claimed(ledger, household, clock)
    clock.at = NOW + timedelta(minutes=5)

    with ledger.begin() as conn:
        assert verdicts.wrong_number(conn, unclear, ["ptest1"], clock.now()) == ["PTEST1"]

    claim = claimed(ledger, household, clock)
    assert attached(ledger, household) == [household.jane]
    assert [each.patient_id for each in claim.claimed] == [household.jane]
    assert claim.nevers == [(household.touches[1], "unreachable")]
    assert row(ledger, reply, unclear)["state"] == "closed"
    assert f"told by a person, about reply {unclear}" in told(ledger, "PTEST1", clock)


def test_whose_a_number_is_not_must_fit_what_the_reply_leaves_open(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    unclear, complaint = writes("wrong number"), writes("you text me way too early in the morning")

    for number, refs, why in (
        (unclear, [], "name whose the number is not, of PTEST0, PTEST1"),
        (unclear, ["PTEST1", "PNOBODY"], "name whose the number is not"),
        (complaint, ["PTEST1"], f"inbox close {complaint}"),
        (999, ["PTEST1"], "does not wait for anybody"),
    ):
        with ledger.begin() as conn, pytest.raises(verdicts.VerdictError, match=why):
            verdicts.wrong_number(conn, number, refs, clock.now())
    assert attached(ledger, household) == [household.jane, household.john]


def test_a_person_who_names_whose_a_number_is_not_settles_no_death_in_passing(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    both = writes("wrong number, he passed away in may")
    with ledger.begin() as conn:
        assert set(holds.by_reply(conn, both)) == {Hold.REPORTED_DEATH.value, Hold.UNCLEAR.value}

        with pytest.raises(verdicts.VerdictError, match="reports a death"):
            verdicts.wrong_number(conn, both, ["PTEST1"], clock.now())


@pytest.mark.parametrize("is_third", [False, True], ids=["into the one released", "both into a third"])
def test_a_merged_record_stays_held_until_somebody_has_looked_at_the_reply_of_each(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes, is_third: bool
) -> None:
    with ledger.begin() as conn:
        conn.execute(
            update(patient_contact).where(patient_contact.c.patient_id == household.jane).values(detached_at=NOW)
        )
    of_john = writes("you text me way too early in the morning")
    with ledger.begin() as conn:
        conn.execute(
            update(patient_contact).values(
                detached_at=case((patient_contact.c.patient_id == household.john, NOW), else_=None)
            )
        )
    of_jane = writes("you text me way too early in the morning")
    survivor = household.jane
    with ledger.begin() as conn:
        if is_third:
            survivor = add(
                conn,
                patient,
                organisation_id=household.organisation,
                ref="PTEST2",
                home_site_id=household.site,
                language="en",
            )
            merge(conn, household.jane, survivor, NOW)
        merge(conn, household.john, survivor, NOW)
    clock.at = NOW + HOUR

    with ledger.begin() as conn:
        verdicts.close(conn, of_jane, clock.now())
        assert holds.held(conn, [survivor]) == {survivor: "complaint"}

        verdicts.close(conn, of_john, clock.now())
        assert holds.held(conn, [survivor]) == {}
    assert is_kept(ledger, clock)


@pytest.mark.parametrize("text", ["we moved to Ohio", "I already saw another doctor", "no thanks, not interested"])
def test_a_farewell_ends_the_enrolment_of_whom_we_wrote_to_and_suppresses_nobody(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes, text: str
) -> None:
    with ledger.begin() as conn:
        send(conn, household, 1, claimed_at=NOW - timedelta(days=1))

    left = writes(text)

    ended = row(ledger, enrolment, household.enrolments[1])
    assert (ended["state"], ended["reason"], ended["ended_at"]) == ("left", "left_campaign", NOW)
    assert row(ledger, enrolment, household.enrolments[0])["state"] == "waiting"
    assert (row(ledger, reply, left)["state"], rows(ledger, suppression)) == ("handled", [])
    rule = row(ledger, reply, left)["rule"]
    assert f"patient: left the campaign (told by reply {left}, rule {rule})" in told(ledger, "PTEST1", clock)
    assert is_kept(ledger, clock)


def test_a_start_undoes_neither_a_wrong_number_nor_a_farewell(
    ledger: Engine, household: Household, clock: StoppedClock, writes: Writes
) -> None:
    with ledger.begin() as conn:
        send(conn, household, 1, claimed_at=NOW - timedelta(days=1))
    writes("we moved to Ohio")
    writes("wrong number")
    clock.at = NOW + HOUR

    writes("START")

    assert attached(ledger, household) == [household.jane]
    assert row(ledger, enrolment, household.enrolments[1])["state"] == "left"


def test_the_effects_are_there_with_the_reading_or_not_at_all(
    ledger: Engine, vault: Vault, household: Household, writes: Writes
) -> None:
    with ledger.begin() as conn:
        taken = replies.take(
            conn,
            vault,
            channel="sms",
            system="phone",
            provider_id="SM-late",
            sender=PHONE,
            text="my husband passed away in may",
            now=NOW,
        )

    with ledger.connect() as conn:
        replies.read(conn, vault, [taken.reply_id or 0], NOW)
        conn.rollback()

    assert (rows(ledger, suppression), rows(ledger, choice_event)) == ([], [])
    assert row(ledger, reply, taken.reply_id or 0)["state"] == "new"
