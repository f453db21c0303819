"""Channels are discovered, never listed: every module of the `channels` package that defines `CHANNEL`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import channels
from channels.kit.contract import Channel


@cache
def discover() -> dict[str, Channel]:
    """Every channel by name, in alphabetical order.

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
        found[channel.name] = channel
    return dict(sorted(found.items()))
