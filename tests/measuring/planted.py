"""What an audit is shown: an orderly campaign, and every way to break a promise, each planted in its books."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update

from domain.ledger.campaigns import campaign
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import receipt
from domain.ledger.patients import patient
from domain.ledger.texts import template, template_version
from tests.measuring.books import DAY, NEUTRAL, NOON, REVIEWERS, Books, Person

#: When the audit looks.
NOW = NOON + 30 * DAY
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def an_orderly_campaign(books: Books) -> None:
    """Everything that is allowed and looks as if it were not."""
    early = books.person(home=books.desert, number_zones="America/Phoenix")
    books.sent(early, books.enrol(early), datetime(2031, 3, 3, 16, tzinfo=UTC), zones="America/Phoenix")
    spaced = books.person()
    spaced_enrolment = books.enrol(spaced)
    # exactly 24 hours, and exactly 7 days, apart is allowed
    for days in (0, 1, 2, 7):
        books.sent(spaced, spaced_enrolment, NOON - timedelta(hours=1) + days * DAY)
    stopped = books.person()
    stopped_enrolment = books.enrol(
        stopped, state="opted_out", ended_at=NOON + 60 * SECOND, review_at=None, reason="opted_out"
    )
    books.sent(stopped, stopped_enrolment)
    books.stop(NOON + 60 * SECOND, contact_point_id=stopped.phone)
    books.stop(NOON + 60 * SECOND, patient_id=stopped.id)
    elsewhere = books.person()
    books.choice("confidential", NOON - DAY, patient_id=elsewhere.id, contact_point_id=elsewhere.phone)
    books.sent(elsewhere, books.enrol(elsewhere))
    books.choice("confidential_end", NOON + DAY, patient_id=elsewhere.id, contact_point_id=elsewhere.phone)
    books.choice("confidential", NOON + DAY, patient_id=elsewhere.id, contact_point_id=books.phone())
    returned = books.person()
    books.choice("detached", NOON - 2 * DAY, patient_id=returned.id, contact_point_id=returned.phone)
    books.choice("confidential", NOON - DAY, patient_id=returned.id, contact_point_id=returned.phone, source="staff")
    books.sent(returned, books.enrol(returned))
    recalled = books.template(NEUTRAL)
    books.decide(_version(books, recalled), "recalled", NOON + SECOND / 2, who="Sam Reed")
    _sent_saying(books, recalled, called_at=NOON + SECOND)
    answer = books.touch(stopped, None, kind="answer", answer="opt_out_confirmation", state="accepted", ended_at=NOON)
    books.attempt(stopped, answer, NOON + 65 * SECOND, kind="answer", zones="")
    held = books.person()
    books.enrol(held, arm="holdout")
    revoked = books.touch(spaced, spaced_enrolment, state="cancelled", reason="booked", ended_at=NOON)
    books.event(revoked, "cancelled", "booked")
    books.reply(spaced, "book")
    books.reply(spaced, None, state="new")
    books.offer(_sent_offering(books, 800), _last_enrolment(books), cents=800)
    in_danger = books.reply(spaced, "emergency", state="human")
    told = books.touch(
        spaced, None, kind="answer", answer="emergency", reply_id=in_danger, state="accepted", ended_at=NOON
    )
    books.attempt(spaced, told, NOON + HOUR / 60, kind="answer", zones="")
    books.reply(spaced, "emergency", state="human", at=NOW)
    kept_outside = books.reply(spaced, "emergency", state="closed", at=NOW - 3 * HOUR)
    books.touch(
        spaced, None, kind="answer", answer="emergency", reply_id=kept_outside, due_at=NOW, expires_at=NOW + HOUR
    )
    # exactly the ceilings, a year of its own, and a payer that is not federal
    for nth in range(5):
        books.offer(spaced, spaced_enrolment, cents=1500, incentive=f"thing-{nth}")
    books.offer(spaced, spaced_enrolment, cents=1500, year=NOON.year + 1)
    books.offer(held, books.enrol(books.person()), cents=9000, is_federal=False)


def an_emergency_without_an_answer(books: Books) -> None:
    books.reply(books.person(), "emergency", state="human")


def an_emergency_whose_answer_came_too_late(books: Books) -> None:
    who = books.person()
    asked = books.reply(who, "emergency", state="human")
    late = {"state": "expired", "reason": "expired", "ended_at": NOON}
    books.event(books.touch(who, None, kind="answer", answer="emergency", reply_id=asked, **late), "expired", "expired")


def an_emergency_that_no_person_was_shown(books: Books) -> None:
    who = books.person()
    asked = books.reply(who, "emergency")
    told = {"state": "suppressed", "reason": "answers_a_day", "ended_at": NOON}
    books.event(
        books.touch(who, None, kind="answer", answer="emergency", reply_id=asked, **told), "suppressed", "answers_a_day"
    )


def sent_after_a_stop_of_the_patient(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, patient_id=who.id)
    books.sent(who, books.enrol(who))


def sent_after_a_stop_that_an_earlier_start_had_lifted(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 2 * DAY, in_force=False, contact_point_id=who.phone)
    books.choice("restored", NOON - 3 * DAY, recorded_at=NOON - DAY, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))
    books.stop(NOON + DAY, contact_point_id=who.phone)


def sent_after_a_stop_at_the_number_by_a_housemate(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))


def sent_between_a_stop_and_a_later_start(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, lifted_at=NOON + DAY, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))


def sent_long_after_its_claim_in_spite_of_a_stop_meanwhile(books: Books) -> None:
    who = books.person()
    books.stop(NOON, patient_id=who.id)
    books.sent(who, books.enrol(who), NOON + 2 * SECOND, claimed_at=NOON - SECOND)


def refused_by_the_provider_after_a_stop(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, patient_id=who.id)
    touch_id = books.touch(who, books.enrol(who), state="rejected", reason="rejected", ended_at=NOON)
    books.attempt(who, touch_id, state="rejected")


def a_booking_link_answered_after_a_stop(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, patient_id=who.id)
    touch_id = books.touch(who, None, kind="answer", answer="booking_link", state="accepted")
    books.attempt(who, touch_id, kind="answer")


def sent_against_a_revoked_consent(books: Books) -> None:
    who = books.person()
    books.choice("revoked", NOON - DAY, contact_point_id=who.phone, channel="sms", source="ehr")
    books.sent(who, books.enrol(who))


def two_accepted_attempts_of_a_touch(books: Books) -> None:
    who = books.person()
    touch_id = books.touch(who, books.enrol(who), state="accepted", ended_at=NOON)
    books.attempt(who, touch_id, NOON - 8 * DAY)
    books.attempt(who, touch_id, NOON)


def a_blind_resend_after_an_uncertain_attempt(books: Books) -> None:
    who = books.person()
    touch_id = books.touch(who, books.enrol(who), state="accepted", ended_at=NOON)
    books.attempt(who, touch_id, NOON - 8 * DAY, state="uncertain")
    books.attempt(who, touch_id, NOON)


def a_call_at_half_past_eight_in_the_morning(books: Books) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), datetime(2031, 3, 4, 13, 30, tzinfo=UTC))


def a_call_at_eight_in_the_evening_to_the_minute(books: Books) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), datetime(2031, 3, 5, 1, 0, tzinfo=UTC))


def a_call_on_sunday_morning(books: Books) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), datetime(2031, 3, 2, 15, tzinfo=UTC))


def a_call_an_hour_early_because_arizona_has_no_summer_time(books: Books) -> None:
    # 15:30 UTC on a July day: 9:30 in Denver, 8:30 in Phoenix
    who = books.person(home=books.desert)
    at = datetime(2031, 7, 8, 15, 30, tzinfo=UTC)
    books.sent(who, books.enrol(who), at, zones="America/Phoenix,America/Denver")


def a_call_judged_in_the_wrong_zone_for_its_number(books: Books) -> None:
    # 14:30 UTC in March: 9:30 in New York, where the claim looked; 6:30 in Los Angeles, where the number is
    who = books.person(number_zones="America/Los_Angeles")
    books.sent(who, books.enrol(who), datetime(2031, 3, 4, 14, 30, tzinfo=UTC))


def a_call_judged_in_no_zone_at_all(books: Books) -> None:
    who = books.person(home=books.desert)
    books.sent(who, books.enrol(who), datetime(2031, 3, 4, 15, 30, tzinfo=UTC), zones="")


def a_second_call_within_24_hours(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    books.sent(who, number, NOON)
    # another phone: the person is what counts
    books.sent(who, number, NOON + DAY - SECOND, contact_point_id=books.phone())


def a_fourth_call_within_7_days(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    for days in (0, 2, 4):
        books.sent(who, number, NOON + days * DAY, contact_point_id=books.phone(), kind="reminder")
    books.sent(who, number, NOON + timedelta(days=6, hours=1), contact_point_id=books.phone())


def two_people_called_on_one_phone_in_a_day(books: Books) -> None:
    who, other = books.person(), books.person()
    books.sent(who, books.enrol(who), NOON)
    books.sent(other, books.enrol(other), NOON + timedelta(hours=1), contact_point_id=who.phone, state="accepted")


def a_template_that_names_a_specialty(books: Books) -> None:
    books.template("{organisation}: oncology misses you. {link}", segment="never_rebooked")


def a_template_with_a_name_in_it(books: Books) -> None:
    books.template("{organisation}: hello {given_name}", segment="never_rebooked")


def a_live_enrolment_with_nothing_ahead(books: Books) -> None:
    who = books.person()
    books.sent(who, books.enrol(who, review_at=None))


def an_enrolment_in_no_known_state(books: Books) -> None:
    books.enrol(books.person(), state="lost", ended_at=NOON, reason="x", review_at=None)


def an_enrolment_over_without_an_end(books: Books) -> None:
    books.enrol(books.person(), state="finished", reason="cadence_over")


def a_sending_touch_nobody_sends(books: Books) -> None:
    who = books.person()
    books.touch(who, books.enrol(who), state="sending")


def an_accepted_attempt_whose_touch_goes_on(books: Books) -> None:
    who = books.person()
    books.attempt(who, books.touch(who, books.enrol(who)))


def a_decided_lapse_that_went_nowhere(books: Books) -> None:
    books.lapse(books.person())


def a_reply_in_no_known_state(books: Books) -> None:
    books.reply(books.person(), "book", state="mislaid")


def a_receipt_nobody_applied(books: Books) -> None:
    books.add(receipt, channel="sms", provider_ref="SM1", status="delivered", received_at=NOW - 9 * DAY)


def a_cancelled_touch_without_a_reason(books: Books) -> None:
    who = books.person()
    books.touch(who, books.enrol(who), state="cancelled", ended_at=NOON)


def a_wait_without_a_reason(books: Books) -> None:
    who = books.person()
    books.event(books.touch(who, books.enrol(who)), "waited", None)


def an_end_without_a_reason(books: Books) -> None:
    books.enrol(books.person(), state="finished", ended_at=NOON, review_at=None)


def a_touch_planned_for_the_holdout(books: Books) -> None:
    who = books.person()
    books.touch(who, books.enrol(who, arm="holdout"))


def a_touch_beyond_the_days_share_of_its_campaign(books: Books) -> None:
    books.conn.execute(update(campaign).values(daily_touches=2, started_at=NOON + 20 * DAY))
    for nth in range(3):
        who = books.person()
        books.sent(who, books.enrol(who), NOON + 25 * DAY + nth * HOUR)


def an_offer_dearer_than_one_item_may_be(books: Books) -> None:
    who = books.person()
    books.offer(who, books.enrol(who), cents=1501)


def offers_that_come_to_more_than_a_year_may_have(books: Books) -> None:
    who = books.person()
    enrolled = books.enrol(who)
    for nth in range(6):
        books.offer(who, enrolled, incentive=f"thing-{nth}", cents=1300)


def an_offer_that_is_in_no_book(books: Books) -> None:
    _sent_offering(books, 800)


def an_offer_worth_more_than_the_books_say(books: Books) -> None:
    who = _sent_offering(books, 9000)
    books.offer(who, _last_enrolment(books), cents=500)


def a_stop_in_the_history_that_is_not_in_force(books: Books) -> None:
    books.stop(NOON, in_force=False, contact_point_id=books.person().phone)


def a_stop_lifted_by_a_start_made_before_it(books: Books) -> None:
    who = books.person()
    books.stop(NOON, lifted_at=NOON - DAY, contact_point_id=who.phone)


def a_stop_by_reply_that_is_in_no_history(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 2 * DAY, lifted_at=NOON - DAY, contact_point_id=who.phone)
    books.reply(who, "opt_out", at=NOON)


def a_stop_in_force_without_a_history(books: Books) -> None:
    who = books.person()
    books.stop(NOON, patient_id=who.id)
    books.conn.execute(delete(choice_event).where(choice_event.c.patient_id == who.id))


def called_elsewhere_than_the_patient_asked(books: Books) -> None:
    who = books.person()
    books.choice("confidential", NOON - DAY, patient_id=who.id, contact_point_id=books.phone())
    books.sent(who, books.enrol(who))


def called_where_the_patient_no_longer_wants_to_be_reached(books: Books) -> None:
    who = books.person()
    books.choice("confidential", NOON - 2 * DAY, patient_id=who.id, contact_point_id=who.phone)
    books.choice("confidential_end", NOON - DAY, patient_id=who.id, contact_point_id=who.phone)
    books.choice("confidential", NOON - DAY, patient_id=who.id, contact_point_id=books.phone())
    books.sent(who, books.enrol(who))


def _answered(books: Books, who: Person, at: datetime) -> None:
    came = books.reply(who, "help", at=at)
    touch_id = books.touch(who, None, kind="answer", answer="help", state="accepted", reply_id=came, ended_at=at)
    books.attempt(who, touch_id, at, kind="answer")


def a_fourth_answer_in_a_row(books: Books) -> None:
    who = books.person()
    for hour in (0, 1, 2, 22):
        _answered(books, who, NOON + hour * HOUR)


def a_sixth_answer_in_a_day(books: Books) -> None:
    who = books.person()
    for hour in range(6):
        books.reply(who, "question", "closed", at=NOON + hour * HOUR)
        _answered(books, who, NOON + hour * HOUR + 61 * SECOND)


def outreach_to_whom_a_reply_put_on_hold(books: Books) -> None:
    who = books.person()
    _hold(books, who, NOON - DAY)
    books.sent(who, books.enrol(who))


def outreach_to_whom_the_reply_of_a_merged_record_still_held(books: Books) -> None:
    gone, survivor = books.person(), books.person()
    for who, state in ((gone, "human"), (survivor, "closed")):
        reported = books.reply(who, "complaint", state=state, at=NOON - 3 * DAY, handled_at=NOON - DAY)
        books.choice("held", NOON - 3 * DAY, patient_id=who.id, reason="complaint", reply_id=reported)
    books.choice("held", NOON - 3 * DAY, patient_id=survivor.id, reason="complaint", source="merge")
    books.conn.execute(update(patient).where(patient.c.id == gone.id).values(merged_into_id=survivor.id))
    books.choice("released", NOON - DAY, patient_id=survivor.id, reason="complaint", source="person")
    for who, lifted_at in ((gone, None), (survivor, NOON - DAY)):
        in_force = {"reason": "complaint", "since": NOON - 3 * DAY, "lifted_at": lifted_at, "patient_id": who.id}
        books.add(suppression, organisation_id=books.org, **in_force)
    books.sent(survivor, books.enrol(survivor))


def outreach_at_a_number_that_is_not_theirs(books: Books) -> None:
    who = books.person()
    books.choice("detached", NOON - DAY, patient_id=who.id, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))


def a_hold_in_the_history_that_is_not_in_force(books: Books) -> None:
    books.choice("held", NOON - DAY, patient_id=books.person().id, reason="complaint")


def a_text_that_one_person_released_in_both_roles(books: Books) -> None:
    text = books.template(NEUTRAL, people=(("marketing", "Sam Reed"), ("clinical", " sam reed")))
    _sent_saying(books, text)


def a_text_that_only_marketing_released(books: Books) -> None:
    _sent_saying(books, books.template(NEUTRAL, people=REVIEWERS[:1]))


def a_text_released_a_second_after_it_was_sent(books: Books) -> None:
    text = books.template(NEUTRAL, people=REVIEWERS[:1])
    books.decide(_version(books, text), "released", NOON + SECOND, role="clinical", who="Sam Reed")
    _sent_saying(books, text)


def a_text_with_other_words_than_were_released(books: Books) -> None:
    text = books.template(NEUTRAL)
    books.conn.execute(
        update(template_version).where(template_version.c.id == _version(books, text)).values(checksum="d")
    )
    _sent_saying(books, text)


def a_recalled_text_claimed_afterwards(books: Books) -> None:
    text = books.template(NEUTRAL)
    books.decide(_version(books, text), "recalled", NOON - SECOND, who="Sam Reed")
    _sent_saying(books, text)


def a_recalled_text_called_long_after_its_claim(books: Books) -> None:
    text = books.template(NEUTRAL)
    books.decide(_version(books, text), "recalled", NOON - 5 * SECOND, who="Sam Reed")
    _sent_saying(books, text, claimed_at=NOON - 6 * SECOND)


def outreach_that_says_no_text_on_record(books: Books) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), template_id=None)


def _sent_saying(books: Books, text: int, **of_attempt: datetime) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), template_id=text, **of_attempt)


def _sent_offering(books: Books, cents: int) -> Person:
    text, who = books.template(NEUTRAL), books.person()
    books.conn.execute(update(template).where(template.c.id == text).values(incentive="bottle", cents=cents))
    books.sent(who, books.enrol(who), template_id=text)
    return who


def _last_enrolment(books: Books) -> int:
    return int(books.conn.execute(select(func.max(enrolment.c.id))).scalar_one())


def _version(books: Books, text: int) -> int:
    version = select(template.c.template_version_id).where(template.c.id == text)
    return int(books.conn.execute(version).scalar_one())


def _hold(books: Books, who: Person, at: datetime) -> None:
    books.choice("held", at, patient_id=who.id, reason="complaint")
    books.add(suppression, organisation_id=books.org, reason="complaint", since=at, patient_id=who.id)


PLANTED: list[tuple[Callable[[Books], None], str]] = [
    (called_elsewhere_than_the_patient_asked, "confidential_ignored"),
    (called_where_the_patient_no_longer_wants_to_be_reached, "confidential_ignored"),
    (sent_after_a_stop_of_the_patient, "sent_after_opt_out"),
    (sent_after_a_stop_that_an_earlier_start_had_lifted, "sent_after_opt_out"),
    (sent_after_a_stop_at_the_number_by_a_housemate, "sent_after_opt_out"),
    (sent_between_a_stop_and_a_later_start, "sent_after_opt_out"),
    (sent_long_after_its_claim_in_spite_of_a_stop_meanwhile, "sent_after_opt_out"),
    (refused_by_the_provider_after_a_stop, "sent_after_opt_out"),
    (a_booking_link_answered_after_a_stop, "sent_after_opt_out"),
    (sent_against_a_revoked_consent, "sent_after_opt_out"),
    (outreach_to_whom_a_reply_put_on_hold, "sent_after_opt_out"),
    (outreach_to_whom_the_reply_of_a_merged_record_still_held, "sent_after_opt_out"),
    (outreach_at_a_number_that_is_not_theirs, "sent_after_opt_out"),
    (two_accepted_attempts_of_a_touch, "accepted_twice"),
    (a_blind_resend_after_an_uncertain_attempt, "accepted_twice"),
    (a_call_at_half_past_eight_in_the_morning, "outside_hours"),
    (a_call_at_eight_in_the_evening_to_the_minute, "outside_hours"),
    (a_call_on_sunday_morning, "outside_hours"),
    (a_call_an_hour_early_because_arizona_has_no_summer_time, "outside_hours"),
    (a_call_judged_in_the_wrong_zone_for_its_number, "outside_hours"),
    (a_call_judged_in_no_zone_at_all, "outside_hours"),
    (a_second_call_within_24_hours, "over_cap"),
    (a_fourth_call_within_7_days, "over_cap"),
    (two_people_called_on_one_phone_in_a_day, "over_cap"),
    (a_fourth_answer_in_a_row, "over_cap"),
    (a_sixth_answer_in_a_day, "over_cap"),
    (an_emergency_without_an_answer, "emergency_unanswered"),
    (an_emergency_whose_answer_came_too_late, "emergency_unanswered"),
    (an_emergency_that_no_person_was_shown, "emergency_unanswered"),
    (a_template_that_names_a_specialty, "phi_in_outreach"),
    (a_template_with_a_name_in_it, "phi_in_outreach"),
    (a_text_that_one_person_released_in_both_roles, "sent_unreleased"),
    (a_text_that_only_marketing_released, "sent_unreleased"),
    (a_text_released_a_second_after_it_was_sent, "sent_unreleased"),
    (a_text_with_other_words_than_were_released, "sent_unreleased"),
    (a_recalled_text_claimed_afterwards, "sent_unreleased"),
    (a_recalled_text_called_long_after_its_claim, "sent_unreleased"),
    (outreach_that_says_no_text_on_record, "sent_unreleased"),
    (a_live_enrolment_with_nothing_ahead, "unaccounted"),
    (an_enrolment_in_no_known_state, "unaccounted"),
    (an_enrolment_over_without_an_end, "unaccounted"),
    (a_sending_touch_nobody_sends, "unaccounted"),
    (an_accepted_attempt_whose_touch_goes_on, "unaccounted"),
    (a_decided_lapse_that_went_nowhere, "unaccounted"),
    (a_reply_in_no_known_state, "unaccounted"),
    (a_receipt_nobody_applied, "unaccounted"),
    (a_cancelled_touch_without_a_reason, "without_reason"),
    (a_wait_without_a_reason, "without_reason"),
    (an_end_without_a_reason, "without_reason"),
    (a_touch_planned_for_the_holdout, "holdout_contacted"),
    (a_touch_beyond_the_days_share_of_its_campaign, "over_daily_share"),
    (an_offer_dearer_than_one_item_may_be, "incentives_over_ceiling"),
    (offers_that_come_to_more_than_a_year_may_have, "incentives_over_ceiling"),
    (an_offer_that_is_in_no_book, "incentives_over_ceiling"),
    (an_offer_worth_more_than_the_books_say, "incentives_over_ceiling"),
    (a_stop_in_the_history_that_is_not_in_force, "suppression_disagrees"),
    (a_stop_lifted_by_a_start_made_before_it, "suppression_disagrees"),
    (a_stop_by_reply_that_is_in_no_history, "suppression_disagrees"),
    (a_stop_in_force_without_a_history, "suppression_disagrees"),
    (a_hold_in_the_history_that_is_not_in_force, "suppression_disagrees"),
]
