"""Ids that providers give to messages: each is unique with its own provider, and told apart from the others' here."""

from __future__ import annotations


def on_channel(channel: str, provider: str, id_: str) -> str:
    """The id as no other message on the channel has it: two accounts, of two companies, may count alike.

    That of the channel's first provider, which is called as the channel is, stands as it was given.
    """
    return id_ if provider == channel else f"{provider}:{id_}"
