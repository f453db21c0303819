"""Text messages by a second provider: another Twilio-compatible account, with its own number and limits."""

from __future__ import annotations

from channels.kit.contract import LONGEST_TIMEOUT, Setting
from channels.kit.twilio import LONGEST, SmsChannel

SETTINGS = (
    Setting("REACTIVATE_SMS_SECOND_URL", "Address of the API; unset: there is no second provider"),
    Setting("REACTIVATE_SMS_SECOND_ACCOUNT_SID", "Account, as in the API's paths"),
    Setting("REACTIVATE_SMS_SECOND_AUTH_TOKEN", "Token of the account; also signs its webhooks", secret=True),
    Setting("REACTIVATE_SMS_SECOND_FROM", "Sending number; or give a messaging service"),
    Setting("REACTIVATE_SMS_SECOND_MESSAGING_SERVICE_SID", "Messaging service that picks the sending number"),
    Setting(
        "REACTIVATE_SMS_SECOND_PROVIDER_ANSWERS",
        "`yes` where the provider answers STOP, START and HELP itself (Twilio's default opt-out handling): we do not",
        "no",
    ),
    Setting("REACTIVATE_SMS_SECOND_RATE_PER_SECOND", "Segments per second of the sender (US long code: 1)", "1"),
    Setting("REACTIVATE_SMS_SECOND_BURST", f"Segments at once, at least {LONGEST}, the longest message", str(LONGEST)),
    Setting(
        "REACTIVATE_SMS_SECOND_ACCOUNT_RATE_PER_SECOND", "Segments per second of the account; default: the sender's", ""
    ),
    Setting(
        "REACTIVATE_SMS_SECOND_DESTINATION_RATE_PER_SECOND",
        "Segments per second to one class of destinations (numbers of +1, all others); default: the account's",
        "",
    ),
    Setting(
        "REACTIVATE_SMS_SECOND_WEIGHT",
        "Share of the numbers it serves beside the first provider's; 0: where no other can",
        "100",
    ),
    Setting(
        "REACTIVATE_SMS_SECOND_TIMEOUT_SECONDS",
        f"For a whole call, at most {LONGEST_TIMEOUT}: less than half the lease",
        "10",
    ),
)

CHANNEL = SmsChannel("sms_second", SETTINGS)
