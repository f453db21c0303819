"""A channel is one file dropped into `channels/`; a file that offers none is an error, not a silence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import channels
from channels.kit.discovery import discover, providers

CARRIER_PIGEON = """
from channels.kit.twilio import SmsChannel
from channels.sms import SETTINGS

class PigeonChannel(SmsChannel):
    name = "pigeon"

CHANNEL = PigeonChannel("sms", SETTINGS)
"""


def forget() -> None:
    """What was discovered before a file came or went."""
    for found in (discover, providers):
        found.cache_clear()


@pytest.fixture
def drop_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Adds a module to the `channels` package for the length of a test."""
    monkeypatch.setattr(channels, "__path__", [*channels.__path__, str(tmp_path)])
    names: list[str] = []

    def drop(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        names.append(name)
        forget()

    yield drop
    for name in names:
        sys.modules.pop(f"channels.{name}", None)
        vars(channels).pop(name, None)
    forget()


def test_the_channels_are_those_that_have_a_file() -> None:
    assert list(discover()) == ["email", "sms"]


def test_a_channel_may_have_several_providers_each_a_file_of_its_own() -> None:
    assert {provider: channel.name for provider, channel in providers().items()} == {
        "email": "email",
        "sms": "sms",
        "sms_second": "sms",
    }


def test_a_provider_of_a_channel_that_has_no_file_is_an_error(drop_in: Callable[[str, str], None]) -> None:
    drop_in("dove", CARRIER_PIGEON)

    with pytest.raises(TypeError, match=r"channels/dove\.py serves the channel pigeon, which has no module"):
        discover()


def test_a_file_dropped_in_is_a_channel(drop_in: Callable[[str, str], None]) -> None:
    drop_in("pigeon", CARRIER_PIGEON)

    assert list(discover()) == ["email", "pigeon", "sms"]


def test_a_file_that_defines_no_channel_is_an_error(drop_in: Callable[[str, str], None]) -> None:
    drop_in("notes", "SOMETHING = 1\n")

    with pytest.raises(TypeError, match=r"channels/notes\.py defines no CHANNEL"):
        discover()
