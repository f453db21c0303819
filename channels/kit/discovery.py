"""Channels and their providers are discovered, never listed: every module of `channels` that defines `CHANNEL`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import channels
from channels.kit.contract import Channel


@cache
def providers() -> dict[str, Channel]:
    """Every provider by its module's name, in alphabetical order; several may serve the channel of one name.

    Raises:
        TypeError: a module of the package defines no `CHANNEL`, so it would silently serve nobody.
    """
    found: dict[str, Channel] = {}
    for module in pkgutil.iter_modules(channels.__path__):
        if module.ispkg:
            continue
        channel: Channel | None = getattr(importlib.import_module(f"channels.{module.name}"), "CHANNEL", None)
        if channel is None:
            raise TypeError(f"channels/{module.name}.py defines no CHANNEL")
        found[module.name] = channel
    return dict(sorted(found.items()))


@cache
def discover() -> dict[str, Channel]:
    """Every channel by name, in alphabetical order: of its providers, the one whose module is called as it.

    Raises:
        TypeError: a provider serves a channel that has no module.
    """
    found = providers()
    for module, channel in found.items():
        if channel.name not in found or found[channel.name].name != channel.name:
            raise TypeError(f"channels/{module}.py serves the channel {channel.name}, which has no module of its own")
    return {name: channel for name, channel in found.items() if channel.name == name}
