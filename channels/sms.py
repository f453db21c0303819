"""Text messages by the first provider: a Twilio-compatible account."""

from __future__ import annotations

from channels.kit.contract import LONGEST_TIMEOUT, Setting
from channels.kit.twilio import LONGEST, SmsChannel

SETTINGS = (
    Setting("REACTIVATE_SMS_URL", "Address of the Twilio-compatible API, e.g. https://api.twilio.com; unset: no SMS"),
    Setting("REACTIVATE_SMS_ACCOUNT_SID", "Account, as in the API's paths"),
    Setting("REACTIVATE_SMS_AUTH_TOKEN", "Token of the account; also signs its webhooks", secret=True),
    Setting("REACTIVATE_SMS_FROM", "Sending number; or give a messaging service"),
    Setting("REACTIVATE_SMS_MESSAGING_SERVICE_SID", "Messaging service that picks the sending number"),
    Setting(
        "REACTIVATE_SMS_PROVIDER_ANSWERS",
        "`yes` where the provider answers STOP, START and HELP itself (Twilio's default opt-out handling): we do not",
        "no",
    ),
    Setting("REACTIVATE_SMS_RATE_PER_SECOND", "Segments per second of the sender (US long code: 1)", "1"),
    Setting("REACTIVATE_SMS_BURST", f"Segments at once, at least {LONGEST}, the longest message", str(LONGEST)),
    Setting("REACTIVATE_SMS_ACCOUNT_RATE_PER_SECOND", "Segments per second of the account; default: the sender's", ""),
    Setting(
        "REACTIVATE_SMS_DESTINATION_RATE_PER_SECOND",
        "Segments per second to one class of destinations (numbers of +1, all others); default: the account's",
        "",
    ),
    Setting(
        "REACTIVATE_SMS_WEIGHT",
        "Share of the numbers it serves where a second provider is set up; 0: where no other can",
        "100",
    ),
    Setting(
        "REACTIVATE_SMS_TIMEOUT_SECONDS", f"For a whole call, at most {LONGEST_TIMEOUT}: less than half the lease", "10"
    ),
)

CHANNEL = SmsChannel("sms", SETTINGS)
