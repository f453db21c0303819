"""Why something was not sent, or ended: one sentence a person can read for every reason the ledger stores."""

from __future__ import annotations

from collections.abc import Mapping

#: Why a touch goes out later than it was due. Written to follow "not sent yet:" or "expired while it waited:".
WAITS: Mapping[str, str] = {
    "quiet_hours": "it was outside the hours in which this person may be contacted",
    "cap_day": "this person had already been contacted as often as a day allows",
    "cap_week": "this person had already been contacted as often as a week allows",
    "cap_rule": "this person had already been contacted as often as the rule allows",
    "cap_contact_day": "this number or address had already been contacted as often as a day allows",
    "cap_contact_week": "this number or address had already been contacted as often as a week allows",
    "cap_contact_rule": "this number or address had already been contacted as often as the rule allows",
    "cap_household_day": "this person's household had already been contacted as often as a day allows",
    "cap_household_week": "this person's household had already been contacted as often as a week allows",
    "cap_household_rule": "this person's household had already been contacted as often as the rule allows",
    "site_full": "the site had sent as much as it may on one day",
    "campaign_full": "the site had sent as much of this campaign as it may on one day",
    "slots_full": "the site had no open slots for what this week's messages bring",
    "pacing": "the sending limits of the provider or the site were used up for the moment",
    "channel_paused": "the channel is paused",
    "provider_down": "every provider of the channel was failing, so it waited until one could be tried again",
    "campaign_paused": "the campaign is paused",
    "choices_kept": "an opt-out may have been on its way to us that the ledger did not know yet",
    "blackout": "the campaign is silent on that day",
    "throttled": "the provider asked us to slow down",
    "provider_retry": "the provider could not take it then, and it surely was not sent",
    "retry": "the provider could not take it then, and it surely was not sent",
    "released": "it was claimed and let go again before any call was made",
    "booked": "an appointment is ahead",
    "template_unreleased": "its text had not been released by two people",
    "template_recalled": "its text had been recalled",
    "reported_deceased": "somebody replied that the patient has died, which a person has to confirm or to lift",
    "complaint": "somebody complained in a reply, which a person has to look at first",
    "unclear_whose": "a reply concerns one of several patients with this number, and a person has to say which",
}

#: Reason id (rule id, error class or ending) -> what to tell. Written to follow "not sent:" or "ended:".
REASONS: Mapping[str, str] = {
    **WAITS,
    "template_released": "its text was released, or another in its place",
    "campaign_moved": "the patient was moved to a newer version of the campaign",
    "campaign_resumed": "the campaign goes on",
    "unbooked": "the appointment ahead was lost, so it is worth sending again",
    # endings without a call
    "suppressed_contact": "nobody may be contacted at this number or address: it opted out",
    "suppressed_patient": "this person opted out",
    "no_consent": "consent for this channel was revoked",
    "deceased": "the patient has died",
    "merged": "the record was merged into another, which is contacted instead",
    "unreachable": "there is no working number or address for this channel",
    "expired": "it came too late to be worth sending",
    "no_common_hour": "the places where this person may be share no hour in which contact is allowed",
    "enrolment_ended": "the patient's enrolment had ended",
    "unanswered": "as many touches as the campaign allows had gone unanswered",
    "step_replied": "this step is for those who did not answer, and somebody wrote back or was spoken with",
    "step_clicked": "this step is for those who opened no link, and one was opened",
    "step_delivered": "this step is for those whom the last touch did not reach, and it arrived",
    "answers_in_a_row": "three automatic answers in a row were enough: the other side may be a machine",
    "answers_a_day": "this number or address had been answered automatically as often as a day allows",
    "answered_by_network": "the provider or the network had answered it already",
    "holdout": "the patient is in the holdout, which is left alone so that the effect can be measured",
    "attempts_exhausted": "every attempt we allow was used up",
    "recalled": "the campaign was recalled",
    "superseded": "a newer version of the campaign took over",
    # endings of an enrolment
    "opted_out": "the patient opted out",
    "left_campaign": "the patient replied that they need, or want, no more of it",
    "returned": "the patient came back for a visit",
    "graduated": "nobody answered the whole cadence; a light reminder follows now and then",
    "finished": "the cadence and its reminders are over",
    "campaign_ended": "the campaign ended",
    "cadence_over": "the cadence and its reminders are over",
    # around a call
    "lease_short": "too little time was left to call safely, so it was let go and is claimed again",
    "rerouted": "another channel reaches this person and this one does not",
    "escalated": "the earlier touches came to nothing, so this step takes its stronger channel",
    "not_escalated": "the earlier touches did not come to nothing, so this step keeps to the campaign's channels",
    "high_risk": "the patient is at high risk, so a person calls",
    "incentive_item": "its thing is worth more than a patient of a federal or unknown payer may be offered at once",
    "incentive_year": "the patient's payer is federal or unknown, and the year's offers would come to too much",
    "no_template": "the campaign has no text for this channel and language",
    "address_sealed": "the stored number or address could not be opened: its key is not configured",
    "rejected": "the provider refused it for good",
    "bad_address": "the provider says this number or address does not work",
    "uncertain": "nobody knows whether the provider took it, so it is never sent again blindly",
    "channel_error": "the channel failed in the middle of the call, so nobody knows whether it was sent",
    "lease_expired": "the process that was sending it died; the provider or a receipt must tell what became of it",
    "receipt": "the provider's receipt says so",
    "settled_by_person": "a person looked it up",
    "provider_knows": "its provider was asked, and has it",
    "unknown_to_provider": "its provider was asked a day later, and has no such message",
    "not_listed": "its provider does not list it, or not yet",
    "provider_away": "its provider did not answer the question",
    "pause_channel": "the provider refused our account or registration; the channel is paused",
    # lapses that were not enrolled, or that ended
    "already_enrolled": "the patient is already in this campaign, for another lapse",
    "goes_on": "this lapse is enrolled, and its enrolment goes on",
    "had_its_turn": "this lapse already had its enrolment",
    "daily_limit": "the site had its share of today's enrolments, so it waits for a later day",
    "no_open_slots": "the site has no open slots for more this week, so it waits",
    "open_slots_unknown": "nobody told how many open slots the site has this week, so it waits",
    "out_of_season": "the campaign enrols in its seasons only, and it is none of them for this patient",
    "in_another_campaign": "another campaign has begun with it",
    "other_campaign": "another running campaign comes first for this line and segment",
    "no_campaign": "no running campaign covers this line and segment",
    "closed": "the lapse was over before it was looked at",
    "visit": "the patient came for a visit",
    "no_longer_due": "what made the care due has gone",
    "suppressed": "the patient opted out",
}


def sentence(reason: str | None) -> str:
    """The reason in plain English; a provider's code is called one, any other unknown id stands for itself."""
    if not reason:
        return "no reason was recorded"
    if reason in REASONS:
        return REASONS[reason]
    if reason.startswith("to_"):
        return f"{reason.removeprefix('to_')} reaches this person, this channel does not"
    return f"the provider's code was {reason}" if reason[0].isdigit() else reason
