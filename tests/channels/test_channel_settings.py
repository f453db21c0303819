"""A channel is set up by its environment: wholly, or not at all, with errors that name the variable."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from channels.email import CHANNEL as EMAIL
from channels.kit.contract import LONGEST_TIMEOUT, ChannelSettingsError
from channels.kit.discovery import providers
from channels.kit.twilio import LONGEST
from channels.sms import CHANNEL as SMS
from domain.ledger.claim_facts import LEASE

SMS_ENVIRON = {
    "REACTIVATE_SMS_URL": "https://api.example.com/",
    "REACTIVATE_SMS_ACCOUNT_SID": "AC1",
    "REACTIVATE_SMS_AUTH_TOKEN": "a-secret-token",
    "REACTIVATE_SMS_FROM": "+12125550100",
}
EMAIL_ENVIRON = {"REACTIVATE_SMTP_HOST": "relay.example.org", "REACTIVATE_SMTP_FROM": "care@example.org"}
SECOND_ENVIRON = {name.replace("_SMS_", "_SMS_SECOND_"): value for name, value in SMS_ENVIRON.items()}
ENVIRONS = {"sms": SMS_ENVIRON, "sms_second": SECOND_ENVIRON, "email": EMAIL_ENVIRON}
PUBLIC = "https://outreach.example.org"


@pytest.mark.parametrize("channel", providers())
def test_a_channel_without_settings_is_not_set_up(channel: str) -> None:
    empty = dict.fromkeys(ENVIRONS[channel], "")

    assert providers()[channel].configure({}, PUBLIC) is None
    assert providers()[channel].configure(empty, PUBLIC) is None


@pytest.mark.parametrize(("channel", "variable"), [(name, key) for name in ENVIRONS for key in ENVIRONS[name]])
def test_half_a_configuration_is_an_error_that_names_what_is_missing(channel: str, variable: str) -> None:
    environ = {name: value for name, value in ENVIRONS[channel].items() if name != variable}

    with pytest.raises(ChannelSettingsError, match=variable):
        providers()[channel].configure(environ, PUBLIC)


@pytest.mark.parametrize(
    ("channel", "variable", "value"),
    [
        ("sms", "REACTIVATE_SMS_URL", "api.example.com"),
        ("sms", "REACTIVATE_SMS_URL", "ftp://api.example.com"),
        ("sms", "REACTIVATE_SMS_URL", "https://api.example.com:port"),
        ("sms", "REACTIVATE_SMS_URL", "https://["),
        ("sms", "REACTIVATE_SMS_URL", "https://api.example.com/?x=1"),
        ("sms", "REACTIVATE_SMS_URL", "http://api.example.com"),
        ("sms", "REACTIVATE_SMS_ACCOUNT_SID", "AC1/../AC2"),
        ("sms", "REACTIVATE_SMS_MESSAGING_SERVICE_SID", "MG1"),
        ("sms", "REACTIVATE_SMS_RATE_PER_SECOND", "fast"),
        ("sms", "REACTIVATE_SMS_RATE_PER_SECOND", "0"),
        ("sms", "REACTIVATE_SMS_RATE_PER_SECOND", "nan"),
        ("sms", "REACTIVATE_SMS_RATE_PER_SECOND", "inf"),
        ("sms", "REACTIVATE_SMS_ACCOUNT_RATE_PER_SECOND", "-1"),
        ("sms", "REACTIVATE_SMS_DESTINATION_RATE_PER_SECOND", "x"),
        ("sms", "REACTIVATE_SMS_BURST", "23"),
        ("sms", "REACTIVATE_SMS_BURST", "24.5"),
        ("sms", "REACTIVATE_SMS_TIMEOUT_SECONDS", "30"),
        ("sms", "REACTIVATE_SMS_WEIGHT", "-1"),
        ("sms_second", "REACTIVATE_SMS_SECOND_URL", "api.example.com"),
        ("sms_second", "REACTIVATE_SMS_SECOND_WEIGHT", "most"),
        ("email", "REACTIVATE_SMTP_TIMEOUT_SECONDS", "30"),
        ("email", "REACTIVATE_SMTP_PORT", "70000"),
        ("email", "REACTIVATE_SMTP_TLS", "ssl"),
        ("email", "REACTIVATE_SMTP_CA_FILE", "no-such-file.pem"),
        ("email", "REACTIVATE_SMTP_FROM", "Lakeside Health"),
        ("email", "REACTIVATE_SMTP_FROM", "care@example.org>\nX: y"),
        ("email", "REACTIVATE_SMTP_REPLY_TO", "desk"),
        ("email", "REACTIVATE_SMTP_DOMAIN", "example .org"),
        ("email", "REACTIVATE_SMTP_DOMAIN", "x" * 60 + "." + "y" * 60),
        ("email", "REACTIVATE_SMTP_USERNAME", "care"),
        ("email", "REACTIVATE_SMTP_PASSWORD", "secret-password"),
        ("email", "REACTIVATE_SMTP_BURST", "0"),
        ("email", "REACTIVATE_SMTP_CONNECTIONS", "many"),
    ],
)
def test_a_malformed_setting_is_named(channel: str, variable: str, value: str) -> None:
    environ = {**ENVIRONS[channel], variable: value}

    with pytest.raises(ChannelSettingsError, match=_mentioned(variable)):
        providers()[channel].configure(environ, PUBLIC)


def _mentioned(variable: str) -> str:
    # two senders conflict under the name of the first
    return "|".join(map(re.escape, [variable, "REACTIVATE_SMS_MESSAGING_SERVICE_SID"]))


def test_a_password_is_not_sent_in_clear_to_another_machine() -> None:
    login = {"REACTIVATE_SMTP_USERNAME": "care", "REACTIVATE_SMTP_PASSWORD": "secret-password"}
    environ = {**EMAIL_ENVIRON, **login, "REACTIVATE_SMTP_TLS": "none"}

    with pytest.raises(ChannelSettingsError, match="REACTIVATE_SMTP_TLS") as raised:
        EMAIL.configure(environ, PUBLIC)

    assert "secret-password" not in str(raised.value)
    assert EMAIL.configure({**environ, "REACTIVATE_SMTP_HOST": "127.0.0.1"}, PUBLIC) is not None


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")

    with pytest.raises(ChannelSettingsError, match="REACTIVATE_SMTP_CA_FILE"):
        EMAIL.configure({**EMAIL_ENVIRON, "REACTIVATE_SMTP_CA_FILE": str(path)}, PUBLIC)


def test_secrets_do_not_show_in_a_configuration() -> None:
    login = {"REACTIVATE_SMTP_USERNAME": "care", "REACTIVATE_SMTP_PASSWORD": "secret-password"}

    shown = repr(SMS.configure(SMS_ENVIRON, PUBLIC)) + repr(EMAIL.configure({**EMAIL_ENVIRON, **login}, PUBLIC))

    assert "a-secret-token" not in shown
    assert "secret-password" not in shown


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_from_the_way_of_encryption(tls: str, port: int) -> None:
    config = EMAIL.configure({**EMAIL_ENVIRON, "REACTIVATE_SMTP_TLS": tls}, PUBLIC)

    assert config is not None
    assert config.server.port == port


def test_a_text_passes_the_account_then_its_destinations_then_its_sender() -> None:
    rates = {
        "REACTIVATE_SMS_ACCOUNT_RATE_PER_SECOND": "100",
        "REACTIVATE_SMS_DESTINATION_RATE_PER_SECOND": "50",
        "REACTIVATE_SMS_RATE_PER_SECOND": "2.5",
    }
    config = SMS.configure({**SMS_ENVIRON, **rates}, PUBLIC)
    assert config is not None

    at_home, abroad = (SMS.rates(config, to) for to in ("+12125550123", "+442079460123"))

    assert [rate.per_second for rate in at_home] == [100, 50, 2.5]
    assert at_home[0] == abroad[0]
    assert at_home[1].key != abroad[1].key
    assert at_home[2] == abroad[2]

    # what is not set is as fast as what it is wider than
    alone = SMS.configure({**SMS_ENVIRON, "REACTIVATE_SMS_RATE_PER_SECOND": "2.5"}, PUBLIC)
    assert alone is not None
    assert [rate.per_second for rate in SMS.rates(alone, "+12125550123")] == [2.5] * 3


def test_no_message_costs_more_than_its_cells_hold() -> None:
    config = SMS.configure(SMS_ENVIRON, PUBLIC)
    assert config is not None

    costs = [SMS.cost(text) for text in ("", "a", "a" * 161, "á" * 1600, "á" * 100_000)]

    assert costs == [1, 1, 2, 24, LONGEST]
    assert min(rate.burst for rate in SMS.rates(config, "+12125550123")) >= LONGEST


def test_cost_is_that_of_the_text_as_it_is_sent() -> None:
    assert SMS.cost("It’s time – " + "a" * 100) == 1


@pytest.mark.parametrize("channel", providers())
def test_every_setting_is_explained(channel: str) -> None:
    settings = providers()[channel].settings

    assert all(setting.help and setting.name.startswith("REACTIVATE_") for setting in settings)
    assert any(setting.secret for setting in settings)


def test_no_call_may_take_half_the_lease() -> None:
    assert LEASE.total_seconds() / 2 > LONGEST_TIMEOUT
