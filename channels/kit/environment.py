"""Reads a channel's settings from its environment variables, with errors that name the variable."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from channels.kit.contract import ChannelSettingsError, Setting


class Environment:
    """The variables one channel declared, read with their defaults; empty counts as unset."""

    def __init__(self, environ: Mapping[str, str], settings: Sequence[Setting]) -> None:
        self._defaults = {setting.name: setting.default for setting in settings}
        self._values = {name: environ.get(name, "").strip() for name in self._defaults}

    def is_set_up(self, address: str) -> bool:
        """Whether `address`, the variable that says where the provider is, has a value.

        Raises:
            ChannelSettingsError: it has none, but another variable without a default has.
        """
        if self._values[address]:
            return True
        stray = [name for name, value in self._values.items() if value and self._defaults[name] is None]
        if stray:
            raise ChannelSettingsError(f"{address}: required, since {stray[0]} is set")
        return False

    def text(self, name: str) -> str:
        """The value, else its default, else an empty string."""
        return self._values[name] or self._defaults[name] or ""

    def required(self, name: str) -> str:
        """The value.

        Raises:
            ChannelSettingsError: it is unset.
        """
        value = self.text(name)
        if not value:
            raise ChannelSettingsError(f"{name}: required")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`.

        Raises:
            ChannelSettingsError: it is none of them.
        """
        value = self.text(name)
        if value not in choices:
            raise ChannelSettingsError(f"{name}: expected one of {', '.join(choices)}")
        return value

    def number(self, name: str, *, above: float = 0.0, at_most: float = 1e6, otherwise: float | None = None) -> float:
        """A number greater than `above` and not greater than `at_most`; where it is empty, `otherwise` if given.

        Raises:
            ChannelSettingsError: it is no such number.
        """
        if otherwise is not None and not self.text(name):
            return otherwise
        try:
            value = float(self.text(name))
        except ValueError:
            value = math.nan
        if not above < value <= at_most:  # also false for nan
            raise ChannelSettingsError(f"{name}: expected a number above {above:g} and at most {at_most:g}")
        return value

    def whole(self, name: str, *, at_least: int, at_most: int) -> int:
        """A whole number within both bounds.

        Raises:
            ChannelSettingsError: it is no such number.
        """
        text = self.text(name)
        if not (text.isascii() and text.isdigit() and at_least <= int(text) <= at_most):
            raise ChannelSettingsError(f"{name}: expected a whole number from {at_least} to {at_most}")
        return int(text)

    def base_url(self, name: str) -> str:
        """An absolute http(s) URL without query, as a prefix: no slash at its end.

        Raises:
            ChannelSettingsError: it is no such URL, or would carry credentials in clear off this machine.
        """
        value = self.required(name)
        try:
            parts = urlsplit(value)
            host = parts.hostname
            _ = parts.port  # raises where it is none
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or parts.username:
            raise ChannelSettingsError(f"{name}: expected https://HOST[:PORT][/PATH]")
        if parts.scheme == "http" and not is_loopback(host):
            raise ChannelSettingsError(f"{name}: expected https; plain http would show the credentials to the network")
        return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, so that nothing sent there can be read on the way."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # 0.0.0.0 and :: lead to this machine, too
    return address.is_loopback or address.is_unspecified
