"""Channel settings: which providers are configured, and whether what they would send can be followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from channels.kit.contract import Channel, SideEffect
from channels.kit.discovery import providers
from channels.kit.environment import is_loopback
from ops.runtime.settings import Settings, SettingsError


def configured_providers(settings: Settings) -> dict[str, tuple[Channel, Any]]:
    """Every discovered provider whose settings are present, with its configuration.

    Raises:
        SettingsError: it would send real patients links to this machine.
        ChannelSettingsError: see `Channel.configure`.
    """
    found = {}
    for name, channel in providers().items():
        config = channel.configure(settings.environ, settings.public_url)
        if config is not None:
            _check_links(settings, channel, config)
            found[name] = (channel, config)
    return found


def first_of_each(configured: Mapping[str, tuple[Channel, Any]]) -> dict[str, tuple[Channel, Any]]:
    """Each channel with the first of its providers, which speaks for it where it matters to no patient which does."""
    found: dict[str, tuple[Channel, Any]] = {}
    for channel, config in configured.values():
        found.setdefault(channel.name, (channel, config))
    return found


def _check_links(settings: Settings, channel: Channel, config: Any) -> None:
    if not is_loopback(channel.provider_host(config)) and is_loopback(urlsplit(settings.public_url).hostname or ""):
        raise SettingsError(
            f"REACTIVATE_PUBLIC_URL: the channel {channel.name} reaches real patients, who cannot follow a link to "
            f"{settings.public_url}: set it to where the world reaches the web process, https://HOST[:PORT][/PATH]"
        )


def means_opted_out(provider: str, code: str) -> bool:
    """Whether a provider's error code says that the recipient opted out there; no, of an unknown provider."""
    known = providers().get(provider)
    return known is not None and known.effect_of(code) == SideEffect.OPTED_OUT
