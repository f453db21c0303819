"""Settings that cannot be are refused by name before anything begins, and names that nobody reads are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from channels.kit.discovery import providers
from ops.runtime.settings import NAMES

Run = Callable[..., Result]

SMS = {
    "REACTIVATE_SMS_URL": "https://api.example.com",
    "REACTIVATE_SMS_ACCOUNT_SID": "AC1",
    "REACTIVATE_SMS_AUTH_TOKEN": "a-secret-token",
    "REACTIVATE_SMS_FROM": "+12125550100",
}
EMAIL = {"REACTIVATE_SMTP_HOST": "relay.example.org", "REACTIVATE_SMTP_FROM": "care@example.org"}
PUBLIC = "REACTIVATE_PUBLIC_URL"


def setting(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("METRICS_PORT", "99999"),
        ("METRICS_PORT", "²"),
        ("WEB_PORT", "99999"),
        ("WEB_PORT", "-1"),
        ("DATABASE_URL", "postgresql://u:secret@localhost:99999/x"),
        ("DATABASE_URL", "postgresql://u:secret@localhost:0/x"),
        ("AMQP_URL", "amqp://u:secret@localhost:99999/x"),
        ("REDIS_URL", "redis://:secret@localhost:99999/0"),
        ("VAULT_KEYS", "²:AAAA"),
        ("PUBLIC_URL", "http://["),
        ("PUBLIC_URL", "outreach.example.org"),
        ("PUBLIC_URL", "ftp://outreach.example.org"),
        ("PUBLIC_URL", "https://outreach.example.org:99999"),
        ("PUBLIC_URL", "https://outreach.example.org/?x=1"),
        ("PUBLIC_URL", "https://outreach example.org"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"REACTIVATE_{name}", value)

    result = run("audit")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"reactivate: REACTIVATE_{name}: ")
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.output


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "no host at all"])
def test_a_host_that_is_not_this_machine_is_named_not_its_port(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("REACTIVATE_WEB_HOST", host)
    monkeypatch.setenv("REACTIVATE_WEB_PORT", "0")

    result = run("web")

    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        f"reactivate: REACTIVATE_WEB_HOST: {host} is no address of this machine",
    )


@pytest.mark.parametrize("channel", [SMS, EMAIL], ids=["sms", "email"])
@pytest.mark.parametrize(
    "public",
    ["", "http://127.0.0.1:8080", "https://localhost", "http://127.8.0.1", "http://[::1]:80", "http://0.0.0.0"],
)
def test_no_real_patient_is_sent_a_link_to_this_machine(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, channel: dict[str, str], public: str
) -> None:
    setting(monkeypatch, {**channel, PUBLIC: public})

    result = run("channel", "list")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"reactivate: {PUBLIC}: ")
    assert "https://HOST[:PORT][/PATH]" in result.stderr


@pytest.mark.parametrize(
    ("provider", "public"),
    [("https://api.example.com", "https://outreach.example.org"), ("http://127.0.0.1:9", ""), ("http://[::1]:9", "")],
)
def test_a_public_address_for_real_patients_and_this_machine_for_simulated_ones_are_fine(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, provider: str, public: str
) -> None:
    setting(monkeypatch, {**SMS, "REACTIVATE_SMS_URL": provider, PUBLIC: public})

    result = run("channel", "list")

    assert result.exit_code == 0
    assert "sms: ready" in result.stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("REACTIVATE_DATABASEURL", "REACTIVATE_DATABASE_URL"),
        ("REACTIVATE_SMS_TOKEN", "REACTIVATE_SMS_AUTH_TOKEN"),
    ],
)
def test_a_name_that_nobody_reads_is_told_with_the_one_that_was_meant(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    monkeypatch.setenv(typed, "secret")

    result = run("audit")

    assert (result.exit_code, result.stderr) == (0, f"reactivate: {typed} is no setting: did you mean {meant}?\n")


def test_a_name_in_the_homes_own_file_is_told_too(run: Run, home: Path, ledger_file: Path) -> None:
    (home / "settings.env").write_text("REACTIVATE_QQQQQQ=1\n")

    assert run("audit").stderr == "reactivate: REACTIVATE_QQQQQQ is no setting, and nobody reads it\n"


def test_no_name_that_somebody_reads_is_told(run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = NAMES | {each.name for channel in providers().values() for each in channel.settings}
    setting(monkeypatch, dict.fromkeys(names - {"REACTIVATE_HOME"}, ""))
    monkeypatch.setenv("REACTIVATE_VAULT_KEYS", "1:" + "A" * 43 + "=")
    monkeypatch.setenv("REACTIVATE_INDEX_KEY", "A" * 43 + "=")
    monkeypatch.setenv("REACTIVATE_TEST_AMQP_URL", "for the tests' own servers")
    monkeypatch.setenv("REACTIVATE_CLOCK", "system")

    result = run("audit")

    assert (result.exit_code, result.stderr) == (0, "")
